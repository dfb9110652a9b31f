"""`kfspawner homes archive`, `restore` and `purge`, with the provisioner and its export."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from kfspawner.cli import home_requests
from kfspawner.errors import ClusterDenied, Error
from kfspawner.homes.home import make_home_claim
from kfspawner.homes.place import Place
from kfspawner.homes.source import read_home_source
from kfspawner.labels import REQUEST_ANNOTATION, TROUBLE_ANNOTATION, USED_ANNOTATION
from kfspawner.profiles.api import Object
from tests.fakes.cli import kf
from tests.fakes.homes import ALICE, CLAIM, FOLDER, IDS, VOLUME, Homes, make_namespace

BOB = Place("vision", "bob")
DAYS = timedelta(days=1)


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Homes:
    """A cluster whose provisioner does at once what it is asked for."""
    made = Homes(tmp_path, retention=30 * DAYS)
    made.api.put(make_namespace("nlp"))
    patch = made.api.patch

    async def patch_and_act(kind: str, name: str, changes: Object, *more: str) -> Object:
        patched = await patch(kind, name, changes, *more)
        if changes.get("metadata", {}).get("annotations", {}).get(REQUEST_ANNOTATION):
            with suppress(Error):
                await made.settle()
        return patched

    monkeypatch.setattr(made.api, "patch", patch_and_act)
    monkeypatch.setattr(home_requests, "_RETRY", 0.0)
    monkeypatch.setattr(home_requests, "_PATIENCE", 2.0)
    return made


@pytest.fixture
def idle(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> Homes:
    """A cluster whose provisioner does not answer."""
    monkeypatch.undo()
    monkeypatch.setattr(home_requests, "_RETRY", 0.0)
    monkeypatch.setattr(home_requests, "_PATIENCE", 0.02)
    return homes


def use(homes: Homes, place: Place = ALICE) -> Path:
    """Have a person write a file in their home, and return the directory below the export."""
    homes.claim(place)
    asyncio.run(homes.settle())
    directory = homes.root / place.directory
    (directory / "a.txt").write_text("a")
    return directory


def put_away(homes: Homes, place: Place = ALICE, days: float = 0) -> str:
    """Have files archived so many days ago, and return the name of their volume."""
    use(homes, place)
    before = set(homes.archives())
    homes.now = datetime.now(UTC) - days * DAYS
    homes.ask(VOLUME, place.volume, "archive")
    asyncio.run(homes.settle())
    homes.now = datetime.now(UTC)
    (made,) = set(homes.archives()) - before
    return made


def annotations_of(homes: Homes, volume: str) -> dict[str, Any]:
    found: dict[str, Any] = homes.api.objects[VOLUME, "", volume]["metadata"]["annotations"]
    return found


def mount(homes: Homes, name: str) -> None:
    """Have a pod of alice's mount her home."""
    mounted = {"name": "home", "persistentVolumeClaim": {"claimName": ALICE.claim}}
    annotations = {"hub.jupyter.org/username": "alice"}
    metadata = {"name": name, "namespace": "vision", "annotations": annotations}
    homes.api.put({"kind": "Pod", "metadata": metadata, "spec": {"volumes": [mounted]}})


def ask(homes: Homes, *words: str, text: str = "") -> Result:
    """Return what the command says, whose own writes are all that `calls` tells."""
    homes.api.calls.clear()
    return kf(homes.api, "homes", *words, text=text)


def assert_refused(result: Result, *said: str) -> None:
    """Assert that a command failed in one paragraph that tells the reader so."""
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for it in said:
        assert it in result.stderr


# Archiving.


def test_archiving_puts_files_away(homes: Homes) -> None:
    use(homes)

    result = ask(homes, "archive", "vision", "alice")

    (name,) = homes.archives()
    stamp = name.rpartition(".")[2]
    assert result.stdout == f"Archived the home of 'alice' in profile vision as {stamp}.\n"
    assert homes.directories() == [f"_archive/vision/alice.{stamp}"]
    assert (CLAIM, "vision", ALICE.claim) not in homes.api.objects


def test_archiving_again_tells_the_latest_stamp(homes: Homes) -> None:
    put_away(homes, days=3)
    use(homes)

    result = ask(homes, "archive", "vision", "alice")

    latest = homes.archives()[-1].rpartition(".")[2]
    assert result.stdout.endswith(f" as {latest}.\n")
    assert len(homes.archives()) == 2


def test_archiving_what_a_pod_mounts_is_refused(homes: Homes) -> None:
    use(homes)
    mount(homes, "server-alice")
    mount(homes, "digits-0")

    result = ask(homes, "archive", "vision", "alice")

    said = "pods have it mounted: digits-0, server-alice; stop the server and the runs"
    assert_refused(result, said)
    assert homes.api.writes() == []


