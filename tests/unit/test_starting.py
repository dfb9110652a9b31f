"""How a start waits for its server, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from kfspawner.errors import ClusterError
from kfspawner.labels import RUN_LABEL, USER_ANNOTATION
from kfspawner.servers import starting
from kfspawner.servers.refused import StartRefused
from kfspawner.servers.spawner import KfSpawner
from tests.fakes.hub import FakeHub, load
from tests.fakes.nodes import make_node, make_taken
from tests.fakes.starts import begin, free_port, listening, running, take_away, tell

PENDING: dict[str, Any] = {"phase": "Pending", "podIP": None}
NO_IMAGE = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
NO_GPU = {
    "type": "PodScheduled",
    "status": "False",
    "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "_LOOK", 0.02)


@pytest.fixture
async def spawner(hub: FakeHub) -> AsyncIterator[KfSpawner]:
    """Return alice's spawner, whose pod is to be reached on this machine."""
    made = hub.make_spawner(port=free_port())
    yield made
    if made._start_future:
        made._start_future.cancel()
        await asyncio.gather(made._start_future, return_exceptions=True)


async def test_a_start_ends_when_the_server_answers(hub: FakeHub, spawner: KfSpawner) -> None:
    task = await begin(hub, spawner)
    tell(hub, spawner, **PENDING)
    tell(hub, spawner, **running())
    await asyncio.sleep(0.1)
    assert not task.done()

    with listening(spawner.port):
        url = await asyncio.wait_for(task, 1)

    assert url == f"http://127.0.0.1:{spawner.port}"
    assert starting.Starting._knocking == 0


async def test_what_was_begun_is_saved_before_anything_is_made(
    hub: FakeHub, spawner: KfSpawner
) -> None:
    hub.share("vision")
    saved: list[Any] = []
    kinds = hub.api.objects

    def commit() -> None:
        if getattr(spawner.orm_spawner, "state", None):
            saved.append((dict(spawner.orm_spawner.state), [it[0] for it in kinds]))

    spawner.user.db.commit = commit
    await begin(hub, spawner)

    state, made = saved[0]
    assert state["namespace"] == "kf-alice"
    assert state["pod_name"] == spawner.pod_name
    assert "Pod" not in made
    assert "PersistentVolumeClaim" not in made


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {
                **PENDING,
                "containerStatuses": [{"name": "notebook", "image": "x", "state": NO_IMAGE}],
            },
            "no such image",
        ),
        ({"phase": "Failed", "podIP": None, "reason": "Evicted"}, "the pod failed: Evicted"),
    ],
)
async def test_a_start_ends_when_the_pod_never_will(
    hub: FakeHub, spawner: KfSpawner, status: dict[str, Any], said: str
) -> None:
    task = await begin(hub, spawner)
    tell(hub, spawner, **status)

    with pytest.raises(StartRefused, match=said):
        await asyncio.wait_for(task, 1)


async def test_a_server_that_crashes_before_it_answers_ends_the_start(
    hub: FakeHub, spawner: KfSpawner
) -> None:
    task = await begin(hub, spawner)
    tell(hub, spawner, **running())
    await asyncio.sleep(0.05)
    ended = {"terminated": {"exitCode": 1, "message": "Traceback\nno module <named> jupyter"}}
    status = {"name": "notebook", "ready": False, "state": ended}
    tell(hub, spawner, **{**running(), "containerStatuses": [status]})

    with pytest.raises(StartRefused, match="no module") as refused:
        await asyncio.wait_for(task, 1)

    assert "no module &lt;named&gt; jupyter\n" in refused.value.jupyterhub_html_message


async def test_a_pod_that_somebody_deletes_ends_the_start(hub: FakeHub, spawner: KfSpawner) -> None:
    task = await begin(hub, spawner)
    tell(hub, spawner, **PENDING)
    await asyncio.sleep(0.05)
    take_away(hub, spawner)

    with pytest.raises(StartRefused, match="somebody deleted its pod"):
        await asyncio.wait_for(task, 1)


async def test_a_server_that_never_answers_ends_the_start(hub: FakeHub, spawner: KfSpawner) -> None:
    spawner.http_timeout = 0
    task = await begin(hub, spawner)
    tell(hub, spawner, **running())

    with pytest.raises(StartRefused, match=f"nothing answers at 127.0.0.1:{spawner.port}"):
        await asyncio.wait_for(task, 1)


