"""The hub with other settings, for as long as a test needs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.cluster import Cluster
from tests.cluster.people import Hub

_FILE = "90-test.py"


@contextmanager
def configured(cluster: Cluster, hub: Hub, *settings: str) -> Iterator[None]:
    """Have the hub run with further lines of configuration; servers go on meanwhile."""
    lines = ["c = get_config()", *settings]
    _write(cluster, hub, "\n".join(lines))
    try:
        yield
    finally:
        _write(cluster, hub, None)


def _write(cluster: Cluster, hub: Hub, text: str | None) -> None:
    found = cluster.plain(cluster.apps.read_namespaced_deployment("hub", "kfspawner"))
    volumes = found["spec"]["template"]["spec"]["volumes"]
    (name,) = [it["configMap"]["name"] for it in volumes if it["name"] == "config-d"]
    cluster.core.patch_namespaced_config_map(name, "kfspawner", {"data": {_FILE: text}})
    hub.restart()
    hub.wait(90)
