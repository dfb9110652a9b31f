"""The hub with other settings, for as long as a test or a benchmark needs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tests.cluster.cluster import Cluster, until
from tests.cluster.people import Hub

NAMESPACE = "kfspawner"
_DEPLOYMENT = "hub"
_VOLUME = "config-d"
_CONFIG = "hub-config-d-of-a-test"
_PATIENCE = 120.0


@contextmanager
def configured(cluster: Cluster, hub: Hub, *lines: str) -> Iterator[None]:
    """Have the hub run with `lines` at the end of its config, and as before afterwards.

    Servers go on meanwhile. If this never comes to its end, the next `make up` puts it right.
    """
    before = _config_of(cluster)
    data = dict(cluster.core.read_namespaced_config_map(before, NAMESPACE).data)
    _drop(cluster)
    body = {"metadata": {"name": _CONFIG}, "data": {**data, "90-test.py": "\n".join(lines)}}
    cluster.core.create_namespaced_config_map(NAMESPACE, body)
    try:
        _run_with(cluster, hub, _CONFIG)
        yield
    finally:
        _run_with(cluster, hub, before)
        _drop(cluster)


def hub_pod(cluster: Cluster) -> str:
    """Return the name of the hub's pod."""
    (pod,) = cluster.pods(NAMESPACE, "app.kubernetes.io/name=hub")
    return str(pod["metadata"]["name"])


def _config_of(cluster: Cluster) -> str:
    found = cluster.plain(cluster.apps.read_namespaced_deployment(_DEPLOYMENT, NAMESPACE))
    volumes = {it["name"]: it for it in found["spec"]["template"]["spec"]["volumes"]}
    return str(volumes[_VOLUME]["configMap"]["name"])


def _run_with(cluster: Cluster, hub: Hub, config: str) -> None:
    volume = {"name": _VOLUME, "configMap": {"name": config}}
    patch = {"spec": {"template": {"spec": {"volumes": [volume]}}}}
    cluster.apps.patch_namespaced_deployment(_DEPLOYMENT, NAMESPACE, patch)
    until(partial(_is_rolled_out, cluster), f"the hub runs with {config}", _PATIENCE)
    hub.wait(_PATIENCE)


def _is_rolled_out(cluster: Cluster) -> bool:
    found = cluster.apps.read_namespaced_deployment(_DEPLOYMENT, NAMESPACE)
    told = found.status
    return bool(
        told.observed_generation >= found.metadata.generation
        and told.updated_replicas == told.replicas == told.available_replicas == 1
    )


def _drop(cluster: Cluster) -> None:
    gone = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{_CONFIG}"
    if cluster.status_of(gone) == 200:
        cluster.core.delete_namespaced_config_map(_CONFIG, NAMESPACE)
