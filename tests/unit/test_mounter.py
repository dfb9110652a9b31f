"""Mounts are asked for, made and taken away; whoever is killed at it leaves no harm."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace

import pytest

from kfspawner.errors import ClusterUnreachable, ObjectExists, ObjectMissing
from kfspawner.homes.asking import ask_for_mounts
from kfspawner.homes.ledger import read_namespace
from kfspawner.homes.mounter import Mounter
from kfspawner.homes.mounts import (
    Mount,
    MountStanding,
    MountStep,
    by_mount,
    next_mount_step,
    read_made,
    read_mounts,
    write_mounts,
)
from kfspawner.labels import MOUNTS_ANNOTATION
from kfspawner.profiles.api import Object
from tests.fakes.api import FakeApi
from tests.fakes.homes import ALICE, CLAIM, SERVER, VOLUME, Homes, killed, make_namespace, see
from tests.unit.test_home_service import Running, has_volume, until
from tests.unit.test_home_service import homes as homes  # noqa: PLC0414 - its fixture

FOLDER = Mount.of_folder("speech", "alice", read_only=True)
DATA = Mount("dataset-digits", "/data/digits", server="nfs.data")
HOME = Mount("shared-home-bob", "kf-bob/bob", read_only=False, person="bob")
FOLDER_CLAIM, FOLDER_VOLUME = (
    (CLAIM, "vision", "folder-speech"),
    (VOLUME, "", "mount.vision.folder-speech"),
)
OUTAGE = ClusterUnreachable("changing", "the Kubernetes API did not answer", "try again")


def make_cluster(*objects: Object) -> FakeApi:
    """Return a cluster whose controller sees volumes."""
    api = FakeApi(*objects)
    api.on_write = see
    return api


def make_profile(*mounts: Mount, name: str = "vision") -> Object:
    """Return a Profile with what the hub has written on it."""
    annotations = {MOUNTS_ANNOTATION: write_mounts({it.claim: it for it in mounts})}
    return {"kind": "Profile", "metadata": {"name": name, "annotations": annotations}}


def written(api: FakeApi, name: str = "vision") -> dict[str, Mount]:
    return read_mounts(api.objects["Profile", "", name])


def made(api: FakeApi) -> set[str]:
    """Return the claims and volumes of mounts that there are."""
    return {key[2] for key, it in api.objects.items() if "spec" in it and read_made(it)}


# The Mounter.


def standings(api: FakeApi) -> list[MountStanding]:
    """Return how each mount stands on the cluster."""
    kinds: dict[str, list[Object]] = {"Profile": [], "Namespace": [], CLAIM: [], VOLUME: []}
    for key, it in api.objects.items():
        kinds[key[0]].append(it)
    wanted = {it["metadata"]["name"]: read_mounts(it) for it in kinds["Profile"]}
    found = [it for it in map(read_made, (*kinds[CLAIM], *kinds[VOLUME])) if it]
    spaces = {it["metadata"]["name"]: read_namespace(it) for it in kinds["Namespace"]}
    return list(by_mount(wanted, found, spaces, SERVER).values())


async def settle(api: FakeApi, *mounters: Mounter) -> None:
    """Have every one of `mounters` take each step, at once, until nothing is left to do."""
    for _ in range(20):
        todo = [(step, it) for it in standings(api) if (step := next_mount_step(it))]
        if not todo:
            return
        for step, standing in todo:
            await asyncio.gather(*(it.take(step, standing) for it in mounters))
    raise AssertionError(f"it does not come to rest: {todo}")


async def ask(api: FakeApi) -> None:
    api.put(make_profile(FOLDER, DATA))


async def ask_no_more(api: FakeApi) -> None:
    api.put(make_profile(FOLDER))
    await settle(api, Mounter(api, SERVER))
    api.put(make_profile())


async def ask_otherwise(api: FakeApi) -> None:
    api.put(make_profile(replace(FOLDER, read_only=False)))
    await settle(api, Mounter(api, SERVER))
    api.put(make_profile(FOLDER))


async def end_profile(api: FakeApi) -> None:
    api.put(make_profile(FOLDER))
    await settle(api, Mounter(api, SERVER))
    api.finish("vision")
    api.remove("Profile", "vision")


async def lose_volume(api: FakeApi) -> None:
    api.put(make_profile(FOLDER))
    await settle(api, Mounter(api, SERVER))
    api.remove(VOLUME, FOLDER_VOLUME[2])


BOTH = {FOLDER_CLAIM[2], FOLDER_VOLUME[2]}
Story = Callable[[FakeApi], Awaitable[None]]
STORIES: dict[str, tuple[Story, set[str]]] = {
    "asked for": (ask, BOTH | {"dataset-digits", "mount.vision.dataset-digits"}),
    "asked for no more": (ask_no_more, set()),
    "asked for otherwise": (ask_otherwise, BOTH),
    "profile gone": (end_profile, set()),
    "volume lost": (lose_volume, BOTH),
}


def check(api: FakeApi, end: set[str]) -> None:
    assert made(api) == end
    for key in {FOLDER_CLAIM, FOLDER_VOLUME} & set(api.objects):
        assert api.objects[key]["spec"]["accessModes"] == ["ReadOnlyMany"]


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
async def test_whoever_is_killed_is_finished_by_the_next(story: tuple[Story, set[str]]) -> None:
    begin, end = story
    for at in itertools.count(1):
        api = make_cluster(make_namespace())
        await begin(api)
        with killed(api, at) as countdown:
            await settle(api, Mounter(api, SERVER))
        await settle(api, Mounter(api, SERVER))
        check(api, end)
        if not countdown.over:
            assert at > 1
            return


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
async def test_two_at_once_do_no_harm(story: tuple[Story, set[str]]) -> None:
    begin, end = story
    api = make_cluster(make_namespace())
    await begin(api)

    await settle(api, Mounter(api, SERVER), Mounter(api, SERVER))

    check(api, end)


async def test_what_is_there_stays_as_it_is() -> None:
    api = make_cluster(make_namespace(), make_profile(FOLDER))
    await settle(api, Mounter(api, SERVER))
    api.calls.clear()
    await settle(api, Mounter(api, SERVER))
    assert api.calls == []


@pytest.mark.parametrize(
    ("step", "key"),
    [(MountStep.DROP_CLAIM, FOLDER_CLAIM), (MountStep.DROP_VOLUME, FOLDER_VOLUME)],
    ids=["claim", "volume"],
)
async def test_what_was_made_anew_meanwhile_stays(
    step: MountStep, key: tuple[str, str, str]
) -> None:
    api = make_cluster(make_namespace(), make_profile(FOLDER))
    await settle(api, Mounter(api, SERVER))
    (standing,) = standings(api)
    kind, namespace, name = key
    again = {**api.objects[key], "metadata": {"name": name, "namespace": namespace}}
    api.remove(kind, name, namespace)
    uid = api.put(again)["metadata"]["uid"]

    await Mounter(api, SERVER).take(step, standing)

    assert api.objects[key]["metadata"]["uid"] == uid


@pytest.mark.parametrize("method", ["create", "delete"])
async def test_what_the_cluster_does_not_do_is_an_error(method: str) -> None:
    api = make_cluster(make_namespace())
    await (ask if method == "create" else ask_no_more)(api)
    api.refusals[method] = [OUTAGE]

    with pytest.raises(ClusterUnreachable):
        await settle(api, Mounter(api, SERVER))


# The provisioner's process.


@pytest.fixture
async def running(homes: Homes) -> AsyncIterator[Running]:
    begun = Running(homes)
    yield begun
    await begun.end()


async def test_what_is_written_is_made_and_what_is_not_any_more_is_taken_away(
    homes: Homes, running: Running
) -> None:
    homes.api.put(make_profile(FOLDER))
    await running.start()
    await until(lambda: made(homes.api) == BOTH)

    homes.api.put(make_profile(DATA))
    await until(lambda: made(homes.api) == {"dataset-digits", "mount.vision.dataset-digits"})

    homes.api.put(make_profile())
    await until(lambda: not made(homes.api))
    # No folder is made for who only mounts it: it has a claim in its own profile.
    assert list(homes.root.iterdir()) == []


@pytest.mark.parametrize("end", ["unwritten", "profile gone"])
async def test_the_files_of_a_mount_stay_and_are_never_archived(
    homes: Homes, running: Running, end: str
) -> None:
    homes.claim()
    await homes.settle()
    notes = homes.root / ALICE.directory / "notes.txt"
    notes.write_text("mine")
    shared = Mount(ALICE.shared_claim, ALICE.directory, read_only=False, person="alice")
    homes.api.put(make_namespace("speech"))
    homes.api.put(make_profile(shared, name="speech"))
    await running.start()
    await until(lambda: len(made(homes.api)) == 2)

    if end == "unwritten":
        homes.api.put(make_profile(name="speech"))
    else:
        homes.api.remove("Profile", "speech")
        homes.api.finish("speech")
    await until(lambda: not made(homes.api))
    await asyncio.sleep(0.05)

    assert notes.read_text() == "mine"
    assert homes.archives() == []
    assert homes.directories() == [ALICE.directory]
    assert has_volume(homes)()
    assert (CLAIM, "vision", ALICE.claim) in homes.api.objects


async def test_profiles_that_are_not_known_yet_are_not_taken_as_gone(
    homes: Homes, running: Running
) -> None:
    homes.api.put(make_profile(FOLDER))
    await settle(homes.api, Mounter(homes.api, SERVER))
    homes.api.calls.clear()
    answers = homes.api.late["Profile"] = asyncio.Event()
    await running.start()
    assert homes.api.writes() == []

    answers.set()
    homes.claim()
    await until(has_volume(homes))
    assert made(homes.api) == BOTH


async def test_one_that_pods_still_hold_is_made_again_when_they_have_ended(
    homes: Homes, running: Running
) -> None:
    homes.api.put(make_profile(FOLDER))
    await settle(homes.api, Mounter(homes.api, SERVER))
    held = homes.api.objects[FOLDER_CLAIM]
    held = {**held, "metadata": {**held["metadata"], "finalizers": ["pvc-protection"]}}
    homes.api.put(held)
    await running.start()
    homes.api.put(make_profile())
    await until(lambda: "deletionTimestamp" in homes.api.objects[FOLDER_CLAIM]["metadata"])

    homes.api.put(make_profile(FOLDER))
    await until(lambda: made(homes.api) == {FOLDER_VOLUME[2]})
    homes.api._forget(FOLDER_CLAIM)

    await until(lambda: made(homes.api) == BOTH)


async def test_what_failed_is_tried_again_and_keeps_nobody(
    homes: Homes, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.service._queue, "_shortest", 0.01)
    homes.api.refusals[f"create {CLAIM}"] = [OUTAGE] * 3
    homes.api.put(make_profile(FOLDER))
    await running.start()
    homes.claim()
    await until(has_volume(homes))
    await until(lambda: made(homes.api) == BOTH)
    assert homes.api.refusals[f"create {CLAIM}"] == []


# What the hub asks for.

ALL = Mount("dataset-old", "/data/old", server="nfs.data")
BEFORE = (HOME, FOLDER, ALL)
ASKED: dict[str, tuple[tuple[Mount, ...], bool, tuple[Mount, ...]]] = {
    "theirs and all's are replaced": ((DATA,), False, (HOME, DATA)),
    "nothing any more": ((), False, (HOME,)),
    "all's stay": ((DATA,), True, (HOME, ALL, DATA)),
    "nothing of theirs any more": ((), True, (HOME, ALL)),
    "theirs otherwise": (
        (replace(FOLDER, read_only=False),),
        True,
        (HOME, ALL, replace(FOLDER, read_only=False)),
    ),
}


def by_claim(mounts: tuple[Mount, ...]) -> Mapping[str, Mount]:
    return {it.claim: it for it in mounts}


@pytest.mark.parametrize(("wanted", "others", "after"), ASKED.values(), ids=ASKED)
async def test_who_asks_leaves_what_is_others(
    wanted: tuple[Mount, ...],
    others: bool,  # noqa: FBT001
    after: tuple[Mount, ...],
) -> None:
    api = FakeApi(make_profile(*BEFORE))
    await ask_for_mounts(api, "vision", "alice", by_claim(wanted), others=others)
    assert written(api) == by_claim(after)


async def test_the_last_mount_takes_the_annotation_with_it() -> None:
    api = FakeApi(make_profile(FOLDER))
    api.objects["Profile", "", "vision"]["metadata"]["annotations"]["team"] = "vision"
    await ask_for_mounts(api, "vision", "alice", {})
    assert api.objects["Profile", "", "vision"]["metadata"]["annotations"] == {"team": "vision"}


@pytest.mark.parametrize("before", [BEFORE, ()], ids=["some", "none"])
async def test_nothing_is_written_where_nothing_changes(before: tuple[Mount, ...]) -> None:
    api = FakeApi(make_profile(*before))
    same = by_claim(tuple(it for it in before if it.person != "bob"))
    await ask_for_mounts(api, "vision", "alice", same)
    assert api.writes() == []


@pytest.mark.parametrize("times", [1, 4, 5])
async def test_what_others_write_meanwhile_is_not_undone(times: int) -> None:
    api = FakeApi(make_profile())
    get = api.get
    theirs: list[Mount] = []

    async def get_early(kind: str, name: str, namespace: str = "") -> Object | None:
        found = await get(kind, name, namespace)
        if len(theirs) < times:
            theirs.append(replace(HOME, claim=f"shared-home-{len(theirs)}"))
            api.put(make_profile(*theirs))
        return found

    api.get = get_early  # type: ignore[method-assign]
    asking = ask_for_mounts(api, "vision", "alice", {FOLDER.claim: FOLDER})
    if times == 5:
        with pytest.raises(ObjectExists):
            await asking
        assert written(api) == by_claim(tuple(theirs))
    else:
        await asking
        assert written(api) == by_claim((*theirs, FOLDER))


async def test_two_who_ask_at_once_both_get_theirs() -> None:
    api = FakeApi(make_profile())
    await asyncio.gather(
        ask_for_mounts(api, "vision", "alice", {FOLDER.claim: FOLDER}),
        ask_for_mounts(api, "vision", "bob", {HOME.claim: HOME}),
    )
    assert written(api) == by_claim((FOLDER, HOME))


async def test_a_profile_that_is_gone_is_told() -> None:
    with pytest.raises(ObjectMissing, match="preparing profile vision: there is none any more"):
        await ask_for_mounts(FakeApi(), "vision", "alice", {FOLDER.claim: FOLDER})


async def test_what_the_cluster_does_not_write_is_an_error() -> None:
    api = FakeApi(make_profile())
    api.refusals["patch"] = [OUTAGE]
    with pytest.raises(ClusterUnreachable):
        await ask_for_mounts(api, "vision", "alice", {FOLDER.claim: FOLDER})
    assert api.called("patch") == [("Profile", "", "vision")]
