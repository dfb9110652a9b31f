"""A hub of stock KubeSpawner beside ours: the same JupyterHub, image and probes, a plain config.

It is in a namespace of its own, and so are its servers, unless its settings
give each person one; all of it goes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from deploy.node.layout import NODE_ADDRESS
from kfspawner.quantity import read_quantity
from tests.cluster.cluster import Cluster, Object, absence_is_fine, until
from tests.cluster.people import Hub

NAMESPACE = "bench-stock"
POD = "hub"
_LABELS = {"app": POD}
_HUB_PORT, _PUBLIC_PORT = 8081, 8000
_CONFIG = "/etc/jupyterhub/jupyterhub_config.json"
_DATA = "/srv/jupyterhub"
_PATIENCE = 120.0
# Of our hub's container: what has nothing to do with what it runs.
_SHARED = ("image", "resources", "startupProbe", "readinessProbe", "livenessProbe")
_SCOPES = ("admin:users", "admin:servers", "tokens")


def make_config(spawner: Mapping[str, Any], password: str, token: str) -> Object:
    """Return the config of the hub, with these settings of its KubeSpawner."""
    service = {"name": "bench", "api_token": token}
    role = {"name": "bench", "services": ["bench"], "scopes": list(_SCOPES)}
    return {
        "JupyterHub": {
            "hub_bind_url": f"http://0.0.0.0:{_HUB_PORT}",
            "hub_connect_url": f"http://{POD}.{NAMESPACE}.svc:{_HUB_PORT}",
            "authenticator_class": "shared-password",
            "spawner_class": "kubespawner.KubeSpawner",
            "services": [service],
            "load_roles": [role],
        },
        "SharedPasswordAuthenticator": {"user_password": password, "allow_all": True},
        "KubeSpawner": {"namespace": NAMESPACE, "start_timeout": 300, **spawner},
    }


def make_rights() -> tuple[Object, Object]:
    """Return the hub's role and its binding: all that it needs for a namespace for each person."""
    own = {
        "apiGroups": [""],
        "resources": ["namespaces", "pods", "persistentvolumeclaims", "secrets", "services"],
        "verbs": ["get", "watch", "list", "create", "delete"],
    }
    events = {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "watch", "list"]}
    role = {"metadata": {"name": NAMESPACE}, "rules": [own, events]}
    binding = {
        "metadata": {"name": NAMESPACE},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": NAMESPACE,
        },
        "subjects": [{"kind": "ServiceAccount", "name": POD, "namespace": NAMESPACE}],
    }
    return role, binding


def make_pod(ours: Object) -> Object:
    """Return the pod of the hub, which starts its proxy itself; `ours` is our hub's container."""
    container = {
        **{name: ours[name] for name in _SHARED},
        "name": POD,
        "command": ["jupyterhub", "--config", _CONFIG],
        "workingDir": _DATA,
        "env": [{"name": "HOME", "value": "/tmp"}, {"name": "PYTHONUNBUFFERED", "value": "1"}],
        "ports": [{"name": "http", "containerPort": _HUB_PORT}],
        "volumeMounts": [
            {"name": "data", "mountPath": _DATA},
            {"name": "config", "mountPath": _CONFIG.rpartition("/")[0]},
        ],
    }
    spec = {
        "serviceAccountName": POD,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsUser": 1000, "runAsGroup": 100, "fsGroup": 100},
        "containers": [container],
        "volumes": [
            {"name": "data", "emptyDir": {}},
            {"name": "config", "secret": {"secretName": POD}},
        ],
    }
    return {"metadata": {"name": POD, "labels": _LABELS}, "spec": spec}


def like(server: Object) -> Object:
    """Return the settings for servers like a pod of ours: its image and size, and nothing else."""
    (container,) = server["spec"]["containers"]
    limits, requests = (container["resources"][it] for it in ("limits", "requests"))
    return {
        "image": container["image"],
        "cmd": ["jupyterhub-singleuser"],
        "cpu_limit": float(read_quantity(limits["cpu"])),
        "cpu_guarantee": float(read_quantity(requests["cpu"])),
        "mem_limit": int(read_quantity(limits["memory"])),
        "mem_guarantee": int(read_quantity(requests["memory"])),
    }


@contextmanager
def stock_hub(cluster: Cluster, spawner: Mapping[str, Any]) -> Iterator[Hub]:
    """Have such a hub, with these settings of its KubeSpawner, and nothing of it afterwards."""
    password, token = secrets.token_hex(8), secrets.token_hex(16)
    _remove(cluster)
    try:
        cluster.core.create_namespace({"metadata": {"name": NAMESPACE}})
        _apply(cluster, make_config(spawner, password, token))
        with Hub(_address(cluster), password, token, cluster) as hub:
            hub.wait(_PATIENCE)
            yield hub
    finally:
        _remove(cluster)


def _apply(cluster: Cluster, config: Object) -> None:
    role, binding = make_rights()
    deployed = cluster.plain(cluster.apps.read_namespaced_deployment("hub", "kfspawner"))
    (ours,) = deployed["spec"]["template"]["spec"]["containers"]
    secret = {_CONFIG.rpartition("/")[2]: json.dumps(config)}
    core = cluster.core
    core.create_namespaced_service_account(NAMESPACE, {"metadata": {"name": POD}})
    cluster.rbac.create_cluster_role(role)
    cluster.rbac.create_cluster_role_binding(binding)
    core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": POD}, "stringData": secret})
    for name, kind, port in (
        (POD, "ClusterIP", _HUB_PORT),
        ("public", "NodePort", _PUBLIC_PORT),
    ):
        spec = {"type": kind, "selector": _LABELS, "ports": [{"port": port}]}
        core.create_namespaced_service(NAMESPACE, {"metadata": {"name": name}, "spec": spec})
    core.create_namespaced_pod(NAMESPACE, make_pod(ours))


def _address(cluster: Cluster) -> str:
    """Return where people reach it: a port of the node, which this machine reaches."""
    service = cluster.core.read_namespaced_service("public", NAMESPACE)
    return f"http://{NODE_ADDRESS}:{service.spec.ports[0].node_port}"


def _remove(cluster: Cluster) -> None:
    """Remove the hub's namespace and its people's, and its rights."""
    rbac = cluster.rbac
    for delete in (rbac.delete_cluster_role_binding, rbac.delete_cluster_role):
        with absence_is_fine():
            delete(NAMESPACE)
    for name in _namespaces(cluster):
        cluster.delete_namespace(name)
    until(lambda: not _namespaces(cluster), f"namespaces {NAMESPACE} are gone", _PATIENCE)


def _namespaces(cluster: Cluster) -> list[str]:
    names = [str(it.metadata.name) for it in cluster.core.list_namespace().items]
    return [it for it in names if it == NAMESPACE or it.startswith(f"{NAMESPACE}-")]
