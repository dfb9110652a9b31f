"""The provisioner's steps on the cluster and the export, and what it says where it cannot."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kfspawner.errors import ClusterUnreachable, ExportUnreachable, HomeError
from kfspawner.homes.export import Ownership
from kfspawner.homes.place import Place
from kfspawner.homes.plan import Step, next_step
from kfspawner.homes.provisioner import Provisioner
from kfspawner.profiles.api import Object
from tests.fakes.homes import (
    ALICE,
    CLAIM,
    FOLDER,
    IDS,
    VOLUME,
    Homes,
    make_namespace,
)

SILENCE = ExportUnreachable("working on vision/alice", "no answer", "see whether it runs")
OUTAGE = ClusterUnreachable("deleting", "the Kubernetes API did not answer", "try again")
OTHERS = f"{IDS[0] + 1}:{IDS[1] + 1}"


@pytest.fixture
def homes(tmp_path: Path) -> Homes:
    return Homes(tmp_path)


def on_claim(homes: Homes, place: Place = ALICE) -> dict[str, str]:
    return homes.notes(CLAIM, place.claim, "vision")


def on_archive(homes: Homes) -> dict[str, str]:
    return homes.notes(VOLUME, homes.archives()[0])


async def archive(homes: Homes, request: str | None = None, place: Place = ALICE) -> None:
    """Have a place archived, and ask for something to be done with that."""
    homes.claim(place)
    await homes.settle()
    (homes.root / place.directory / "notes.txt").write_text("mine")
    homes.ask(CLAIM, place.claim, "archive", "vision")
    await homes.settle()
    homes.ask(VOLUME, homes.archives()[0], request)


async def test_a_claim_gets_its_directory_and_its_volume(homes: Homes) -> None:
    homes.claim()

    assert await homes.take() is Step.PROVISION

    assert homes.directories() == list(homes.volumes().values()) == ["vision/alice"]
    homes.bind()
    assert next_step(homes.standing()) is None


@pytest.mark.parametrize(("place", "mode"), [(ALICE, 0o700), (FOLDER, 0o2770)])
async def test_who_may_enter(
    homes: Homes, monkeypatch: pytest.MonkeyPatch, place: Place, mode: int
) -> None:
    made: list[tuple[str, Ownership]] = []
    monkeypatch.setattr(homes.export, "make", lambda *given: made.append(given))
    homes.claim(place, owner_ids="1001:50")
    await homes.take(place)

    assert made[0] == (place.directory, Ownership(1001, 50, mode))
    # What more there is in it, is theirs too.
    assert {(it.uid, it.gid) for _, it in made} == {(1001, 50)}


async def test_trouble_is_said_once_and_forgotten_when_it_is_over(homes: Homes) -> None:
    (homes.root / "vision/alice").mkdir(parents=True)
    (homes.root / "vision/alice/theirs").touch()
    homes.claim(owner_ids=OTHERS)
    for _ in range(3):
        with pytest.raises(HomeError) as refused:
            await homes.take()
    assert on_claim(homes)["trouble"] == str(refused.value)
    assert "making vision/alice: nfs.test:/homes has a directory" in on_claim(homes)["trouble"]
    assert len(homes.api.called("patch")) == 1
    assert homes.volumes() == {}

    homes.claim(owner_ids=f"{IDS[0]}:{IDS[1]}", trouble=on_claim(homes)["trouble"])
    await homes.settle()
    assert "trouble" not in on_claim(homes)
    assert list(homes.volumes()) == ["home.vision.alice"]


async def test_an_export_that_hangs_is_given_up(
    homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(homes.export, "make", lambda *_: answers.wait(10))
    defaults = Provisioner._on_export.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "seconds", 0.05)
    homes.claim()
    try:
        with pytest.raises(ExportUnreachable, match="homes did not answer in 0 s"):
            await homes.take()
    finally:
        answers.set()
    assert on_claim(homes)["trouble"].startswith("working on vision/alice: ")


async def test_a_volume_that_is_still_going_is_waited_for(homes: Homes) -> None:
    await archive(homes)
    homes.claim()
    await homes.settle()
    volume = homes.api.objects[VOLUME, "", ALICE.volume]
    held = {**volume["metadata"], "finalizers": ["kubernetes.io/pv-protection"]}
    homes.api.put({**volume, "metadata": {**held, "deletionTimestamp": "2026-11-24T10:15:00Z"}})

    assert await homes.take() is Step.PROVISION
    assert "deletionTimestamp" in homes.api.objects[VOLUME, "", ALICE.volume]["metadata"]
    homes.api._forget((VOLUME, "", ALICE.volume))
    assert await homes.take() is Step.PROVISION
    assert "deletionTimestamp" not in homes.api.objects[VOLUME, "", ALICE.volume]["metadata"]


# Another claim for the same files.


async def claimed_anew(homes: Homes) -> None:
    homes.claim()
    await homes.settle()
    homes.api.remove(CLAIM, ALICE.claim, "vision")
    homes.claim()


async def test_a_claim_that_was_made_anew_has_the_same_files(homes: Homes) -> None:
    await claimed_anew(homes)
    before = homes.api.objects[VOLUME, "", ALICE.volume]["metadata"]["uid"]

    assert await homes.take() is Step.REBIND
    homes.bind()

    claim = homes.api.objects[CLAIM, "vision", ALICE.claim]
    assert claim["spec"]["volumeName"] == ALICE.volume
    assert homes.api.objects[VOLUME, "", ALICE.volume]["metadata"]["uid"] == before


async def test_a_volume_without_its_directory_is_given_to_nobody(homes: Homes) -> None:
    await claimed_anew(homes)
    (homes.root / "vision/alice").rename(homes.root / "elsewhere")
    volume = homes.api.objects[VOLUME, "", ALICE.volume]

    with pytest.raises(HomeError, match=r"directory vision/alice on .* is not"):
        await homes.take()
    assert homes.api.objects[VOLUME, "", ALICE.volume] == volume

    (homes.root / "elsewhere").rename(homes.root / "vision/alice")
    await homes.settle()
    assert "trouble" not in on_claim(homes)


@pytest.mark.parametrize("there", [True, False])
async def test_a_volume_of_another_claim_is_not_taken_from_it(
    homes: Homes,
    there: bool,  # noqa: FBT001
) -> None:
    await claimed_anew(homes)
    other: Object = {**homes.api.objects[CLAIM, "vision", ALICE.claim], "status": {}}
    other["metadata"] = {"name": "other", "namespace": "vision", "uid": "uid-other"}
    volume = homes.api.objects[VOLUME, "", ALICE.volume]
    reference = {"namespace": "vision", "name": "other", "uid": "uid-other"}
    homes.api.put({**volume, "spec": {**volume["spec"], "claimRef": reference}})
    if there:
        homes.api.put(other)
        with pytest.raises(HomeError, match="bound to claim other in vision; no file was touched"):
            await homes.take()
    else:
        await homes.take()

    found = homes.api.objects[VOLUME, "", ALICE.volume]["spec"]["claimRef"]
    assert found["name"] == ("other" if there else ALICE.claim)


# Who still uses it.


def make_pod(claim: str, phase: str = "Running", **annotated: str) -> Object:
    return {
        "kind": "Pod",
        "metadata": {"name": "pod", "namespace": "vision", "annotations": annotated},
        "spec": {
            "volumes": [{"emptyDir": {}}, {"persistentVolumeClaim": {"claimName": claim}}],
        },
        "status": {"phase": phase},
    }


BY_RUN, BY_SERVER = "kfspawner.io/user-name", "hub.jupyter.org/username"
NO_VOLUMES: Object = {**make_pod("x"), "spec": {}}


@pytest.mark.parametrize(
    ("place", "pod", "held"),
    [
        (ALICE, make_pod("home-alice", **{BY_RUN: "bob"}), True),
        (ALICE, make_pod("home-alice", **{BY_SERVER: "bob"}), True),
        (ALICE, make_pod("home-alice", "Pending", **{BY_SERVER: "bob"}), True),
        (ALICE, make_pod("home-alice"), True),
        (ALICE, make_pod("home-alice", **{BY_RUN: "alice"}), False),
        (ALICE, make_pod("home-alice", **{BY_SERVER: "alice"}), False),
        (ALICE, make_pod("home-alice", "Succeeded", **{BY_RUN: "bob"}), False),
        (ALICE, make_pod("home-alice", "Failed", **{BY_RUN: "bob"}), False),
        (ALICE, make_pod("home-bob", **{BY_SERVER: "bob"}), False),
        (ALICE, NO_VOLUMES, False),
        (FOLDER, make_pod("profile-folder", **{BY_SERVER: "bob"}), True),
        (FOLDER, make_pod("profile-folder"), True),
    ],
)
async def test_pods_of_others_hold_it_back(
    homes: Homes,
    place: Place,
    pod: Object,
    held: bool,  # noqa: FBT001
) -> None:
    homes.claim(place)
    await homes.settle()
    homes.api.put(pod)
    homes.ask(CLAIM, place.claim, "archive", "vision")
    assert await homes.take(place) is Step.MARK
    if held:
        with pytest.raises(HomeError, match="pods of others use it: pod; stop them first"):
            await homes.take(place)
        assert homes.notes(VOLUME, place.volume)["trouble"].startswith(f"archiving {place}: ")
        homes.api.remove("Pod", "pod", "vision")

    await homes.settle()

    assert homes.directories() == [f"_archive/{place.directory}.20261124t101501-000z"]


async def test_it_is_not_moved_while_its_persons_pod_runs(homes: Homes) -> None:
    await held_by(homes, make_pod(ALICE.claim, **{BY_SERVER: "alice"}))
    assert homes.directories() == ["vision/alice"]
    assert ("Pod", "vision", "pod") in homes.api.objects
    said = homes.notes(VOLUME, ALICE.volume)["trouble"]
    assert "it waits for pods that use it: pod; stop them, or wait until they end" in said

    homes.api._forget((CLAIM, "vision", ALICE.claim))
    await homes.settle()
    assert homes.archives() == ["archive.home.vision.alice.20261124t101501-000z"]


async def held_by(homes: Homes, pod: Object) -> None:
    """Have a home archived, whose claim the cluster keeps for a pod."""
    held = homes.claim()
    held["metadata"]["finalizers"] = ["kubernetes.io/pvc-protection"]
    homes.api.put(held)
    homes.api.put(pod)
    await homes.settle()
    homes.ask(CLAIM, ALICE.claim, "archive", "vision")
    await homes.settle()


@pytest.mark.parametrize("phase", ["Succeeded", "Running"])
async def test_what_ended_does_not_hold_it_back(homes: Homes, phase: str) -> None:
    pod = make_pod(ALICE.claim, phase, **{BY_RUN: "alice"})
    await held_by(homes, pod)
    if phase == "Running":
        homes.api.put({**pod, "status": {"phase": "Succeeded"}})
    await homes.settle()
    assert ("Pod", "vision", "pod") not in homes.api.objects


# What is asked about an archive.


@pytest.mark.parametrize(
    ("request_", "change", "said"),
    [
        ("restore", "claim", "there are files in its place now; neither was touched; archive"),
        ("restore", "end", "there is no profile vision; make it first, and ask again"),
        ("restore", "label", "there is no profile vision; make it first, and ask again"),
        ("eat", "", "'eat' is no request; see `kfspawner homes`"),
        ("x" * 99, "", f"'{'x' * 39} is no request; see `kfspawner homes`"),
        ("purge", "", "nothing is ever deleted here; set KFSPAWNER_RETENTION"),
    ],
)
async def test_what_cannot_be_is_said_and_not_tried_again(
    homes: Homes, request_: str, change: str, said: str
) -> None:
    await archive(homes)
    if change == "claim":
        homes.claim()
        await homes.settle()
    elif change == "end":
        homes.api.finish("vision")
    elif change == "label":
        homes.api.put(make_namespace(team="vision"))
    homes.ask(VOLUME, homes.archives()[0], request_)
    before = homes.directories()

    await homes.take()

    assert said in on_archive(homes)["trouble"]
    assert "request" not in on_archive(homes)
    assert homes.directories() == before
    assert next_step(homes.standing()) is None


@pytest.mark.parametrize(("days", "deleted"), [(0, False), (29, False), (30, True), (400, True)])
async def test_what_is_old_enough_can_be_deleted(
    tmp_path: Path,
    days: int,
    deleted: bool,  # noqa: FBT001
) -> None:
    homes = Homes(tmp_path, retention=timedelta(days=30))
    await archive(homes, "purge")
    homes.now += timedelta(days=days)

    assert await homes.take() is Step.PURGE

    assert bool(homes.archives()) == bool(homes.directories()) == (not deleted)
    if not deleted:
        said = (
            "deleting the home of 'alice' in profile vision, archived 20261124t101501-000z: it is "
        )
        assert on_archive(homes)["trouble"].startswith(f"{said}kept until 2026-12-24 10:15 UTC; ")
        assert "request" not in on_archive(homes)


async def test_what_has_no_date_is_not_deleted(tmp_path: Path) -> None:
    homes = Homes(tmp_path, retention=timedelta(0))
    await archive(homes, "purge")
    found = homes.api.objects[VOLUME, "", homes.archives()[0]]
    del found["metadata"]["annotations"]["kfspawner.io/archived-at"]

    await homes.take()

    assert "nothing is ever deleted here" in on_archive(homes)["trouble"]
    assert len(homes.directories()) == 1


@pytest.mark.parametrize(("request_", "work"), [("restore", "move"), ("purge", "remove")])
@pytest.mark.parametrize("error", [SILENCE, OUTAGE], ids=["export", "cluster"])
async def test_what_may_pass_is_tried_again(
    tmp_path: Path, request_: str, work: str, error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = Homes(tmp_path, retention=timedelta(0))
    await archive(homes, request_)

    def refuse(*_: str) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(homes.export, work, refuse)
        for _ in range(2):
            with pytest.raises(type(error)):
                await homes.take()
    assert on_archive(homes)["trouble"] == str(error)
    assert on_archive(homes)["request"] == request_

    await homes.settle()
    assert homes.directories() == (["vision/alice"] if request_ == "restore" else [])


async def test_what_is_in_a_volume_is_written_on_it(homes: Homes) -> None:
    await archive(homes)
    homes.claim()
    await homes.settle()
    (homes.root / "vision/alice/data").write_bytes(b"x" * 100_000)
    standing = homes.standing()
    assert standing.volume
    before = homes.now
    for volume in (standing.volume, *standing.archives):
        await homes.provisioner.measure(volume)

    live, old = homes.standing().volume, homes.standing().archives[0]
    assert live
    assert (live.used or 0) >= 100_000 > (old.used or 100_000)
    assert (live.measured, old.measured) == (
        before + timedelta(seconds=1),
        before + timedelta(seconds=2),
    )
    assert live.changed
    assert abs(live.changed - datetime.now(UTC)) < timedelta(minutes=1)

    # It may be gone by then.
    homes.api.remove(VOLUME, live.name)
    await homes.provisioner.measure(live)
    assert (VOLUME, "", live.name) not in homes.api.objects
