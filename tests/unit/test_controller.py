"""The controller around the reconciler: what it hears, asks for, and survives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from kfspawner.errors import ClusterError, ClusterUnreachable, InputError
from kfspawner.labels import MANAGED_BY
from kfspawner.profiles import controller as controllers
from kfspawner.profiles import pace
from kfspawner.profiles.api import Object
from kfspawner.profiles.controller import (
    Controller,
    Settings,
    make_kopf_settings,
    make_registry,
)
from kfspawner.profiles.mirror import PROFILES, SURROUNDINGS, WALLS
from kfspawner.profiles.reconcile import Reconciler
from kfspawner.profiles.resources import Selection
from kfspawner.profiles.surroundings import Opening
from tests.fakes.api import FakeApi

SETTINGS = Settings(hub_namespace="hubs", hub_account="hubs/hub")
DOWN = ClusterUnreachable("applying", "the Kubernetes API did not answer", "try again")
POLICY = ("NetworkPolicy", "vision", "default-deny")


def profile(name: str = "vision", **spec: Any) -> Object:
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Profile",
        "metadata": {"name": name},
        "spec": {"owner": {"kind": "User", "name": "alice"}, **spec},
    }


NODE: Object = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "one"},
    "status": {
        "addresses": [
            {"type": "InternalIP", "address": "198.51.100.7"},
            {"type": "Hostname", "address": "one"},
        ]
    },
}
SLICE: Object = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "kubernetes", "namespace": "default"},
    "endpoints": [{"addresses": ["203.0.113.9"]}],
    "ports": [{"name": "https", "port": 6443}],
}


class World:
    """A controller at work on a cluster in memory; the test is its kopf."""

    def __init__(self, *objects: Object, settings: Settings = SETTINGS) -> None:
        self.api = FakeApi(*objects)
        self.controller = Controller(self.api, settings)

    def hear(self) -> None:
        """Tell the controller what kopf would of Profiles; it follows the rest itself."""
        for event, it in self.api.news():
            if it["kind"] == "Profile":
                self.controller.hear({"type": event, "object": it})

    async def until(self, condition: Callable[[], bool]) -> None:
        """Go on telling until `condition` holds."""
        async with asyncio.timeout(5):
            while not condition():
                self.hear()
                await asyncio.sleep(0.005)

    async def idle(self) -> None:
        """Go on telling until there is nothing to do, for a while."""
        for _ in range(5):
            await self.until(lambda: len(self.controller.queue) == 0)
            await asyncio.sleep(0.005)
            self.hear()

    def condition(self, name: str = "vision") -> str:
        written = self.api.objects["Profile", "", name].get("status", {}).get("conditions", [])
        return next((str(it["reason"]) for it in written if it["type"] == "Ready"), "")

    def blocks(self) -> list[Object]:
        openings = self.api.objects["NetworkPolicy", "vision", "openings"]
        return [
            peer["ipBlock"]
            for rule in openings["spec"]["egress"]
            for peer in rule["to"]
            if "ipBlock" in peer
        ]


Start = Callable[..., Awaitable[World]]


@pytest.fixture
async def started() -> AsyncIterator[Start]:
    """Return a way to have a controller at work on some objects."""
    async with asyncio.TaskGroup() as group:
        loops = []

        async def start(*objects: Object, settings: Settings = SETTINGS) -> World:
            world = World(*objects, settings=settings)
            loops.extend(await world.controller.begin(group))
            await world.idle()
            return world

        yield start
        for loop in loops:
            loop.cancel()


async def test_what_is_there_at_the_start_is_looked_at(started: Start) -> None:
    world = await started(profile(), profile("audio"), NODE, SLICE)

    assert world.condition() == world.condition("audio") == "Ready"
    assert {"cidr": "203.0.113.9/32"} in world.blocks()
    assert any("198.51.100.7/32" in block.get("except", ()) for block in world.blocks())


async def test_a_deleted_child_comes_back(started: Start) -> None:
    world = await started(profile())
    world.api.remove("NetworkPolicy", "default-deny", "vision")
    await world.until(lambda: POLICY in world.api.objects)


async def test_its_own_writes_are_no_news(started: Start) -> None:
    world = await started(profile())
    world.api.calls.clear()
    await world.idle()
    await asyncio.sleep(0.02)

    assert world.api.calls == []


async def test_an_answer_that_is_older_than_the_news_changes_nothing(started: Start) -> None:
    world = await started(profile())
    old = world.api.objects[POLICY]
    world.controller.mirror.drop({**old, "metadata": {**old["metadata"], "resourceVersion": "99"}})

    assert not world.controller.mirror.put(old)
    assert world.controller.mirror.find("NetworkPolicy", "default-deny", "vision") is None


async def test_a_node_that_comes_is_walled_off_from_all(started: Start) -> None:
    world = await started(profile(), NODE)
    world.api.put(
        {
            **NODE,
            "metadata": {"name": "two"},
            "status": {"addresses": [{"type": "ExternalIP", "address": "198.51.100.8"}]},
        }
    )
    await world.until(lambda: "198.51.100.8/32" in str(world.blocks()))
    world.api.calls.clear()
    # A node's heartbeat is no news.
    world.api.put({**world.api.objects["Node", "", "two"], "spec": {"taints": []}})
    await world.idle()
    assert world.api.calls == []

    world.api.remove("Node", "two")
    await world.until(lambda: "198.51.100.8/32" not in str(world.blocks()))


async def test_where_the_api_listens_is_opened_to_all(started: Start) -> None:
    world = await started(profile(), SLICE)
    world.api.put({**SLICE, "endpoints": [{"addresses": ["203.0.113.10"]}]})
    await world.until(lambda: {"cidr": "203.0.113.10/32"} in world.blocks())
    assert {"cidr": "203.0.113.9/32"} not in world.blocks()

    # Slices of that name elsewhere say nothing of the API.
    elsewhere = {**SLICE, "metadata": {"name": "kubernetes", "namespace": "vision"}}
    world.api.put({**elsewhere, "endpoints": [{"addresses": ["10.0.0.1"]}]})
    world.api.remove("EndpointSlice", "kubernetes", "default")
    await world.idle()
    assert world.controller.mirror.endpoints == (Opening("203.0.113.10/32", 6443),)


async def test_a_failure_is_tried_again_and_told_the_second_time(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await started(profile())
    monkeypatch.setattr(world.controller.queue, "_shortest", 0.05)
    world.api.refusals["apply NetworkPolicy"] = [DOWN, DOWN, DOWN]
    world.api.remove("NetworkPolicy", "default-deny", "vision")
    await world.until(lambda: len(world.api.refusals["apply NetworkPolicy"]) == 2)
    await asyncio.sleep(0.01)
    assert world.condition() == "Ready"

    await world.until(lambda: world.condition() == "ApiError")
    await world.until(lambda: world.condition() == "Ready")
    assert POLICY in world.api.objects


async def test_a_profile_that_breaks_the_controller_stops_no_other(
    started: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = await started(profile("audio"))
    monkeypatch.setattr(world.controller.queue, "_shortest", 0.01)
    make = Reconciler.reconcile

    async def reconcile(self: Any, name: str) -> None:
        if name == "vision":
            raise ZeroDivisionError("a defect of ours")
        await make(self, name)

    monkeypatch.setattr(Reconciler, "reconcile", reconcile)
    world.api.put(profile())
    await world.until(lambda: world.condition() == "ApiError")
    assert "a defect of ours" in caplog.text

    world.api.remove("NetworkPolicy", "default-deny", "audio")
    await world.until(lambda: ("NetworkPolicy", "audio", "default-deny") in world.api.objects)


async def test_it_starts_when_the_api_does(started: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controllers, "_BEGIN_SECONDS", 0.01)
    world = World(profile())
    missing = ClusterError("listing profiles", "404 not found", "apply the definition")
    world.api.refusals["list Profile"] = [DOWN, missing]
    world.api.refusals["list Node"] = [DOWN]
    async with asyncio.TaskGroup() as group:
        loops = await world.controller.begin(group)
        await world.until(lambda: world.condition() == "Ready")
        for loop in loops:
            loop.cancel()


async def test_nothing_is_done_before_all_is_known(started: Start) -> None:
    world = await started(profile())
    again = World(*world.api.objects.values())
    # As the API server would have it: written by us.
    again.api = world.api
    again.controller = Controller(world.api, SETTINGS)
    world.api.calls.clear()
    async with asyncio.TaskGroup() as group:
        loops = await again.controller.begin(group)
        await again.idle()
        assert world.api.writes() == []
        for loop in loops:
            loop.cancel()


async def test_what_went_while_nobody_watched_comes_back(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SOON", 0.01)
    monkeypatch.setattr(pace, "LATE", 0.01)
    world = await started(profile())
    # The next thing that any of them is told is that its connection is gone.
    world.api.refusals["watch NetworkPolicy"] = [DOWN, DOWN]
    world.api.remove("NetworkPolicy", "default-deny", "vision")
    world.api.expire()
    await world.until(lambda: POLICY in world.api.objects)
    assert world.api.called("list").count(("NetworkPolicy", "", "")) > 1


async def test_kopf_that_lists_again_has_all_profiles_listed(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controllers, "_SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(controllers, "_LIST_SECONDS", 1000)
    world = await started(profile(), profile("audio"))
    world.api.put(profile("speech"))
    world.api.objects.pop(("Profile", "", "vision"))
    world.api.news()
    world.api.refusals["list Profile"] = [DOWN]
    world.controller.hear({"type": None, "object": world.api.objects["Profile", "", "audio"]})
    await world.until(lambda: "vision" not in world.controller.mirror.profiles)
    await world.until(lambda: world.condition("speech") == "Ready")


async def test_a_list_forgets_nothing_that_came_meanwhile(started: Start) -> None:
    world = await started(profile())
    pages = world.api.pages

    async def pages_late(selection: Selection) -> AsyncIterator[Any]:
        found = [it async for it in pages(selection)]
        world.api.put(profile("audio"))
        world.hear()
        for page in found:
            yield page

    world.api.pages = pages_late  # type: ignore[assignment, method-assign]
    await world.controller.follower.list(PROFILES)
    assert "audio" in world.controller.mirror.profiles


async def test_a_label_that_was_taken_off_comes_back(started: Start) -> None:
    world = await started(profile())
    policy = {**world.api.objects[POLICY]}
    world.api.put({**policy, "metadata": {**policy["metadata"], "labels": {}}})
    await world.until(lambda: world.api.objects[POLICY]["metadata"].get("labels") == MANAGED_BY)


async def test_authorities_are_handed_out_and_handed_out_anew(
    started: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ca.crt"
    file.write_text("one")
    settings = Settings(hub_namespace="hubs", hub_account="hubs/hub", ca_file=file)
    world = await started(profile(), settings=settings)
    key = ("ConfigMap", "vision", "kfspawner-ca")
    assert world.api.objects[key]["data"] == {"ca.crt": "one"}

    # Nobody reads what it says: that somebody else wrote it is enough.
    for part in ({"data": {"ca.crt": "evil"}}, {"data": {"ca.crt": "one", "more": "x"}}):
        world.api.put({**world.api.objects[key], **part})
        await world.until(lambda: world.api.objects[key]["data"] == {"ca.crt": "one"})

    file.write_text("two")
    world.controller.take_ca()
    await world.until(lambda: world.api.objects[key]["data"] == {"ca.crt": "two"})

    file.unlink()
    world.controller.take_ca()
    await world.idle()
    assert world.api.objects[key]["data"] == {"ca.crt": "two"}
    assert str(file) in caplog.text
    world.api.calls.clear()
    await world.idle()
    assert world.api.calls == []


def test_a_file_of_authorities_has_to_be_there(tmp_path: Path) -> None:
    settings = Settings(hub_namespace="hubs", hub_account="hubs/hub", ca_file=tmp_path / "none")

    with pytest.raises(InputError, match="--ca-file"):
        Controller(FakeApi(), settings)


async def test_beside_kubeflow_only_walls_are_followed() -> None:
    world = World(settings=Settings("hubs", "hubs/hub", walls_only=True))
    async with asyncio.TaskGroup() as group:
        loops = await world.controller.begin(group)
        for loop in loops:
            loop.cancel()

    followed = {kind for kind, _, _ in world.api.called("list")}
    assert followed == {it.kind for it in (PROFILES, *SURROUNDINGS, *WALLS)}
    assert "ResourceQuota" not in followed


def test_kopf_follows_profiles_and_writes_nothing() -> None:
    registry = make_registry(Controller(FakeApi(), SETTINGS))
    (handler,) = registry._watching.get_all_handlers()
    selector = handler.selector
    assert selector is not None
    assert (selector.group, selector.version, selector.any_name) == (
        "kubeflow.org",
        "v1",
        "profiles",
    )
    assert not registry._changing.get_all_handlers()
    assert not registry._spawning.get_all_handlers()

    settings = make_kopf_settings()
    assert settings.posting.enabled is False
    assert settings.scanning.disabled is True
