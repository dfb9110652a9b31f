"""The floor under a start: the server's own pod, created by hand."""

from __future__ import annotations

import copy
import time

from kubernetes.watch import Watch

from tests.bench.door import Door
from tests.cluster.cluster import Cluster, Object, until

_NAME = "floor"
_LABEL = {"floor": "server"}
_PORT = 8888
_PATIENCE = 120


def time_pod(cluster: Cluster, door: Door, namespace: str, model: Object, path: str) -> float:
    """Create the pod `model` again, by hand, and return when its server answers below `path`."""
    manifest = make_floor(model)
    begun = time.monotonic()
    cluster.core.create_namespaced_pod(namespace, manifest)
    door.wait(_address(cluster, namespace), _PORT, f"{path}api")
    taken = time.monotonic() - begun
    cluster.core.delete_namespaced_pod(_NAME, namespace, grace_period_seconds=1)
    wait_gone(cluster, namespace, "floor=server")
    return taken


def make_floor(model: Object) -> Object:
    """Return the manifest of a pod like `model`."""
    spec = copy.deepcopy(model["spec"])
    spec.pop("nodeName", None)
    # The account's token is mounted anew.
    spec["volumes"] = [it for it in spec["volumes"] if not _is_token(it["name"])]
    for container in spec["containers"]:
        mounts = container["volumeMounts"]
        container["volumeMounts"] = [it for it in mounts if not _is_token(it["name"])]
    # Network policies know a server by its labels.
    labels = {**model["metadata"]["labels"], **_LABEL}
    return {"metadata": {"name": _NAME, "labels": labels}, "spec": spec}


def wait_gone(cluster: Cluster, namespace: str, selector: str) -> None:
    """Return once no pod of a namespace is selected any more."""
    until(lambda: not cluster.pods(namespace, selector), f"pods {selector} are gone", 90)


def _address(cluster: Cluster, namespace: str) -> str:
    """Return the pod's address as soon as the API tells it."""
    watch = Watch()
    for event in watch.stream(
        cluster.core.list_namespaced_pod,
        namespace,
        field_selector=f"metadata.name={_NAME}",
        timeout_seconds=_PATIENCE,
    ):
        if event["object"].status.pod_ip:
            watch.stop()
            return str(event["object"].status.pod_ip)
    raise AssertionError(f"pod {_NAME} had no address within {_PATIENCE} s")


def _is_token(volume: str) -> bool:
    return volume.startswith("kube-api-access-")