async def test_a_place_is_waited_for_as_long_as_is_set(
    hub: FakeHub, spawner: KfSpawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await begin(hub, spawner)
    tell(hub, spawner, **PENDING, conditions=[NO_GPU])
    await asyncio.sleep(0.1)
    assert not task.done()

    monkeypatch.setattr(KfSpawner, "queue_timeout", 0)
    with pytest.raises(StartRefused, match="Waiting for a GPU: all are in use"):
        await asyncio.wait_for(task, 1)


async def test_a_start_may_take_longer_than_the_wait_for_a_place(hub: FakeHub) -> None:
    assert hub.make_spawner(queue_timeout=30).start_timeout == 630
    assert hub.make_spawner(start_timeout=50).start_timeout == 50


async def test_a_look_at_a_pod_from_elsewhere_is_answered_at_once(
    hub: FakeHub, spawner: KfSpawner
) -> None:
    await begin(hub, spawner)
    tell(hub, spawner, **PENDING)

    assert spawner.is_pod_running(None) is False
    assert await spawner.poll() is None


async def test_a_start_that_a_dead_hub_began_goes_on(hub: FakeHub, spawner: KfSpawner) -> None:
    await load(spawner)
    stored = object()
    spawner.orm_spawner.server = stored
    spawner.server = SimpleNamespace(url="http://127.0.0.1:0", orm_server=stored)
    tell(hub, spawner, **PENDING)
    task = asyncio.ensure_future(spawner.get_url())
    await asyncio.sleep(0.05)
    assert not task.done()

    with listening(spawner.port):
        tell(hub, spawner, **running())
        assert await asyncio.wait_for(task, 1) == f"http://127.0.0.1:{spawner.port}"


async def test_a_start_that_a_dead_hub_began_and_that_fails_is_left_to_jupyterhub(
    hub: FakeHub, spawner: KfSpawner
) -> None:
    await load(spawner)
    stored = object()
    spawner.orm_spawner.server = stored
    spawner.server = SimpleNamespace(url="http://127.0.0.1:0", orm_server=stored)
    tell(hub, spawner, phase="Failed", podIP=None, reason="Evicted")

    assert await asyncio.wait_for(spawner.get_url(), 1) == "http://127.0.0.1:0"


async def test_a_stop_ends_when_the_pod_is_gone(hub: FakeHub, spawner: KfSpawner) -> None:
    await load(spawner)
    hub.run(spawner)

    async def delete(*_: Any, **__: Any) -> None:
        return None

    spawner.api.delete_namespaced_pod = delete
    task = asyncio.ensure_future(spawner.stop())
    await asyncio.sleep(0.05)
    assert not task.done()

    take_away(hub, spawner)
    await asyncio.wait_for(task, 0.5)


async def test_a_start_that_no_node_lets_in_is_refused(hub: FakeHub, spawner: KfSpawner) -> None:
    hub.api.put(make_node(taints=[{"key": "team", "value": "other", "effect": "NoSchedule"}]))
    task = await begin(hub, spawner)
    message = (
        "0/1 nodes are available: 1 node(s) had untolerated taint(s). no new claims to "
        "deallocate, preemption: 0/1 nodes are available: "
        "1 Preemption is not helpful for scheduling."
    )
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    tell(hub, spawner, **PENDING, conditions=[condition])

    with pytest.raises(StartRefused, match="no node of the cluster"):
        await asyncio.wait_for(task, 5)


async def test_who_holds_what_is_waited_for_is_told(hub: FakeHub, spawner: KfSpawner) -> None:
    holding = make_taken("training", gpus="2")
    holding["metadata"] |= {
        "labels": {RUN_LABEL: "digits"},
        "annotations": {USER_ANNOTATION: "bob"},
    }
    hub.api.put(holding)
    await begin(hub, spawner)
    tell(hub, spawner, **PENDING, conditions=[NO_GPU])
    await hub.capacity.now(5)

    assert "all are in use by bob's run digits. " in spawner._waits_for()


async def test_progress_speaks_of_this_pod_alone(hub: FakeHub) -> None:
    spawner = hub.make_spawner()
    spawner._start_future = asyncio.get_running_loop().create_future()
    spawner._start_future.set_result(None)

    def event(namespace: str, message: str) -> dict[str, Any]:
        return {
            "kind": "Event",
            "metadata": {"name": message, "namespace": namespace},
            "involvedObject": {
                "kind": "Pod",
                "name": spawner.pod_name,
                "namespace": namespace,
            },
            "reason": "FailedScheduling",
            "type": "Warning",
            "message": message,
            "lastTimestamp": "2025-01-01T00:00:00Z",
        }

    await spawner._start_watching_events()
    news = hub.view.changed(f"kf-alice/{spawner.pod_name}")
    hub.api.put(event("kf-bob", "bob's"))
    hub.api.put(event("kf-alice", "1 Insufficient nvidia.com/gpu"))
    await asyncio.wait_for(news.wait(), 5)
    steps = [step async for step in spawner.progress()]

    assert [step["message"].split(":")[0] for step in steps] == ["Waiting for a GPU"]


async def test_progress_tells_each_remark_once(hub: FakeHub) -> None:
    spawner = hub.make_spawner()
    spawner._start_future = asyncio.get_running_loop().create_future()
    told: list[str] = []

    async def follow() -> None:
        told.extend([step["message"] async for step in spawner.progress()])

    following = asyncio.create_task(follow())
    spawner._remarks = ("Made a home", "Without a folder")
    await asyncio.sleep(3.2)
    spawner._start_future.set_result(None)
    await following

    assert told == ["Made a home", "Without a folder"]


async def test_the_last_words_of_a_server_are_in_its_pods_status(hub: FakeHub) -> None:
    assert hub.make_spawner().extra_container_config == {
        "terminationMessagePolicy": "FallbackToLogsOnError"
    }


def test_a_refusal_of_one_line_needs_no_html() -> None:
    refused = StartRefused(ClusterError("starting", "no", "wait"))

    assert not hasattr(refused, "jupyterhub_html_message")
