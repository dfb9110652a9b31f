"""``python -m tests.bench.stock <way> <namespace>…``: what a stock KubeSpawner keeps watching.

Starts the watches that a hub of stock KubeSpawners has once each of the
namespaces has had a server, and keeps them until standard input ends. Prints
how many there are, as soon as they have begun.

The ways are ``user-namespaces``, which is ``enable_user_namespaces``, and
``namespace-each``, where servers are put into namespaces by their profile. The
latter watches each namespace by itself; from the 51st on, its client's 100
connections are all taken, and its watches wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from types import SimpleNamespace

from kubespawner import KubeSpawner
from traitlets.config import Config

USER_NAMESPACES = "user-namespaces"
NAMESPACE_EACH = "namespace-each"


def make_spawner(way: str, namespace: str) -> KubeSpawner:
    """Return the spawner of one person whose servers are in `namespace`."""
    config = Config()
    if way == USER_NAMESPACES:
        config.KubeSpawner.enable_user_namespaces = True
        config.KubeSpawner.user_namespace_template = namespace
    else:
        config.KubeSpawner.namespace = namespace
    user = SimpleNamespace(name=namespace, id=namespace, url="/")
    # With `_mock` it does without the rest of a hub; the watches are the real ones.
    return KubeSpawner(_mock=True, config=config, user=user)


async def watch(way: str, namespaces: Sequence[str]) -> None:
    """Watch as the starts of servers in `namespaces` would, until standard input ends."""
    for namespace in namespaces:
        spawner = make_spawner(way, namespace)
        await spawner._start_watching_pods()
        await spawner._start_watching_events()
    print(len(KubeSpawner.reflectors), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await KubeSpawner._stop_all_reflectors()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(watch(sys.argv[1], sys.argv[2:]))
