"""What is done about a place next, and that whoever is killed at it leaves no harm."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from kfspawner.errors import ClusterError
from kfspawner.homes.ledger import Claim, Content, Namespace, Volume
from kfspawner.homes.place import Place
from kfspawner.homes.plan import Standing, Step, by_place, next_step
from tests.fakes.homes import ALICE, CLAIM, FOLDER, NOW, VOLUME, Homes, killed, make_namespace

# The table.

SPACE = Namespace("uid-space", is_profiles=True)
ANEW = Namespace("uid-anew", is_profiles=True)
NO_PROFILE = Namespace("uid-space", is_profiles=False)
PENDING = Claim(
    namespace="vision",
    name="home-alice",
    uid="uid-1",
    place=ALICE,
    ids=(1000, 100),
    volume="",
    capacity="10Gi",
    storage_class="kfspawner-nfs",
    request="",
    trouble="",
    ending=False,
)
BOUND = replace(PENDING, volume="home.vision.alice")
NEXT = replace(PENDING, uid="uid-2")
LIVE = Volume(
    name="home.vision.alice",
    uid="uid-volume",
    version="7",
    place=ALICE,
    content=Content.HOME,
    claim=("vision", "home-alice", "uid-1"),
    namespace_uid="uid-space",
    ids=(1000, 100),
    capacity="10Gi",
    storage_class="kfspawner-nfs",
    path="/homes/vision/alice",
    request="",
    trouble="",
    archived_as="",
    archived_at=None,
)
RESTORED = replace(LIVE, claim=("vision", "home-alice", ""))
MARKED = replace(LIVE, archived_as="20261124t101500-000z", archived_at=NOW)
RESTORING = replace(RESTORED, restored_from=MARKED.archived_as)
ARCHIVE = replace(MARKED, content=Content.ARCHIVE, name="archive.home.vision.alice.x")


def asked(it: Claim, request: str = "archive") -> Claim:
    return replace(it, request=request)


def wanted(request: str) -> Volume:
    return replace(ARCHIVE, request=request)


def heired() -> Volume:
    return replace(wanted("hand-over"), heir=Place("vision", "zoe"))


def ending(it: Claim) -> Claim:
    return replace(it, ending=True)


Row = tuple[Claim | None, Volume | None, tuple[Volume, ...], Namespace | None, Step | None]
# Claim, volume, archives, namespace -> what is next.
TABLE: dict[str, Row] = {
    "nothing": (None, None, (), SPACE, None),
    # A home is made, and in use.
    "pending": (PENDING, None, (), SPACE, Step.PROVISION),
    "pending, made": (PENDING, LIVE, (), SPACE, None),
    "bound": (BOUND, LIVE, (), SPACE, None),
    "bound, its volume lost": (BOUND, None, (), SPACE, Step.PROVISION),
    "claim ending": (ending(BOUND), LIVE, (), SPACE, None),
    "claim ending, nothing made": (ending(PENDING), None, (), SPACE, None),
    "claim gone": (None, LIVE, (), SPACE, None),
    "claim anew": (NEXT, LIVE, (), SPACE, Step.REBIND),
    "claim for what was given back": (NEXT, RESTORED, (), SPACE, Step.REBIND),
    "given back, no claim yet": (None, RESTORED, (), SPACE, None),
    "beside an archive": (BOUND, LIVE, (ARCHIVE,), SPACE, None),
    "after an archive": (PENDING, None, (ARCHIVE,), SPACE, Step.PROVISION),
    # Its person has another uid by now.
    "another's": (replace(BOUND, ids=(2000, 100)), LIVE, (), SPACE, Step.OWN),
    "another's, claim anew": (replace(NEXT, ids=(2000, 100)), LIVE, (), SPACE, Step.OWN),
    "another's, asked to archive": (
        asked(replace(BOUND, ids=(2000, 100))),
        LIVE,
        (),
        SPACE,
        Step.MARK,
    ),
    "another's, nothing made": (asked(PENDING, "own"), None, (), SPACE, Step.PROVISION),
    "theirs again": (asked(BOUND, "own"), LIVE, (), SPACE, Step.CLEAR),
    # It is put away, because somebody asks for it.
    "asked": (asked(BOUND), LIVE, (), SPACE, Step.MARK),
    "asked of the volume": (BOUND, replace(LIVE, request="archive"), (), SPACE, Step.MARK),
    "asked of the volume alone": (None, replace(LIVE, request="archive"), (), SPACE, Step.MARK),
    "asked, claim ending": (ending(asked(BOUND)), LIVE, (), SPACE, Step.MARK),
    "asked, nothing made": (asked(PENDING), None, (), SPACE, Step.UNCLAIM),
    "asked, nothing made, ending": (ending(asked(PENDING)), None, (), SPACE, None),
    "asked, no profile": (asked(BOUND), LIVE, (), NO_PROFILE, Step.MARK),
    "asked for nonsense": (asked(BOUND, "eat"), LIVE, (), SPACE, None),
    "marked": (asked(BOUND), MARKED, (), SPACE, Step.UNCLAIM),
    "marked, request taken back": (BOUND, MARKED, (), SPACE, Step.UNCLAIM),
    "marked, claim ending": (ending(BOUND), MARKED, (), SPACE, Step.UNCLAIM),
    "marked, claim gone": (None, MARKED, (), SPACE, Step.ARCHIVE),
    "marked, claim anew": (NEXT, MARKED, (), SPACE, Step.ARCHIVE),
    "marked, given back before, claim": (
        NEXT,
        replace(MARKED, claim=RESTORED.claim),
        (),
        SPACE,
        Step.ARCHIVE,
    ),
    "marked, archive made": (None, MARKED, (ARCHIVE,), SPACE, Step.ARCHIVE),
    # It is put away, because its profile is gone.
    "namespace gone": (None, LIVE, (), None, Step.MARK),
    "namespace gone, claim seen": (BOUND, LIVE, (), None, Step.MARK),
    "namespace gone, marked, claim seen": (BOUND, MARKED, (), None, Step.UNCLAIM),
    "namespace gone, marked": (None, MARKED, (), None, Step.ARCHIVE),
    "namespace gone, given back": (None, RESTORED, (), None, Step.MARK),
    "namespace gone, only claim": (PENDING, None, (), None, None),
    "namespace anew": (None, LIVE, (), ANEW, Step.MARK),
    "namespace anew, claim anew": (NEXT, LIVE, (), ANEW, Step.MARK),
    "namespace anew, claim anew, marked": (NEXT, MARKED, (), ANEW, Step.ARCHIVE),
    "namespace anew, claim anew, archived": (NEXT, None, (ARCHIVE,), ANEW, Step.PROVISION),
    # It is no profile's any more: nothing happens to files, and none are made.
    "no profile": (BOUND, LIVE, (), NO_PROFILE, None),
    "no profile, no claim": (None, LIVE, (), NO_PROFILE, None),
    "no profile, pending": (PENDING, None, (), NO_PROFILE, None),
    "no profile, claim anew": (NEXT, LIVE, (), NO_PROFILE, None),
    # It is given back, or is gone for good.
    "restore": (None, None, (wanted("restore"),), SPACE, Step.RESTORE),
    "restore an older one": (None, None, (ARCHIVE, wanted("restore")), SPACE, Step.RESTORE),
    "restore, in use": (BOUND, LIVE, (wanted("restore"),), SPACE, Step.REFUSE),
    "restore, claimed": (PENDING, None, (wanted("restore"),), SPACE, Step.PROVISION),
    "restore, claim anew": (NEXT, LIVE, (wanted("restore"),), SPACE, Step.REBIND),
    "restore, claim ending": (ending(BOUND), None, (wanted("restore"),), SPACE, Step.REFUSE),
    "restoring": (None, RESTORING, (wanted("restore"),), SPACE, Step.RESTORE),
    "restoring, claimed": (NEXT, RESTORING, (wanted("restore"),), SPACE, Step.RESTORE),
    "restoring, asked": (asked(NEXT), RESTORING, (wanted("restore"),), SPACE, Step.RESTORE),
    "restoring, profile gone": (None, RESTORING, (wanted("restore"),), None, Step.RESTORE),
    "restoring, profile anew": (NEXT, RESTORING, (wanted("restore"),), ANEW, Step.RESTORE),
    "restored": (NEXT, RESTORING, (), SPACE, Step.REBIND),
    "restored, profile gone": (None, RESTORING, (), None, Step.MARK),
    "restore, files there": (None, LIVE, (wanted("restore"),), SPACE, Step.REFUSE),
    "restore, being archived": (None, MARKED, (wanted("restore"),), SPACE, Step.ARCHIVE),
    "restore, profile gone": (None, None, (wanted("restore"),), None, Step.REFUSE),
    "restore, no profile": (None, None, (wanted("restore"),), NO_PROFILE, Step.REFUSE),
    "restore, profile anew": (None, None, (wanted("restore"),), ANEW, Step.RESTORE),
    "purge": (None, None, (wanted("purge"),), SPACE, Step.PURGE),
    "purge, in use": (BOUND, LIVE, (wanted("purge"),), SPACE, Step.PURGE),
    "purge, profile gone": (None, None, (wanted("purge"),), None, Step.PURGE),
    "hand over": (None, None, (heired(),), SPACE, Step.HAND_OVER),
    "hand over, in use": (BOUND, LIVE, (heired(),), SPACE, Step.HAND_OVER),
    "hand over, profile gone": (None, None, (heired(),), None, Step.HAND_OVER),
    "hand over to nobody": (None, None, (wanted("hand-over"),), SPACE, Step.REFUSE),
    "archive an archive": (None, None, (wanted("archive"),), SPACE, Step.REFUSE),
    "nonsense": (None, None, (wanted("eat"),), SPACE, Step.REFUSE),
}


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_what_is_next(row: Row) -> None:
    claim, volume, archives, namespace, step = row
    assert next_step(Standing(claim, volume, archives, namespace)) == step


def test_each_place_stands_for_itself() -> None:
    bob = Place("vision", "bob")
    theirs = replace(PENDING, name="home-bob", uid="uid-3", place=bob)
    nobodys = replace(PENDING, name="data", uid="uid-4", place=None)
    older = replace(ARCHIVE, archived_as="20250101t000000z", place=ALICE)
    elsewhere = replace(ARCHIVE, place=Place("speech", "alice"))

    found = by_place([BOUND, theirs, nobodys], [older, LIVE, ARCHIVE, elsewhere], {"vision": SPACE})

    assert found == {
        "home.vision.alice": Standing(BOUND, LIVE, (ARCHIVE, older), SPACE),
        "home.vision.bob": Standing(theirs, None, (), SPACE),
        "home.speech.alice": Standing(None, None, (elsewhere,), None),
    }
    assert by_place([], [], {"vision": SPACE}) == {}


def test_nobody_waits_for_their_home_until_an_archive_is_deleted() -> None:
    purged = wanted("purge")
    assert by_place([PENDING], [purged], {"vision": SPACE}) == {
        "home.vision.alice": Standing(PENDING, None, (), SPACE),
        purged.name: Standing(None, None, (purged,), None),
    }


# Whoever is killed between any two writes, and whoever goes on.


async def provisioned(homes: Homes, place: Place = ALICE) -> None:
    homes.claim(place)
    await homes.settle()
    (homes.root / place.directory / "notes.txt").write_text("mine")


async def archived(homes: Homes, place: Place = ALICE) -> None:
    await provisioned(homes, place)
    homes.ask(CLAIM, place.claim, "archive", "vision")
    await homes.settle()


async def ask_archive(homes: Homes, place: Place) -> None:
    await provisioned(homes, place)
    homes.ask(CLAIM, place.claim, "archive", "vision")


async def end_profile(homes: Homes, place: Place) -> None:
    await provisioned(homes, place)
    homes.api.finish("vision")


async def ask_restore(homes: Homes, place: Place) -> None:
    await archived(homes, place)
    homes.ask(VOLUME, homes.archives()[0], "restore")


async def ask_purge(homes: Homes, place: Place) -> None:
    await archived(homes, place)
    homes.now += timedelta(days=31)
    homes.ask(VOLUME, homes.archives()[0], "purge")


async def ask_home(homes: Homes, place: Place) -> None:
    homes.claim(place)


async def claim_anew(homes: Homes, place: Place) -> None:
    await provisioned(homes, place)
    homes.api.remove(CLAIM, place.claim, "vision")
    homes.claim(place)


Story = Callable[[Homes, Place], Awaitable[None]]
LIVES, PUT_AWAY, GONE = "lives", "put away", "gone"
# What is asked for, what comes of it, and whether there were files before.
STORIES: dict[str, tuple[Story, str, bool]] = {
    "provision": (ask_home, LIVES, False),
    "claim anew": (claim_anew, LIVES, True),
    "archive": (ask_archive, PUT_AWAY, True),
    "profile gone": (end_profile, PUT_AWAY, True),
    "restore": (ask_restore, LIVES, True),
    "purge": (ask_purge, GONE, True),
}


@pytest.mark.parametrize("place", [ALICE, FOLDER], ids=["home", "folder"])
@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
async def test_whoever_is_killed_is_finished_by_the_next(
    tmp_path: Path, story: tuple[Story, str, bool], place: Place
) -> None:
    begin, end, has_files = story
    for at in itertools.count(1):
        root = tmp_path / str(at)
        root.mkdir()
        homes = Homes(root, retention=timedelta(days=30))
        await begin(homes, place)
        with killed(homes.api, at) as countdown:
            await homes.settle()
        await homes.settle()

        directories = homes.directories()
        assert list(homes.volumes().values()) == directories
        where = {LIVES: place.directory, PUT_AWAY: f"_archive/{place.directory}"}
        assert [it.partition(".")[0] for it in directories] == [
            where[it] for it in where if it == end
        ]
        texts = list(homes.files("notes.txt").values())
        assert texts == (["mine"] if has_files and end != GONE else [])
        if not countdown.over:
            assert at > 1
            return


async def test_somebody_may_come_while_who_gives_their_files_back_is_killed(
    tmp_path: Path,
) -> None:
    homes = Homes(tmp_path)
    await ask_restore(homes, ALICE)
    # The directory has moved, and nothing else.
    with killed(homes.api, 2):
        await homes.settle()
    homes.claim(ALICE)
    await homes.settle()

    assert homes.directories() == list(homes.volumes().values()) == [ALICE.directory]
    assert (tmp_path / ALICE.directory / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
async def test_two_at_once_do_no_harm(tmp_path: Path, story: tuple[Story, str, bool]) -> None:
    begin, end, has_files = story
    homes = Homes(tmp_path, retention=timedelta(days=30))
    await begin(homes, ALICE)
    pair = [homes.another_provisioner(), homes.another_provisioner()]
    for _ in range(10):
        homes.bind()
        for standing in homes.standings().values():
            step = next_step(standing)
            if step is None:
                continue
            took = await asyncio.gather(
                *(it.take(step, standing) for it in pair), return_exceptions=True
            )
            # One of them may find that the other was quicker.
            assert None in took

    assert len(homes.directories()) == len(homes.volumes()) == (end != GONE)
    assert sorted(homes.volumes().values()) == homes.directories()
    assert len(homes.files("notes.txt")) == (has_files and end != GONE)


# Whoever knows only what was.


@pytest.mark.parametrize("change", ["rebind", "mark"])
async def test_what_somebody_else_changed_meanwhile_is_looked_at_again(
    tmp_path: Path, change: str
) -> None:
    homes = Homes(tmp_path)
    await claim_anew(homes, ALICE)
    standing = homes.standing()
    homes.ask(VOLUME, ALICE.volume, "archive")
    volume = homes.api.objects[VOLUME, "", ALICE.volume]

    await homes.provisioner.take(Step(change), standing)

    assert homes.api.objects[VOLUME, "", ALICE.volume] == volume


@pytest.mark.parametrize("step", [Step.PROVISION, Step.REBIND])
async def test_a_new_profile_does_not_get_the_files_of_the_last_one(
    tmp_path: Path, step: Step
) -> None:
    homes = Homes(tmp_path)
    await claim_anew(homes, ALICE)
    if step == Step.PROVISION:
        homes.api.remove(VOLUME, ALICE.volume)
    before = homes.standing().namespace
    homes.api.finish("vision")
    homes.api.put(make_namespace())
    homes.claim()
    # What its watch has not told of yet.
    with pytest.raises(ClusterError, match="it was deleted, and perhaps made anew"):
        await homes.provisioner.take(step, replace(homes.standing(), namespace=before))

    await homes.settle()
    assert homes.standing().volume
    assert len(homes.archives()) == (step == Step.REBIND)


async def test_a_claim_that_is_another_by_now_is_left_alone(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    homes.claim()
    await homes.settle()
    homes.ask(CLAIM, ALICE.claim, "archive", "vision")
    await homes.take()
    standing = homes.standing()
    homes.api.remove(CLAIM, ALICE.claim, "vision")
    uid = homes.claim()["metadata"]["uid"]

    with suppress(ClusterError):
        await homes.provisioner.take(Step.UNCLAIM, standing)

    assert homes.api.objects[CLAIM, "vision", ALICE.claim]["metadata"]["uid"] == uid
    assert "trouble" not in homes.notes(CLAIM, ALICE.claim, "vision")


async def test_files_are_given_back_only_when_their_last_volume_is_gone(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    await provisioned(homes)
    going = homes.api.objects[VOLUME, "", ALICE.volume]
    await archived(homes)
    homes.ask(VOLUME, homes.archives()[0], "restore")
    # As long as the cluster has it, none can be made of that name.
    held = {"finalizers": ["x"], "deletionTimestamp": "2026-11-24T10:15:00Z"}
    homes.api.put({**going, "metadata": {**going["metadata"], **held}})
    with suppress(ClusterError):
        await homes.take()
    homes.api._forget((VOLUME, "", ALICE.volume))
    await homes.settle()

    assert list(homes.volumes().values()) == homes.directories() == [ALICE.directory]
