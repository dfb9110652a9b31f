"""Homes whose person has another uid by now: given to them with all files, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path

import pytest

from kfspawner.errors import ClusterError, HomeError, ObjectExists
from kfspawner.homes import home as homes_home
from kfspawner.homes.export import Export
from kfspawner.homes.home import ensure_home, make_home_claim
from kfspawner.homes.place import Place
from kfspawner.homes.plan import Step, next_step
from kfspawner.labels import OWNER_IDS_ANNOTATION, REQUEST_ANNOTATION
from tests.fakes.homes import ALICE, CLAIM, FOLDER, IDS, SOURCE, VOLUME, Homes, killed
from tests.unit.test_home_export import ROOT, fill

BEFORE, AFTER, OTHER = (20_001, 100), (20_002, 100), (20_003, 300)
KEY = (CLAIM, "vision", ALICE.claim)


@pytest.fixture
def homes(tmp_path: Path) -> Homes:
    return Homes(tmp_path)


def owners(top: Path) -> dict[str, tuple[int, int]]:
    """Return whose each file is, without looking where links lead."""
    found = {str(it.relative_to(top)): it.lstat() for it in (top, *top.rglob("*"))}
    return {name: (it.st_uid, it.st_gid) for name, it in found.items()}


def change_ids(homes: Homes, ids: tuple[int, int], request: str = "own") -> None:
    """Have the hub say that a home is to be another's."""
    found = homes.api.objects[KEY]
    annotations = {**found["metadata"]["annotations"], OWNER_IDS_ANNOTATION: "{}:{}".format(*ids)}
    if request:
        annotations[REQUEST_ANNOTATION] = request
    homes.api.put({**found, "metadata": {**found["metadata"], "annotations": annotations}})


def pod(phase: str = "Running", name: str = "server-alice") -> dict[str, object]:
    volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": ALICE.claim}}]
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "vision"},
        "spec": {"volumes": volumes},
        "status": {"phase": phase},
    }


@pytest.fixture
def given(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What the export was asked to give; whoever runs the tests may not be root."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(homes.export, "give", lambda *it: asked.append(it))
    return asked


# On the export.


@ROOT
def test_all_that_was_theirs_is_given_and_nothing_else(tmp_path: Path) -> None:
    export, home = Export(tmp_path, "nfs.test:/homes"), tmp_path / "vision/alice"
    fill(home / "deep" / "deeper")
    fill(home)
    (home / "of-others").write_text("of others")
    fill(tmp_path / "beside")
    (home / "link").symlink_to(tmp_path / "beside")
    for path in (home, *home.rglob("*"), tmp_path / "beside" / "notes.txt"):
        os.chown(path, *BEFORE, follow_symlinks=False)
    os.chown(home / "of-others", *OTHER)
    os.chown(home / "deep", BEFORE[0], OTHER[1])

    for _ in range(2):
        export.give("vision/alice", BEFORE, AFTER)

    found = owners(home)
    assert found.pop("of-others") == OTHER
    assert found.pop("deep") == (AFTER[0], OTHER[1])
    assert set(found.values()) == {AFTER}
    assert set(found) == {".", "notes.txt", "link", "deep/deeper", "deep/deeper/notes.txt"}
    assert owners(tmp_path / "beside")["notes.txt"] == BEFORE


@ROOT
def test_no_tree_is_too_deep(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("last", os.O_CREAT, dir_fd=here))
    os.chown("last", *BEFORE, dir_fd=here)

    export = Export(tmp_path, "nfs")
    export.give("d", BEFORE, AFTER)

    assert os.stat("last", dir_fd=here).st_uid == AFTER[0]
    os.close(here)
    # Who cleans up after the tests cannot go so deep.
    export.remove("d")


def test_a_symlink_in_its_place_is_not_followed(tmp_path: Path) -> None:
    fill(tmp_path / "beside")
    (tmp_path / "vision").mkdir()
    (tmp_path / "vision/alice").symlink_to(tmp_path / "beside")

    with pytest.raises(HomeError, match="something else than a directory in its place"):
        Export(tmp_path, "nfs").give("vision/alice", IDS, AFTER)


# What the provisioner does.


async def test_a_home_is_given_when_its_claim_says_another(
    homes: Homes, given: list[tuple[object, ...]]
) -> None:
    homes.claim()
    await homes.settle()
    change_ids(homes, AFTER)

    assert await homes.take() is Step.OWN
    assert given == [("vision/alice", IDS, AFTER)]
    assert homes.notes(VOLUME, ALICE.volume)["owner-ids"] == "20002:100"
    # It is asked for until all is done.
    assert homes.notes(CLAIM, ALICE.claim, "vision")["request"] == "own"
    assert await homes.take() is Step.CLEAR
    assert "request" not in homes.notes(CLAIM, ALICE.claim, "vision")
    assert next_step(homes.standing()) is None


async def test_a_home_that_was_given_back_is_bound_only_when_it_is_its_persons(
    homes: Homes, given: list[tuple[object, ...]]
) -> None:
    homes.claim()
    await homes.settle()
    homes.ask(CLAIM, ALICE.claim, "archive", "vision")
    await homes.settle()
    homes.ask(VOLUME, homes.archives()[0], "restore")
    await homes.settle()
    homes.claim(owner_ids="20002:100")

    assert [await homes.take(), await homes.take()] == [Step.OWN, Step.REBIND]
    assert given == [("vision/alice", IDS, AFTER)]


async def test_a_folder_is_not_given(homes: Homes) -> None:
    homes.claim(FOLDER)
    await homes.settle()
    found = homes.api.objects[CLAIM, "vision", FOLDER.claim]
    found["metadata"]["annotations"][OWNER_IDS_ANNOTATION] = "0:300"
    homes.api.put(found)

    assert next_step(homes.standing(FOLDER)) is None


async def test_it_waits_for_pods_that_have_it(
    homes: Homes, given: list[tuple[object, ...]]
) -> None:
    homes.claim()
    await homes.settle()
    change_ids(homes, AFTER)
    homes.api.put(pod())
    homes.api.put(pod("Succeeded", "digits-x"))

    with pytest.raises(HomeError, match="pods use them: server-alice; stop them"):
        await homes.take()
    assert given == []
    assert "pods use them" in homes.notes(CLAIM, ALICE.claim, "vision")["trouble"]

    homes.api.remove("Pod", "server-alice", "vision")
    await homes.settle()
    notes = homes.notes(CLAIM, ALICE.claim, "vision")
    assert "trouble" not in notes
    assert "request" not in notes
    assert len(given) == 1


async def test_a_directory_that_is_not_there_is_told(homes: Homes) -> None:
    homes.claim()
    await homes.settle()
    change_ids(homes, AFTER)
    (homes.root / ALICE.directory).rename(homes.root / "elsewhere")

    with pytest.raises(HomeError, match=r"and directory vision/alice on nfs.test:/homes is not"):
        await homes.take()


@ROOT
async def test_whoever_is_killed_at_it_leaves_it_to_the_next(tmp_path: Path) -> None:
    for at in itertools.count(1):
        homes = Homes(tmp_path / str(at))
        homes.root.mkdir()
        homes.claim()
        await homes.settle()
        home = homes.root / ALICE.directory
        fill(home / "deep")
        change_ids(homes, AFTER)
        with killed(homes.api, at) as countdown:
            await homes.settle()
        homes.provisioner = homes.another_provisioner()
        await homes.settle()

        assert set(owners(home).values()) == {AFTER}
        assert homes.notes(VOLUME, ALICE.volume)["owner-ids"] == "20002:100"
        assert "request" not in homes.notes(CLAIM, ALICE.claim, "vision")
        if not countdown.over:
            return


# What the hub asks for.


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes_home, "_BOUND_SECONDS", 0.2)
    monkeypatch.setattr(homes_home, "_BOUND_RETRY", 0.005)


