"""An archive that becomes somebody else's, as when a person has another name by now."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from kfspawner.homes.ledger import read_volume
from kfspawner.homes.place import Place
from kfspawner.homes.plan import Step
from kfspawner.labels import HEIR_ANNOTATION
from kfspawner.names import namespace_name
from tests.fakes.homes import ALICE, CLAIM, FOLDER, IDS, VOLUME, Homes, killed, make_namespace
from tests.unit.test_cli_home_requests import ask, assert_refused, homes, idle, put_away, use

__all__ = ["homes", "idle"]

ZOE = Place("vision", "zoe")


def stand(homes: Homes, profile: str) -> None:
    """Have a Profile with its namespace."""
    homes.api.put({"kind": "Profile", "metadata": {"name": profile}})
    homes.api.put(make_namespace(profile))


def texts(homes: Homes) -> dict[str, str]:
    """Return what is in the files of the export, by their names below it."""
    return {str(it.relative_to(homes.root)): text for it, text in homes.files("*.txt").items()}


def test_files_become_the_home_of_who_has_another_name(homes: Homes) -> None:
    stand(homes, "vision")
    stamp = put_away(homes).rpartition(".")[2]

    result = ask(homes, "restore", "vision", "alice", "--to", "zoe")

    assert result.exit_code == 0, result.stderr
    said = f"Gave the home of 'alice' in profile vision, archived as {stamp}, to 'zoe' in vision.\n"
    assert result.stdout == said
    assert texts(homes) == {"vision/zoe/a.txt": "a"}
    assert homes.volumes() == {ZOE.volume: "vision/zoe"}
    # It is hers, as far as anything tells.
    volume = read_volume(homes.api.objects[VOLUME, "", ZOE.volume])
    assert volume
    assert volume.place == ZOE
    homes.claim(ZOE)
    asyncio.run(homes.settle())
    assert homes.api.objects[CLAIM, "vision", ZOE.claim]["spec"]["volumeName"] == ZOE.volume


@pytest.mark.parametrize("name", ["Zoë Müller", "zoe@example.org", "../alice", "a/b", "kf-zoe"])
def test_the_home_of_ones_own_profile_goes_to_that_of_the_new_name(homes: Homes, name: str) -> None:
    own, new = Place(namespace_name("alice"), "alice"), Place(namespace_name(name), name)
    for place in (own, new):
        stand(homes, place.profile)
    put_away(homes, own)

    result = ask(homes, "restore", own.profile, "alice", "--to", name)

    assert result.exit_code == 0, result.stderr
    assert texts(homes) == {f"{new.directory}/a.txt": "a"}
    assert list(homes.volumes()) == [new.volume]


def test_whoever_has_files_keeps_them(homes: Homes) -> None:
    stand(homes, "vision")
    put_away(homes)
    use(homes, ZOE)
    before = texts(homes)

    result = ask(homes, "restore", "vision", "alice", "--to", "zoe")

    said = (
        "there is the home of 'zoe' in profile vision already; neither was touched; put that away"
    )
    assert_refused(result, said, "`kfspawner homes archive vision zoe`")
    assert texts(homes) == before
    assert homes.api.writes() == []


def test_an_archive_of_theirs_is_no_hindrance(homes: Homes) -> None:
    stand(homes, "vision")
    theirs = put_away(homes, ZOE)
    stamp = put_away(homes).rpartition(".")[2]

    result = ask(homes, "restore", "vision", "alice", "--to", "zoe")

    assert result.exit_code == 0, result.stderr
    assert homes.archives() == [theirs]
    assert stamp not in theirs


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("vision", "alice", "--to", "alice"), "that is no other person"),
        (("vision", "alice", "--to", ""), "that is no other person"),
        (("vision", "", "--to", "zoe"), "a folder is its profile's"),
        (("nlp", "alice", "--to", "zoe"), "there is no profile nlp"),
        (("vision", "bob", "--to", "zoe"), "nothing of it is archived"),
        (("vision", "alice", "--to", "zoe", "--from", "never"), "there is no archive never of it"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_touched(
    homes: Homes, words: tuple[str, ...], why: str
) -> None:
    stand(homes, "vision")
    put_away(homes)
    put_away(homes, FOLDER)
    before = texts(homes)

    assert_refused(ask(homes, "restore", *words), why)

    assert texts(homes) == before
    assert homes.api.writes() == []


def test_who_has_not_signed_in_has_no_profile_yet(homes: Homes) -> None:
    own = Place(namespace_name("alice"), "alice")
    stand(homes, own.profile)
    put_away(homes, own)

    result = ask(homes, "restore", own.profile, "alice", "--to", "zoe")

    assert_refused(result, "there is no profile kf-zoe", "let 'zoe' sign in")


def test_a_provisioner_that_does_not_answer_is_told(idle: Homes) -> None:
    stand(idle, "vision")
    put_away(idle)

    result = ask(idle, "restore", "vision", "alice", "--to", "zoe")

    assert_refused(
        result, "giving the home of 'alice' in profile vision to 'zoe'", "is still asked"
    )


async def test_whoever_is_killed_at_it_leaves_it_to_the_next(tmp_path: Path) -> None:
    for at in itertools.count(1):
        homes = Homes(tmp_path / str(at))
        homes.root.mkdir()
        homes.claim()
        await homes.settle()
        (homes.root / ALICE.directory / "notes.txt").write_text("mine")
        homes.ask(CLAIM, ALICE.claim, "archive", "vision")
        await homes.settle()
        ask_for(homes, "vision/zoe")
        with killed(homes.api, at) as countdown:
            await homes.settle()
        await homes.settle()

        assert homes.directories() == list(homes.volumes().values())
        assert homes.directories()[0].startswith("_archive/vision/zoe.")
        assert list(homes.files("notes.txt").values()) == ["mine"]
        if not countdown.over:
            return


def ask_for(homes: Homes, heir: str) -> None:
    """Have somebody ask for the archive to be another's."""
    found = homes.api.objects[VOLUME, "", homes.archives()[0]]
    found["metadata"]["annotations"][HEIR_ANNOTATION] = heir
    homes.api.put(found)
    homes.ask(VOLUME, homes.archives()[0], "hand-over")


@pytest.mark.parametrize("heir", ["", "zoe", "../zoe", "_archive/zoe", "vision/"])
async def test_an_heir_that_is_no_person_is_refused(tmp_path: Path, heir: str) -> None:
    homes = Homes(tmp_path)
    homes.claim()
    await homes.settle()
    homes.ask(CLAIM, ALICE.claim, "archive", "vision")
    await homes.settle()
    ask_for(homes, heir)

    assert await homes.take() is Step.REFUSE

    notes = homes.notes(VOLUME, homes.archives()[0])
    assert "nobody is named whose it is to be" in notes["trouble"]
    assert "request" not in notes
    assert (homes.root / homes.directories()[0]).stat()[4:6] == IDS
