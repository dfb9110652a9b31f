"""The view of the events of servers that start: whose it keeps, and for how long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from kfspawner.errors import ClusterUnreachable
from kfspawner.profiles import news as news_module
from kfspawner.profiles.resources import Selection
from kfspawner.servers import eventview
from kfspawner.servers.eventview import EventView
from kfspawner.servers.podview import PodView
from tests.fakes.api import FakeApi
from tests.fakes.hub import FakeHub, load
from tests.fakes.servers import make_event, make_pod
from tests.unit.test_watch import ALICE, until

OF_PODS = Selection("Event", fields="involvedObject.kind=Pod")
LOG = logging.getLogger("watch")
OUTAGE = ClusterUnreachable("watching events", "the Kubernetes API did not answer", "try again")


@pytest.fixture
async def view(hub: FakeHub) -> AsyncIterator[PodView]:
    """Return the hub's view of one server, kept up."""
    hub.api.put(make_pod())
    await hub.view.start()
    await hub.view.ready()
    yield hub.view
    await hub.view.stop()


@pytest.fixture
async def events(hub: FakeHub, view: PodView) -> AsyncIterator[EventView]:
    made = EventView(hub.api, OF_PODS, view.waiting, LOG)
    await made.start()
    await made.ready()
    yield made
    await made.stop()


async def test_events_are_those_of_pods_that_somebody_asks_about(
    hub: FakeHub, view: PodView, events: EventView
) -> None:
    view.waiting.want(ALICE)
    waiting = view.changed(ALICE)
    for number in range(3):
        hub.api.put(make_event(str(number)))
        hub.api.put(make_event(f"run-{number}", "run-1"))
    await asyncio.wait_for(waiting.wait(), 5)
    await until(lambda: len(events.of(ALICE)) == 3)

    assert [it["message"] for it in events.events] == ["0", "1", "2"]
    assert "managedFields" not in events.events[0]["metadata"]


async def test_few_are_kept_of_one_pod_and_of_no_pod_for_long(
    hub: FakeHub, view: PodView, events: EventView, monkeypatch: pytest.MonkeyPatch
) -> None:
    view.waiting.want(ALICE)
    for number in range(200):
        hub.api.put(make_event(str(number)))
    await until(lambda: "199" in [it["message"] for it in events.of(ALICE)])
    kept = [it["message"] for it in events.of(ALICE)]
    assert kept == [str(it) for it in range(136, 200)]

    monkeypatch.setattr(news_module, "LINGER", -1.0)
    monkeypatch.setattr(eventview, "_SWEEP_SECONDS", -1.0)
    hub.api.put(make_event("200"))
    await until(lambda: not events.events)
    assert not view.waiting._wanted


async def test_who_waits_for_long_still_hears(
    hub: FakeHub, view: PodView, events: EventView, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = view.changed(ALICE)
    monkeypatch.setattr(news_module, "LINGER", -1.0)
    monkeypatch.setattr(eventview, "_SWEEP_SECONDS", -1.0)
    hub.api.put(make_event("1"))

    await asyncio.wait_for(waiting.wait(), 5)
    assert [it["message"] for it in events.events] == ["1"]


async def test_what_was_missed_is_read_anew_for_those_that_start(
    hub: FakeHub, view: PodView, events: EventView
) -> None:
    waiting = view.changed(ALICE)
    hub.api.refusals["watch Event"] = [OUTAGE]
    hub.api.put(make_event("1"))
    hub.api.put(make_event("2", "another"))
    hub.api.expire()

    await asyncio.wait_for(waiting.wait(), 5)
    await until(lambda: events.of(ALICE))
    assert [it["message"] for it in events.events] == ["1"]
    hub.api.remove("Event", "1", "vision")
    await until(lambda: not events.events)


async def test_a_start_does_without_its_events(hub: FakeHub, view: PodView) -> None:
    hub.api.refusals["list Event"] = [OUTAGE] * 100_000
    made = EventView(hub.api, OF_PODS, view.waiting, LOG)
    await made.start()
    await made.ready(0.02)
    assert made.trouble is OUTAGE
    await made.stop()


async def test_events_of_before_this_start_are_not_its_own(hub: FakeHub) -> None:
    spawner = hub.make_spawner()
    await load(spawner)
    await spawner._start_watching_events()
    for number in range(3):
        hub.api.put(make_event(str(number), spawner.pod_name, spawner.namespace))
    await until(lambda: len(spawner.events) == 3)
    spawner._last_event = spawner.events[1]["metadata"]["uid"]

    assert [it["message"] for it in spawner.events] == ["2"]


def test_the_fake_selects_by_any_field() -> None:
    api = FakeApi(make_event("1"), {**make_event("2"), "involvedObject": {"kind": "Job"}})

    assert [it["metadata"]["name"] for it in api._select(OF_PODS)] == ["1"]
