"""People with a uid of their own each: file modes keep what is theirs from the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import pytest

from deploy.person import Person
from kfspawner.names import namespace_name
from tests.cluster.claims import volume_of
from tests.cluster.cluster import Cluster, directory_of, until
from tests.cluster.conftest import People, Profiles
from tests.cluster.people import Hub
from tests.cluster.settings import configured
from tests.cluster.test_homes import shell
from tests.cluster.test_members import is_offered

FIRST, LAST = 20_000, 999_999_999


@pytest.fixture(scope="module")
def earlier(people: People, cluster: Cluster) -> Person:
    """Somebody who had a home, and a server that is stopped, when all were 1000."""
    person = people.new()
    person.spawn({"image_profile": "cpu"})
    shell(
        person,
        "mkdir -p deep/deeper && echo kept > deep/deeper/notes && ln -s deeper/notes deep/link",
    )
    person.stop()
    until(lambda: not cluster.pods(namespace_name(person.name)), "the server's pod is gone")
    return person


@pytest.fixture(scope="module")
def team(
    earlier: Person, people: People, profiles: Profiles, cluster: Cluster, hub: Hub
) -> Iterator[tuple[Person, Person, str]]:
    """Two people with a server each in a profile that they share, with uids of their own."""
    first, second = people.new(), people.new()
    name = profiles.new(first.name, {"kfspawner.io/members": json.dumps({second.name: "edit"})})
    own = f'c.KfSpawner.own_uid = {{"first": {FIRST}, "last": {LAST}}}'
    with configured(cluster, hub, own):
        for one in (first, second):
            until(partial(is_offered, one, name), "it may be chosen")
            one.spawn({"image_profile": "cpu", "profile": name})
        yield first, second, name


def uid_of(person: Person) -> int:
    """Return the uid of a person's server."""
    return int(shell(person, "id -u"))


def test_a_co_member_reads_the_folder_and_not_anothers_private_files(
    team: tuple[Person, Person, str], cluster: Cluster
) -> None:
    first, second, name = team
    folder = f"/home/jovyan/shared/{name}"
    assert len({uid_of(first), uid_of(second), 1000}) == 3
    write = f"cd {folder} && echo open > open && echo closed > closed && chmod 600 closed"
    assert shell(first, write) == ""

    assert shell(second, f"cat {folder}/open") == "open"
    assert "Permission denied" in shell(second, f"cat {folder}/closed")
    assert "not permitted" in shell(second, f"chmod 666 {folder}/closed")
    # The control: it is there, and hers to read.
    assert shell(first, f"cat {folder}/closed") == "closed"
    homes = [directory_of(volume_of(cluster, it.name, name)).stat() for it in (first, second)]
    assert [it.st_uid for it in homes] == [uid_of(first), uid_of(second)]
    assert {it.st_mode & 0o777 for it in homes} == {0o700}


def test_a_run_has_its_persons_uid(team: tuple[Person, Person, str]) -> None:
    first, _, _ = team
    cell = """%%kf run --name own --cpu 200m --memory 256Mi
import os, pathlib
pathlib.Path("/outputs/mine.txt").write_text("mine")
print("uid", os.getuid(), flush=True)
"""
    with first.kernel() as kernel:
        execution = kernel.execute(cell)
    assert not execution.error, execution.text
    uid = uid_of(first)
    assert f"uid {uid}" in execution.text
    assert shell(first, "stat -c %u runs/own/mine.txt") == str(uid)


def test_packages_are_installed_and_the_user_has_a_name(team: tuple[Person, Person, str]) -> None:
    first, _, _ = team
    packages = "python -c 'import numpy; print(numpy.__path__[0])'"
    name = "python -c 'import getpass; print(getpass.getuser())'"
    said = shell(first, f'test -w "$(dirname "$({packages})")" && {name}')
    assert said == "jovyan"


def test_a_person_keeps_it_in_their_own_profile_and_after_the_hub_restarts(
    team: tuple[Person, Person, str], hub: Hub
) -> None:
    first, _, name = team
    uid = uid_of(first)
    first.stop()
    hub.restart()
    hub.wait(90)

    first.spawn({"image_profile": "cpu"})

    assert uid_of(first) == uid
    assert "closed" in shell(first, f"cat shared/{name}/closed")


def test_a_home_of_before_is_given_to_its_person(
    team: tuple[Person, Person, str], earlier: Person, cluster: Cluster
) -> None:
    home = directory_of(volume_of(cluster, earlier.name, namespace_name(earlier.name)))
    assert home.stat().st_uid == 1000

    earlier.spawn({"image_profile": "cpu"})

    assert shell(earlier, "cat deep/link && echo more >> deep/link && cat deep/link").split() == [
        "kept",
        "kept",
        "more",
    ]
    uid = uid_of(earlier)
    assert uid >= FIRST
    owners = {it.lstat().st_uid for it in (home, *home.rglob("*"))}
    assert owners == {uid}
