"""A server's end is noticed when it comes, and not at JupyterHub's next look."""

from __future__ import annotations

import asyncio

import pytest

from kfspawner.servers.spawner import KfSpawner
from tests.fakes.hub import FakeHub, load
from tests.fakes.starts import running, take_away, tell


@pytest.fixture
async def spawner(hub: FakeHub) -> KfSpawner:
    """Return the spawner of a server that runs, which JupyterHub looks at every hour."""
    made = hub.make_spawner(poll_interval=3600)
    await load(made)
    tell(hub, made, **running())
    return made


def follow(spawner: KfSpawner) -> asyncio.Event:
    """Return what is set once JupyterHub is told of the end."""
    ended = asyncio.Event()
    spawner.add_poll_callback(ended.set)
    spawner.start_polling()
    return ended


async def test_a_pod_that_is_gone(hub: FakeHub, spawner: KfSpawner) -> None:
    ended = follow(spawner)
    await asyncio.sleep(0.01)
    assert not ended.is_set()
    take_away(hub, spawner)
    await asyncio.wait_for(ended.wait(), 1)


async def test_a_pod_that_was_gone_before(hub: FakeHub, spawner: KfSpawner) -> None:
    take_away(hub, spawner)
    await asyncio.wait_for(follow(spawner).wait(), 1)


async def test_a_pod_that_has_failed(
    hub: FakeHub, spawner: KfSpawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop(_spawner: KfSpawner, now: bool = False) -> None:  # noqa: FBT001
        take_away(hub, spawner)

    monkeypatch.setattr(KfSpawner, "stop", stop)
    ended = follow(spawner)
    container = {"name": "notebook", "ready": False, "state": {"terminated": {"exitCode": 137}}}
    tell(hub, spawner, phase="Running", containerStatuses=[container])
    await asyncio.sleep(0.01)
    # kubelet starts it again.
    assert not ended.is_set()
    tell(hub, spawner, phase="Failed", reason="Evicted", containerStatuses=[container])
    await asyncio.wait_for(ended.wait(), 1)
    assert not hub.view.pods


async def test_who_follows_a_server_asks_for_no_events(hub: FakeHub, spawner: KfSpawner) -> None:
    follow(spawner)
    await asyncio.sleep(0.01)
    assert not hub.view.waiting.is_wanted(f"{spawner.namespace}/{spawner.pod_name}")


async def test_nobody_looks_after_the_stop(hub: FakeHub, spawner: KfSpawner) -> None:
    ended = follow(spawner)
    await asyncio.sleep(0.01)
    take_away(hub, spawner)
    spawner.stop_polling()
    await asyncio.sleep(0.02)
    assert not ended.is_set()


async def test_nobody_looks_where_that_is_off(hub: FakeHub) -> None:
    spawner = hub.make_spawner(poll_interval=0)
    await load(spawner)
    ended = follow(spawner)
    await asyncio.sleep(0.02)
    assert not ended.is_set()
