"""A start under way, and what the cluster tells of its pod."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kfspawner.servers.spawner import KfSpawner
from tests.fakes.hub import FakeHub


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as it:
        port: int = it.getsockname()[1]
    return port


@contextmanager
def listening(port: int) -> Iterator[None]:
    """Have who knocks at a port be let in by the kernel, until the end of this."""
    with socket.create_server(("127.0.0.1", port)):
        yield


async def begin(hub: FakeHub, spawner: KfSpawner, **user_options: Any) -> asyncio.Task[str]:
    """Begin a start, and return it once its pod was created, or it has ended."""
    spawner.user_options = user_options
    task = asyncio.ensure_future(spawner.start())
    for _ in range(500):
        if task.done() or any(kind == "Pod" for kind, *_ in hub.api.objects):
            return task
        await asyncio.sleep(0.01)
    raise AssertionError("no pod was created within 5 s")


def tell(hub: FakeHub, spawner: KfSpawner, **status: Any) -> None:
    """Have the watch tell that the pod of `spawner` has this status."""
    port = {"name": "notebook-port", "containerPort": spawner.port}
    hub.view.put(
        hub.api.put(
            {
                "kind": "Pod",
                "metadata": {
                    "name": spawner.pod_name,
                    "namespace": spawner.namespace,
                    "labels": {"component": "singleuser-server"},
                    "annotations": {"hub.jupyter.org/username": spawner.user.name},
                },
                "spec": {"containers": [{"name": "notebook", "ports": [port]}]},
                "status": status,
            }
        )
    )


def take_away(hub: FakeHub, spawner: KfSpawner) -> None:
    """Have the watch tell that the pod of `spawner` is gone."""
    key = f"{spawner.namespace}/{spawner.pod_name}"
    uid = hub.view.pods[key]["metadata"]["uid"]
    hub.api.remove("Pod", spawner.pod_name, spawner.namespace)
    hub.view.drop(key, uid)


def running(address: str = "127.0.0.1") -> dict[str, Any]:
    """Return the status of a pod whose container runs."""
    container = {"name": "notebook", "ready": True, "state": {"running": {}}}
    return {"phase": "Running", "podIP": address, "containerStatuses": [container]}
