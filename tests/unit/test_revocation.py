"""What is mounted for somebody who may not have it any more goes, and nothing else does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from jupyterhub import orm
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from kfspawner.errors import ClusterUnreachable
from kfspawner.homes.mounts import Mount, read_mounts, write_mounts
from kfspawner.labels import MOUNTS_ANNOTATION
from kfspawner.profiles.api import Object
from kfspawner.profiles.directory import Directory
from kfspawner.profiles.members import make_member_binding
from kfspawner.profiles.profile import Role, make_personal, make_profile
from kfspawner.servers import revocation
from kfspawner.servers.pods import Pods
from kfspawner.servers.revocation import Revocation, follow_removals
from tests.fakes.api import FakeApi
from tests.fakes.hub import FakeHub
from tests.unit.test_directory import ready, shared, until

FOLDER = Mount.of_folder("vision", "bob", read_only=False)
LOOKED_AT = Mount.of_folder("vision", "bob", read_only=True)
HOME = Mount("shared-home-bob", "kf-bob/bob", read_only=False, person="bob")
DATASET = Mount("dataset-digits", "/data", server="nfs.data")
SILENCE = ClusterUnreachable("changing", "no answer", "try again")


def own(*mounts: Mount) -> Object:
    """Return bob's own Profile, with what is mounted there."""
    return mounting(make_profile(make_personal("bob", {})), *mounts)


def mounting(profile: Object, *mounts: Mount) -> Object:
    annotations = profile["metadata"].setdefault("annotations", {})
    annotations[MOUNTS_ANNOTATION] = write_mounts({it.claim: it for it in mounts})
    return ready(profile)


def pod(name: str, claim: str, user: str = "bob", profile: str = "kf-bob") -> Object:
    """Return a pod that a person has."""
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": profile,
            "labels": {"kfspawner.io/user": "bob"},
            "annotations": {"kfspawner.io/user-name": user},
        },
        "spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]},
        "status": {"phase": "Running"},
    }


class World:
    """A cluster, its directory, and everybody's groups."""

    def __init__(self) -> None:
        self.api = FakeApi()
        for name in ("kf-bob", "vision", "speech"):
            self.api.put({"kind": "Namespace", "metadata": {"name": name}})
        self.directory = Directory(self.api)
        self.groups: dict[str, list[str]] = {"bob": [], "alice": []}
        self.asked = 0

    def people(self) -> dict[str, list[str]]:
        self.asked += 1
        return self.groups

    def revocation(self, *, stops: bool = False) -> Revocation:
        log = logging.getLogger("revocation")
        return Revocation(self.api, self.directory, self.people, log, stops=stops)

    async def look(self, *objects: Object, stops: bool = False) -> None:
        """Have these objects stand, and look once."""
        for it in objects:
            self.api.put(it)
        if self.directory.loaded:
            # What was put last is told last.
            names = [it["metadata"]["name"] for it in objects if it["kind"] == "Profile"]
            await until(lambda: all(self.directory.get(it) for it in names))
            await asyncio.sleep(0.02)
        await self.directory.ready()
        await self.revocation(stops=stops).look()

    def left(self, profile: str = "kf-bob") -> list[str]:
        """Return the claims that are still written on a Profile."""
        return sorted(read_mounts(self.api.objects["Profile", "", profile]))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.directory.end()


# Who may have the folder of another profile at home.


@pytest.mark.parametrize("role", ["edit", "admin"])
async def test_a_member_keeps_a_folder(world: World, role: str) -> None:
    await world.look(own(FOLDER), shared(members={"bob": role}))

    assert world.left() == ["folder-vision"]
    assert world.asked == 0


async def test_whoever_looks_keeps_one_that_is_read_only(world: World) -> None:
    await world.look(own(LOOKED_AT), shared(members={"bob": "view"}))

    assert world.left() == ["folder-vision"]


async def test_a_member_by_a_binding_or_a_group_keeps_it(world: World) -> None:
    speech = Mount.of_folder("speech", "bob", read_only=False)
    world.groups["bob"] = ["team"]
    world.api.put(make_member_binding("vision", "bob", Role.EDIT))

    await world.look(own(FOLDER, speech), shared(), shared("speech", groups={"team": "edit"}))

    assert world.left() == ["folder-speech", "folder-vision"]


@pytest.mark.parametrize(
    ("mount", "profile"),
    [
        (FOLDER, shared()),
        (FOLDER, shared(members={"bob": "view"})),
        (LOOKED_AT, shared()),
        (FOLDER, shared(groups={"team": "edit"})),
        (FOLDER, None),
    ],
    ids=["removed", "only looks", "looked, removed", "left the group", "profile gone"],
)
async def test_whoever_may_not_have_it_loses_it_and_nothing_else(
    world: World, mount: Mount, profile: Object | None
) -> None:
    speech = Mount.of_folder("speech", "bob", read_only=False)
    profiles = [shared("speech", members={"bob": "edit"}), *([profile] if profile else [])]

    await world.look(own(mount, speech, DATASET), *profiles)

    assert world.left() == ["dataset-digits", "folder-speech"]
    assert world.api.called("delete") == []


