"""Pods of servers, and their events, as the API returns them."""

from __future__ import annotations

from typing import Any

from kfspawner.profiles.api import Object


def make_pod(name: str = "server-alice", namespace: str = "vision", **status: Any) -> Object:
    """Return the pod of a server that runs, unless `status` says otherwise."""
    ended = {"name": "notebook", "ready": True, "state": {"running": {}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"component": "singleuser-server"},
            "managedFields": [{"manager": "kubelet"}],
        },
        "spec": {
            "nodeName": "node",
            "containers": [
                {
                    "name": "notebook",
                    "image": "registry.example/cpu",
                    "env": [{"name": "JUPYTERHUB_API_TOKEN", "value": "secret"}],
                    "ports": [{"name": "notebook-port", "containerPort": 8888}],
                }
            ],
            "volumes": [{"name": "home", "emptyDir": {}}],
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "containerStatuses": [ended],
            **status,
        },
    }


def make_event(name: str, pod: str = "server-alice", namespace: str = "vision") -> Object:
    """Return an event about a pod; the later its name, the later it happened."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace, "managedFields": []},
        "involvedObject": {"kind": "Pod", "name": pod, "namespace": namespace},
        "reason": "Scheduled",
        "message": name,
        "type": "Normal",
        "lastTimestamp": None,
        "eventTime": f"2025-01-01T00:00:00.{name.rjust(6, '0')}Z",
    }
