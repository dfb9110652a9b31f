"""Nodes, the pods on them and quotas, as the API returns them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfspawner.profiles.api import Object

GPU = "nvidia.com/gpu"


def make_node(name: str = "node", *, gpus: int = 0, ready: bool = True, **spec: Any) -> Object:
    """Return a node with 4 cores and 16Gi; `labels` is among what `spec` may say."""
    labels = spec.pop("labels", {})
    allocatable = {"cpu": "4", "memory": "16Gi", "pods": "110"}
    if gpus:
        allocatable[GPU] = str(gpus)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {
            "allocatable": allocatable,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def make_taken(name: str = "pod", node: str = "node", **amounts: str) -> Object:
    """Return a pod that runs on `node` and takes ``cpu``, ``memory`` and ``gpus``."""
    if "gpus" in amounts:
        amounts[GPU] = amounts.pop("gpus")
    resources = {"requests": amounts, "limits": amounts}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "vision"},
        "spec": {"nodeName": node, "containers": [{"name": "main", "resources": resources}]},
        "status": {"phase": "Running"},
    }


def make_quota(hard_used: Mapping[str, tuple[str, str]], namespace: str = "vision") -> Object:
    """Return a profile's quota; each of ``{"pods": ("4", "1")}`` says the limit and the use."""
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "kf-resource-quota", "namespace": namespace},
        "spec": {"hard": {name: hard for name, (hard, _) in hard_used.items()}},
        "status": {
            "hard": {name: hard for name, (hard, _) in hard_used.items()},
            "used": {name: used for name, (_, used) in hard_used.items()},
        },
    }