async def test_a_start_asks_for_it_and_waits(
    homes: Homes, given: list[tuple[object, ...]], soon: None
) -> None:
    homes.claim()
    await homes.settle()
    waiting = asyncio.create_task(
        ensure_home(homes.api, make_home_claim(SOURCE, ALICE, AFTER), SOURCE)
    )
    await asyncio.sleep(0.03)
    assert not waiting.done()
    await homes.settle()
    await waiting

    assert given == [("vision/alice", IDS, AFTER)]
    homes.api.calls.clear()
    await ensure_home(homes.api, make_home_claim(SOURCE, ALICE, AFTER), SOURCE)
    assert homes.api.writes() == []


async def test_a_start_says_what_keeps_it(homes: Homes, soon: None) -> None:
    homes.claim()
    await homes.settle()
    homes.api.put(pod())
    wanted = make_home_claim(SOURCE, ALICE, AFTER)
    with pytest.raises(ClusterError, match="still being given to another uid"):
        await ensure_home(homes.api, wanted, SOURCE)
    with pytest.raises(HomeError):
        await homes.take()

    with pytest.raises(ClusterError, match="pods use them: server-alice"):
        await ensure_home(homes.api, wanted, SOURCE)


@pytest.mark.parametrize("request_", ["archive", "own"])
async def test_what_is_asked_for_already_is_not_undone(
    homes: Homes, soon: None, request_: str
) -> None:
    homes.claim()
    await homes.settle()
    change_ids(homes, OTHER, request_)

    if request_ == "own":
        with pytest.raises(ClusterError):
            await ensure_home(homes.api, make_home_claim(SOURCE, ALICE, AFTER), SOURCE)
    else:
        await ensure_home(homes.api, make_home_claim(SOURCE, ALICE, AFTER), SOURCE)

    assert homes.notes(CLAIM, ALICE.claim, "vision")["request"] == request_


async def test_a_claim_that_somebody_writes_meanwhile_is_read_anew(
    homes: Homes, given: list[tuple[object, ...]], soon: None
) -> None:
    homes.claim()
    await homes.settle()
    conflict = ObjectExists("changing", "the object has been modified", "look again")
    homes.api.refusals[f"patch {CLAIM}"] = [conflict] * 2
    waiting = asyncio.create_task(
        ensure_home(homes.api, make_home_claim(SOURCE, ALICE, AFTER), SOURCE)
    )
    await asyncio.sleep(0.03)
    await homes.settle()
    await waiting

    assert len(given) == 1


async def test_a_claim_that_is_not_our_provisioners_is_left(homes: Homes, soon: None) -> None:
    made = make_home_claim(SOURCE, Place("vision", "alice"), IDS)
    made["spec"]["storageClassName"] = "adopted"
    homes.api.put({**made, "status": {"phase": "Bound"}})

    await ensure_home(homes.api, make_home_claim(SOURCE, ALICE, AFTER), SOURCE)

    assert homes.api.writes() == []