async def test_nobody_has_others_folders_where_others_may_look(world: World) -> None:
    mine = own(FOLDER, DATASET)
    mine["metadata"]["annotations"]["kfspawner.io/members"] = '{"carol": "view"}'

    await world.look(mine, shared(members={"bob": "edit"}))

    assert world.left() == ["dataset-digits"]


# A shared home.


async def test_a_home_is_mounted_where_its_person_may_work(world: World) -> None:
    await world.look(own(), mounting(shared(members={"bob": "edit"}), HOME, DATASET))
    assert world.left("vision") == ["dataset-digits", "shared-home-bob"]

    await world.look(mounting(shared(members={"bob": "view"}), HOME, DATASET))
    assert world.left("vision") == ["dataset-digits"]


# What is not known.


async def test_whom_the_hub_does_not_know_keeps_what_they_have(world: World) -> None:
    del world.groups["bob"]

    await world.look(own(FOLDER), shared())

    assert world.left() == ["folder-vision"]


@pytest.mark.parametrize("broken", ["kf-bob", "vision"])
async def test_a_profile_that_cannot_be_read_changes_nothing(world: World, broken: str) -> None:
    profiles = {"kf-bob": own(FOLDER), "vision": shared(members={"bob": "edit"})}
    profiles[broken]["spec"]["owner"] = {"kind": "Robot", "name": "x"}

    await world.look(*profiles.values())

    assert world.left() == ["folder-vision"]


async def test_before_all_is_known_nothing_is_taken(world: World) -> None:
    world.api.put(own(FOLDER))

    await world.revocation().look()

    assert world.left() == ["folder-vision"]


async def test_what_cannot_be_written_is_tried_at_the_next_look(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.api.refusals["patch Profile"] = [SILENCE]
    await world.look(own(FOLDER), shared())
    assert world.left() == ["folder-vision"]
    assert "no answer" in caplog.text

    await world.look()
    assert world.left() == []


async def test_what_was_written_anew_meanwhile_stays(world: World) -> None:
    await world.look(own(FOLDER), shared(members={"bob": "edit"}))
    world.api.put(shared(members={"bob": "view"}))
    await asyncio.sleep(0.02)
    # The view is a moment behind.
    view = world.revocation()
    world.api.put(own(LOOKED_AT))

    await view.look()

    assert world.left() == ["folder-vision"]


# What runs.


async def test_pods_that_have_it_are_stopped_where_that_is_wanted(world: World) -> None:
    pods = [
        pod("server-bob", "folder-vision"),
        pod("digits-x", "folder-vision"),
        pod("without", "home-bob"),
        pod("of-another", "folder-vision", user="Bob"),
    ]
    speech = {**pod("elsewhere", "folder-vision", profile="speech")}

    await world.look(own(FOLDER), shared(), *pods, speech, stops=True)

    left = sorted(name for kind, _, name in world.api.objects if kind == "Pod")
    assert left == ["elsewhere", "of-another", "without"]
    assert world.left() == []


async def test_they_are_stopped_later_where_that_fails(world: World) -> None:
    world.api.refusals["delete Pod"] = [SILENCE]
    await world.look(own(FOLDER), shared(), pod("server-bob", "folder-vision"), stops=True)
    assert world.left() == ["folder-vision"]

    await world.look(stops=True)
    assert world.left() == []
    assert ("Pod", "kf-bob", "server-bob") not in world.api.objects


async def test_what_runs_goes_on_otherwise(world: World) -> None:
    await world.look(own(FOLDER), shared(), pod("server-bob", "folder-vision"))

    assert ("Pod", "kf-bob", "server-bob") in world.api.objects


# In the hub.


async def test_a_removal_is_followed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "_SETTLE", 0.01)
    await world.look(own(FOLDER), shared(members={"bob": "edit"}))
    follow_removals(world.revocation)
    follow_removals(world.revocation)
    await asyncio.sleep(0.02)
    assert world.left() == ["folder-vision"]

    world.api.put(shared())

    await until(lambda: world.left() == [])
    (task,) = [
        it for it in asyncio.all_tasks() if "follow" in repr(it) and "Revocation" in repr(it)
    ]
    task.cancel()


async def test_the_hub_tells_everybodys_groups(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = create_engine("sqlite://")
    orm.Base.metadata.create_all(engine)
    with Session(engine) as db:
        team, leads = orm.Group(name="team"), orm.Group(name="leads")
        db.add_all([orm.User(name="bob", groups=[team, leads]), orm.User(name="zoe"), team, leads])
        db.commit()
        spawner = hub.make_spawner("bob")
        spawner.user.db = db
        people = Pods._make_revocation(spawner)._people()

    assert {name: sorted(groups) for name, groups in people.items()} == {
        "bob": ["leads", "team"],
        "zoe": [],
    }
