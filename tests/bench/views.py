"""``python -m tests.bench.views <way>``: a process that has loaded a hub, and watches servers.

Watches as the hub does once a server has started, and keeps it up until
standard input ends. Prints how many pods it knows, as soon as it knows any.

The ways are ``ours``, ``stock``, which is KubeSpawner with
``enable_user_namespaces``, and ``none``, which watches nothing.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from types import SimpleNamespace

# What a hub has loaded, whichever way it watches.
import jupyterhub.app  # noqa: F401
from jupyterhub import orm
from kubespawner import KubeSpawner
from traitlets.config import Config

from kfspawner.errors import ClusterError
from kfspawner.servers.spawner import KfSpawner
from tests.bench.stock import USER_NAMESPACES, make_spawner

NONE, STOCK, OURS = "none", "stock", "ours"
_NAMESPACE = "bench-nowhere"
# How often they are asked for until all are known, ten seconds each.
_TRIES = 12


def make_ours() -> KfSpawner:
    """Return the spawner of one person."""
    db = orm.new_session_factory()()
    user = SimpleNamespace(name="bench", id="bench", url="/", groups=[], db=db)
    # With `_mock` it does without the rest of a hub; the watches are the real ones.
    return KfSpawner(_mock=True, config=Config(), user=user)


async def _watch_pods(spawner: KubeSpawner) -> None:
    """Watch pods; where there are very many, ours tells a start that it does not know them yet."""
    for tried in range(1, _TRIES + 1):
        try:
            await spawner._start_watching_pods()
        except ClusterError:
            if tried == _TRIES:
                raise
        else:
            return


async def watch(way: str) -> None:
    """Watch until standard input ends."""
    known = 0
    spawner: KubeSpawner | None = None
    if way != NONE:
        spawner = make_ours() if way == OURS else make_spawner(USER_NAMESPACES, _NAMESPACE)
        await _watch_pods(spawner)
        await spawner._start_watching_events()
        known = len(spawner.pod_reflector.pods)
    print(known, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    if spawner:
        await type(spawner)._stop_all_reflectors()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(watch(sys.argv[1]))