@pytest.mark.parametrize("words", [("vision", "bob"), ("vision",), ("nlp", "alice")])
def test_archiving_nothing(homes: Homes, words: tuple[str, ...]) -> None:
    use(homes)
    put_away(homes, BOB)

    assert_refused(ask(homes, "archive", *words), "there are no files there; see `kfspawner homes")
    assert homes.api.writes() == []


@pytest.mark.parametrize(("name", "said"), [("fast", "fast"), ("", "default")])
def test_archiving_another_storage_class(homes: Homes, name: str, said: str) -> None:
    homes.api.put(make_home_claim(read_home_source({"storage_class": name}), ALICE, IDS))

    result = ask(homes, "archive", "vision", "alice")

    assert_refused(result, f"its volume is of StorageClass {said}, and not on NFS")
    assert homes.api.writes() == []


@pytest.mark.parametrize(
    ("trouble", "said"),
    [("the export is full", "see why: the export is full"), ("", "see `kfspawner homes show`")],
)
def test_archiving_what_waits_for_its_volume(homes: Homes, trouble: str, said: str) -> None:
    homes.claim(ALICE, trouble=trouble)

    result = ask(homes, "archive", "vision", "alice")

    assert_refused(result, f"it has no volume, so nothing of it is in use; {said}\n")
    assert homes.api.writes() == []


def test_archiving_tells_what_the_provisioner_says(
    homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_requests, "_PATIENCE", 0.02)
    use(homes)
    denied = ClusterDenied("deleting the claim", "it is forbidden", "ask")
    homes.api.refusals["delete PersistentVolumeClaim"] = [denied]

    result = ask(homes, "archive", "vision", "alice")

    assert_refused(result, "archiving the home of 'alice'", "it is forbidden", "still asked for")
    assert annotations_of(homes, ALICE.volume)[REQUEST_ANNOTATION] == "archive"


def test_archiving_without_an_answer_is_still_asked_for(idle: Homes) -> None:
    use(idle)
    annotations_of(idle, ALICE.volume)[TROUBLE_ANNOTATION] = "of last week"

    result = ask(idle, "archive", "vision", "alice")

    assert_refused(result, "the provisioner did not do it in 0 s", "logs deploy/provisioner")
    assert annotations_of(idle, ALICE.volume)[REQUEST_ANNOTATION] == "archive"
    assert idle.directories() == ["vision/alice"]


@pytest.mark.parametrize("earlier", [0, 1])
def test_archiving_what_somebody_deletes_meanwhile(
    idle: Homes, monkeypatch: pytest.MonkeyPatch, earlier: int
) -> None:
    for _ in range(earlier):
        put_away(idle)
    use(idle)
    patch = idle.api.patch

    async def patch_and_lose(*given: Any) -> Object:
        patched = await patch(*given)
        idle.api.remove(VOLUME, ALICE.volume)
        return patched

    monkeypatch.setattr(idle.api, "patch", patch_and_lose)

    result = ask(idle, "archive", "vision", "alice")

    assert_refused(result, "somebody deleted its volume meanwhile; look on the export for it")
    assert result.stdout == ""


# Giving back.


def test_giving_back_the_only_archive(homes: Homes) -> None:
    stamp = put_away(homes).rpartition(".")[2]

    result = ask(homes, "restore", "vision", "alice")

    said = f"Gave back the home of 'alice' in profile vision, archived as {stamp}.\n"
    assert result.stdout == said
    assert (homes.root / ALICE.directory / "a.txt").read_text() == "a"
    assert homes.archives() == []


def test_giving_back_one_of_several_needs_to_be_told_which(homes: Homes) -> None:
    stamps = [put_away(homes, days=it).rpartition(".")[2] for it in (9, 5)]

    result = ask(homes, "restore", "vision", "alice")

    said = f"there are 2 archives of it; choose one with --from: {stamps[0]}, {stamps[1]}"
    assert_refused(result, said)
    assert homes.api.writes() == []


@pytest.mark.parametrize("which", [0, 1])
def test_giving_back_the_one_that_was_chosen(homes: Homes, which: int) -> None:
    names = [put_away(homes, days=it) for it in (9, 5)]
    stamp = names[which].rpartition(".")[2]

    result = ask(homes, "restore", "vision", "alice", "--from", stamp)

    assert result.stdout.endswith(f"archived as {stamp}.\n")
    assert homes.archives() == [names[1 - which]]


def test_giving_back_an_unknown_archive_names_those_there_are(homes: Homes) -> None:
    stamp = put_away(homes).rpartition(".")[2]
    put_away(homes, BOB, days=3)

    result = ask(homes, "restore", "vision", "alice", "--from", "20200101t000000-000z")

    assert_refused(result, f"no archive 20200101t000000-000z of it; its archives are {stamp}\n")
    assert homes.api.writes() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing of it is archived; see `kfspawner homes list`"),
        (("--from", "20200101t000000-000z"), "there is no archive 20200101t000000-000z of it; see"),
    ],
)
def test_giving_back_nothing(homes: Homes, words: tuple[str, ...], said: str) -> None:
    use(homes)
    put_away(homes, BOB)

    assert_refused(ask(homes, "restore", "vision", "alice", *words), said)
    assert homes.api.writes() == []


