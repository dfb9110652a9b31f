"""The hub's view of what is free: one for all who ask, and asked for while somebody does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from kfspawner.errors import ClusterDenied, ClusterUnreachable
from kfspawner.servers import capacityview
from kfspawner.servers.capacityview import CapacityView
from tests.fakes.api import FakeApi
from tests.fakes.nodes import GPU, make_node, make_quota, make_taken

LOG = logging.getLogger("hub")


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(
        make_node(gpus=2),
        make_taken(gpus="1"),
        make_quota({"requests.cpu": ("4", "1")}),
    )


@pytest.fixture
async def view(api: FakeApi) -> AsyncIterator[CapacityView]:
    made = CapacityView(api, LOG)
    yield made
    await made.end()


async def free_gpus(view: CapacityView) -> int:
    rooms = (await view.now()).rooms
    assert rooms is not None
    return sum(room.free[GPU] for room in rooms)


async def test_nodes_pods_and_quotas_are_known(view: CapacityView) -> None:
    capacity = await view.now()

    assert await free_gpus(view) == 1
    assert capacity.left("vision") == {"requests.cpu": 3}
    assert view.trouble == ""
    assert [use.owner for use in view.uses()] == ["pod pod"]
    assert [node.name for node in view.nodes()] == ["node"]


async def test_the_api_is_asked_once_however_many_ask(view: CapacityView, api: FakeApi) -> None:
    answers = await asyncio.gather(*(view.now() for _ in range(200)))

    assert len({id(it) for it in answers}) == 1
    assert sorted(kind for kind, *_ in api.called("list")) == ["Node", "Pod", "ResourceQuota"]


async def test_news_are_seen_and_worked_out_once_a_second(
    view: CapacityView, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await view.now()
    api.remove("Pod", "pod", "vision")
    await asyncio.sleep(0.05)
    assert await view.now() is before

    monkeypatch.setattr(capacityview, "_FRESH", 0.0)
    assert await free_gpus(view) == 2
    assert len(api.called("list")) == 3


async def test_a_pod_that_ends_takes_nothing(view: CapacityView, api: FakeApi) -> None:
    before = await free_gpus(view)
    api.put({**make_taken(gpus="1"), "status": {"phase": "Succeeded"}})
    await asyncio.sleep(0.05)
    view._made = 0.0

    assert (before, await free_gpus(view)) == (1, 2)


async def test_without_the_right_to_look_the_rest_is_known(
    view: CapacityView, api: FakeApi
) -> None:
    denied = ClusterDenied("listing nodes", "nodes is forbidden", "tell the administrator")
    api.refusals["list Node"] = [denied] * 1000

    capacity = await view.now()

    assert capacity.rooms is None
    assert capacity.left("vision") == {"requests.cpu": 3}
    assert view.trouble == "What is free may be out of date: nodes is forbidden."


async def test_an_api_that_does_not_answer_holds_nobody_up(
    view: CapacityView, api: FakeApi
) -> None:
    api.late = {"Node": asyncio.Event()}

    capacity = await view.now(0.05)
    assert capacity.rooms is None

    api.late["Node"].set()
    assert await free_gpus(view) == 1


async def test_what_was_seen_stays_while_the_api_is_away(view: CapacityView, api: FakeApi) -> None:
    await view.now()
    outage = ClusterUnreachable("watching nodes", "the API did not answer", "try again")
    api.refusals |= {"watch": [outage] * 1000, "list": [outage] * 1000}
    api.put(make_node("other", gpus=8))
    await asyncio.sleep(0.05)
    view._made = 0.0

    assert await free_gpus(view) in (1, 9)


async def test_nobody_asks_and_it_is_not_kept_up(
    view: CapacityView, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacityview, "_IDLE", 0.05)
    await view.now()
    task = view._task
    assert task is not None

    await asyncio.wait_for(task, 5)
    api.remove("Pod", "pod", "vision")
    monkeypatch.setattr(capacityview, "_OLD", -1.0)
    await view.now(0.05)
    view._made = 0.0
    assert await free_gpus(view) == 2
