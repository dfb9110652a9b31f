"""The view of servers' pods and events: what it keeps, whom it wakes, when it asks."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kfspawner.errors import ClusterUnreachable
from kfspawner.profiles.resources import Selection
from kfspawner.servers import podview
from kfspawner.servers.podview import PodView
from kfspawner.servers.slim import slim_pod
from kfspawner.servers.watch import Watching
from tests.fakes.hub import FakeHub, load
from tests.fakes.servers import make_pod

SERVERS = Selection("Pod", labels="component=singleuser-server")
LOG = logging.getLogger("watch")
ALICE = "vision/server-alice"
OUTAGE = ClusterUnreachable("watching pods", "the Kubernetes API did not answer", "try again")


@pytest.fixture
async def view(hub: FakeHub) -> AsyncIterator[PodView]:
    """Return the hub's view of one server, kept up."""
    hub.api.put(make_pod())
    await hub.view.start()
    await hub.view.ready()
    yield hub.view
    await hub.view.stop()


async def until(holds: Callable[[], object], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def settle() -> None:
    """Have everything be told that has happened."""
    for _ in range(10):
        await asyncio.sleep(0)


def lists(hub: FakeHub, kind: str = "Pod") -> int:
    return sum(key[0] == kind for key in hub.api.called("list"))


def silence(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the watch tell nothing any more, as of long ago."""
    monkeypatch.setattr(podview, "_STALE", -1.0)
    hub.api.refusals["watch Pod"] = [OUTAGE] * 100_000


# What is kept.


def test_a_pod_keeps_what_is_read_of_it() -> None:
    pod = make_pod()
    pod["metadata"]["annotations"] = {"hub.jupyter.org/username": "alice", "x": "y" * 2000}
    kept = slim_pod(pod)

    assert kept["metadata"]["annotations"] == {"hub.jupyter.org/username": "alice"}
    assert kept["spec"]["containers"][0]["ports"][0]["containerPort"] == 8888
    assert kept["spec"]["nodeName"] == "node"
    assert kept["status"] == pod["status"]
    for word in ("secret", "managedFields", "volumes"):
        assert word not in json.dumps(kept)


def test_a_pod_that_was_just_made_has_what_kubespawner_reads() -> None:
    kept = slim_pod({"metadata": {"name": "a", "namespace": "b"}})

    assert kept["status"] == {"phase": "Pending", "podIP": None}
    assert kept["spec"]["containers"] == []


async def test_kubespawner_reads_it(hub: FakeHub, view: PodView) -> None:
    spawner = hub.make_spawner()
    pod = view.pods[ALICE]

    assert spawner.is_pod_running(pod)
    assert spawner._get_pod_url(pod) == "http://10.0.0.1:8888"


async def test_it_is_a_mapping_by_namespace_and_name(hub: FakeHub, view: PodView) -> None:
    hub.api.put(make_pod("server-bob", "audio"))
    await until(lambda: len(view.pods) == 2)

    assert sorted(view.pods) == ["audio/server-bob", ALICE]
    assert "audio/server-alice" not in view.pods
    assert view.pods.get("nowhere/x") is None
    assert view.pods.get("vision") is None


async def test_one_object_that_cannot_be_read_hides_no_other(
    hub: FakeHub, view: PodView, caplog: pytest.LogCaptureFixture
) -> None:
    hub.api.put({**make_pod("odd"), "spec": {"containers": 5}})
    hub.api.put(make_pod("server-bob"))

    await until(lambda: "vision/server-bob" in view.pods)
    assert "vision/odd" not in view.pods
    assert "Following Pod objects failed at vision/odd" in caplog.text


# Who is woken.


async def test_who_waits_is_woken_by_this_pod_alone_and_once(hub: FakeHub, view: PodView) -> None:
    alice, bob = view.changed(ALICE), view.changed("vision/server-bob")
    hub.api.put(make_pod(podIP="10.0.0.2"))
    await asyncio.wait_for(alice.wait(), 5)

    assert not bob.is_set()
    assert view.changed(ALICE) is not alice
    assert not view.changed(ALICE).is_set()
    hub.api.put(make_pod("server-bob"))
    await asyncio.wait_for(bob.wait(), 5)


async def test_who_waits_is_woken_by_its_end(hub: FakeHub, view: PodView) -> None:
    gone = view.changed(ALICE)
    hub.api.remove("Pod", "server-alice", "vision")

    await asyncio.wait_for(gone.wait(), 5)
    assert ALICE not in view.pods


async def test_nobody_is_lost_when_all_is_listed_again(hub: FakeHub, view: PodView) -> None:
    waiting = [view.changed(f"vision/server-{number}") for number in range(50)]
    for number in range(50):
        hub.api.put(make_pod(f"server-{number}"))
    hub.api.expire()
    view._begun -= 3600
    await view.again()

    await asyncio.wait_for(asyncio.gather(*(it.wait() for it in waiting)), 5)
    assert len(view.pods) == 51


async def test_nothing_is_kept_for_who_waits_no_longer(view: PodView) -> None:
    async def wait_for(number: int) -> None:
        async with asyncio.timeout(0.001):
            await view.changed(f"vision/{number}").wait()

    await asyncio.gather(*(wait_for(it) for it in range(100)), return_exceptions=True)

    await settle()
    gc.collect()
    assert len(view.waiting._waiting) == 0


async def test_it_is_not_listed_again_and_again_however_many_ask(
    hub: FakeHub, view: PodView
) -> None:
    for _ in range(20):
        await view.again()
    await settle()

    assert lists(hub) == 1


# What was just answered.


async def test_what_was_just_made_is_there_at_once(hub: FakeHub, view: PodView) -> None:
    waiting = view.changed("vision/server-bob")
    hub.api.refusals["watch Pod"] = [OUTAGE] * 5
    made = hub.api.put(make_pod("server-bob", podIP="10.0.0.9"))
    view.put(made)

    assert waiting.is_set()
    assert view.pods["vision/server-bob"]["status"]["podIP"] == "10.0.0.9"


async def test_an_answer_that_comes_late_takes_nothing_back(hub: FakeHub, view: PodView) -> None:
    made = hub.api.put(make_pod("server-bob", podIP=None, phase="Pending"))
    hub.api.put(make_pod("server-bob"))
    await until(lambda: "vision/server-bob" in view.pods)
    view.put(made)
    assert view.pods["vision/server-bob"]["status"]["phase"] == "Running"

    hub.api.remove("Pod", "server-bob", "vision")
    await until(lambda: "vision/server-bob" not in view.pods)
    view.put(made)
    assert "vision/server-bob" not in view.pods


async def test_what_is_told_late_takes_nothing_back(hub: FakeHub, view: PodView) -> None:
    first = hub.api.put(make_pod("server-bob", podIP="10.0.0.1"))
    second = hub.api.put(make_pod("server-bob", podIP="10.0.0.2"))
    view.put(second)
    seen = []
    view.take("ADDED", first)
    seen.append(view.pods["vision/server-bob"]["status"]["podIP"])
    view.put(first)
    seen.append(view.pods["vision/server-bob"]["status"]["podIP"])

    assert seen == ["10.0.0.2", "10.0.0.2"]


async def test_what_is_made_while_the_list_is_read_stays(hub: FakeHub) -> None:
    hub.api.put(make_pod())
    answers = hub.api.late["Pod"] = asyncio.Event()
    version = str(hub.api.version)
    await hub.view.start()
    await settle()
    made = hub.api.put(make_pod("server-bob"))

    async def pages(_: Selection) -> AsyncIterator[tuple[list[Any], str]]:
        await answers.wait()
        yield [hub.api.objects["Pod", "vision", "server-alice"]], version

    await hub.view.stop()
    hub.api.pages = pages  # type: ignore[method-assign, assignment]
    await hub.view.start()
    await settle()
    hub.view.put(made)
    hub.api.refusals["watch Pod"] = [OUTAGE] * 1000
    answers.set()
    await hub.view.ready()

    assert sorted(hub.view.pods) == [ALICE, "vision/server-bob"]


async def test_what_is_known_to_be_gone_does_not_come_back(hub: FakeHub, view: PodView) -> None:
    known = hub.api.objects["Pod", "vision", "server-alice"]
    uid = known["metadata"]["uid"]
    waiting = view.changed(ALICE)
    view.drop(ALICE, uid)
    assert waiting.is_set()
    assert ALICE not in view.pods

    # Its grace period is told of, late.
    hub.api.put({**known, "status": {"phase": "Failed"}})
    await settle()
    assert ALICE not in view.pods
    hub.api.remove("Pod", "server-alice", "vision")
    hub.api.put(make_pod())
    await until(lambda: ALICE in view.pods)
    assert view.pods[ALICE]["metadata"]["uid"] != uid


async def test_another_of_that_name_is_not_dropped(view: PodView) -> None:
    view.drop(ALICE, "uid-of-another")
    view.drop("vision/never", "uid")

    assert list(view.pods) == [ALICE]


# How old it is.


async def test_a_view_that_is_confirmed_asks_for_nothing(hub: FakeHub, view: PodView) -> None:
    await settle()
    before = len(hub.api.calls)
    await view.confirm(ALICE)

    assert view.age < 5
    assert len(hub.api.calls) == before


async def test_where_the_watch_is_silent_the_pod_is_asked_for(
    hub: FakeHub, view: PodView, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence(hub, monkeypatch)
    hub.api.put(make_pod(podIP="10.0.0.2"))
    await until(lambda: view.trouble)
    await view.confirm(ALICE)
    assert view.pods[ALICE]["status"]["podIP"] == "10.0.0.2"

    hub.api.remove("Pod", "server-alice", "vision")
    await view.confirm(ALICE)
    assert ALICE not in view.pods


async def test_where_the_api_does_not_answer_it_stays_and_is_not_asked_again_at_once(
    hub: FakeHub,
    view: PodView,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    silence(hub, monkeypatch)
    hub.api.put(make_pod("server-bob"))
    await until(lambda: view.trouble)
    hub.api.refusals["list Pod"] = [OUTAGE] * 1000
    before = lists(hub)
    await asyncio.gather(*(view.confirm(ALICE) for _ in range(200)))

    assert lists(hub) - before == 1
    assert list(view.pods) == [ALICE]
    assert caplog.text.count("stands still") == 1


async def test_the_api_is_not_asked_for_many_pods_at_once(
    hub: FakeHub, view: PodView, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence(hub, monkeypatch)
    hub.api.put(make_pod("server-bob"))
    await until(lambda: view.trouble)
    hub.api.late["Pod"] = asyncio.Event()
    before = lists(hub)
    asking = [asyncio.create_task(view.confirm(f"vision/server-{it}")) for it in range(50)]
    await settle()
    assert lists(hub) - before == 4
    hub.api.late.pop("Pod").set()

    await asyncio.gather(*asking)
    assert lists(hub) - before == 50


# Polls.


async def test_a_server_that_died_while_the_hub_was_away_is_noticed(hub: FakeHub) -> None:
    spawner = hub.make_spawner()
    await load(spawner)
    hub.api.put(make_pod(spawner.pod_name, spawner.namespace))
    other = hub.make_spawner("bob")
    other.load_state(spawner.get_state())

    assert await spawner.poll() is None
    assert await other.poll() is None
    hub.api.remove("Pod", spawner.pod_name, spawner.namespace)
    await until(lambda: not hub.view.pods)
    assert await other.poll() == 1


async def test_an_api_that_is_away_when_the_hub_begins_ends_no_server_nor_the_hub(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawner = hub.make_spawner()
    await load(spawner)
    monkeypatch.setattr(PodView.ready, "__defaults__", (0.02,))
    hub.api.refusals["list Pod"] = [OUTAGE] * 100_000
    assert await spawner.poll() is None
    with pytest.raises(ClusterUnreachable, match="did not answer"):
        await spawner._start_watching_pods()

    hub.api.refusals.clear()
    await hub.view.ready(5)

    assert await spawner.poll() == 1


async def test_a_poll_does_not_believe_a_view_that_is_old(
    hub: FakeHub, view: PodView, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawner = hub.make_spawner()
    await load(spawner)
    hub.run(spawner)
    assert await spawner.poll() is None
    silence(hub, monkeypatch)
    hub.api.remove("Pod", spawner.pod_name, spawner.namespace)
    await until(lambda: view.trouble)
    hub.api.refusals["list"] = [OUTAGE]
    assert await spawner.poll() is None
    monkeypatch.setattr(podview, "_IN_VAIN_SECONDS", -1.0)

    assert await spawner.poll() == 1


async def test_there_is_one_view_for_all_and_none_of_kubespawners(hub: FakeHub) -> None:
    one, other = hub.make_spawner(), hub.make_spawner("bob")
    for spawner in (one, other):
        await load(spawner)
        await spawner._start_watching_pods()
        await spawner._start_watching_events()

    assert one.pod_reflector is other.pod_reflector is hub.view
    assert one.event_reflector is other.event_reflector
    await settle()
    assert (lists(hub), lists(hub, "Event")) == (1, 1)
    assert "reflectors" in vars(Watching)
    await type(one)._stop_all_reflectors()
    assert not hub.view.running
    assert await one._start_watching_pods() is not None