def test_giving_back_where_files_are_is_refused(homes: Homes) -> None:
    name = put_away(homes)
    directory = use(homes)
    (directory / "b.txt").write_text("b")

    result = ask(homes, "restore", "vision", "alice")

    said = "there are files in its place now; neither was touched; archive those first with"
    assert_refused(result, "the provisioner refuses: ", said)
    assert homes.archives() == [name]
    assert (directory / "b.txt").exists()
    assert REQUEST_ANNOTATION not in annotations_of(homes, name)
    assert "files in its place" in annotations_of(homes, name)[TROUBLE_ANNOTATION]


# Deleting for good.


def test_deleting_needs_an_age(homes: Homes) -> None:
    put_away(homes, days=90)

    result = ask(homes, "purge")

    assert result.exit_code == 2
    assert "Missing option '--older-than'" in result.stderr
    assert homes.api.calls == []


@pytest.mark.parametrize("age", ["30", "d", "-1d", "1.5d", "3w", ""])
def test_deleting_what_is_no_age(homes: Homes, age: str) -> None:
    assert "is no span of time" in ask(homes, "purge", f"--older-than={age}").stderr


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "maybe\nno\n"])
def test_deleting_asks_first(homes: Homes, answer: str) -> None:
    name = put_away(homes, days=90)

    result = ask(homes, "purge", "--older-than", "60d", text=answer)

    assert result.exit_code == 1
    assert "Delete this archive, 0 B of files, for good? [y/N]: " in result.stdout
    assert homes.api.writes() == []
    assert homes.archives() == [name]


def test_deleting_shows_what_and_how_much(homes: Homes) -> None:
    for place in (ALICE, BOB):
        annotations_of(homes, put_away(homes, place, days=90))[USED_ANNOTATION] = "1024"

    result = ask(homes, "purge", "--older-than", "60d", text="y\n")

    header, alice, bob, question, done = result.stdout.splitlines()
    assert header.startswith("PROFILE  PERSON  STATE")
    assert alice.split()[:3] == ["vision", "alice", "archived"]
    assert bob.split()[:3] == ["vision", "bob", "archived"]
    assert question == "Delete these 2 archives, 2.0 KiB of files, for good? [y/N]: y"
    assert done == "Deleted 2."
    assert (homes.archives(), homes.directories()) == ([], [])


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ((), []),
        (("vision",), ["nlp/alice"]),
        (("vision", "alice"), ["nlp/alice", "vision/_shared", "vision/bob"]),
        (("nlp", "alice"), ["vision/_shared", "vision/alice", "vision/bob"]),
    ],
)
def test_deleting_only_what_was_named(
    homes: Homes, words: tuple[str, ...], left: list[str]
) -> None:
    for place in (ALICE, BOB, FOLDER, Place("nlp", "alice")):
        put_away(homes, place, days=90)
    in_use = use(homes)

    result = ask(homes, "purge", *words, "--older-than", "60d", "--yes")

    assert "for good?" not in result.stdout
    assert result.stdout.endswith(f"Deleted {4 - len(left)}.\n")
    kept = [it.removeprefix("_archive/") for it in homes.directories()]
    assert [it.rpartition(".")[0] for it in kept if "." in it] == left
    assert (in_use / "a.txt").exists()


@pytest.mark.parametrize("words", [("--yes",), ("vision", "nobody", "--yes"), ()])
def test_deleting_leaves_what_is_younger(homes: Homes, words: tuple[str, ...]) -> None:
    name = put_away(homes, days=59)

    result = ask(homes, "purge", "--older-than", "60d", *words)

    assert (result.exit_code, result.stdout) == (0, "No archive is that old.\n")
    assert homes.api.writes() == []
    assert homes.archives() == [name]


def test_deleting_what_the_provisioner_keeps_is_refused(homes: Homes) -> None:
    name = put_away(homes, days=20)

    result = ask(homes, "purge", "--older-than", "10d", "--yes")

    said = "the provisioner refuses: deleting the home of 'alice'"
    assert_refused(result, said, "it is kept until ", " UTC")
    assert "Deleted" not in result.stdout
    assert homes.archives() == [name]
    assert REQUEST_ANNOTATION not in annotations_of(homes, name)


def test_deleting_ends_at_the_first_refusal(homes: Homes) -> None:
    kept = [put_away(homes, days=20), put_away(homes, BOB, days=20)]
    gone = put_away(homes, days=90)

    result = ask(homes, "purge", "--older-than", "10d", "--yes")

    assert_refused(result, "it is kept until")
    assert gone not in homes.archives()
    assert homes.archives() == sorted(kept)
    assert [key[2] for key in homes.api.called("patch") if key[2] == kept[1]] == []
