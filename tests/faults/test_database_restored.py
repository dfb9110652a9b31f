"""The hub has its database of an hour ago again: whatever happened since, people can work."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from deploy.person import Person
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import People
from tests.cluster.people import Hub
from tests.faults.node import HUB_PODS, NAMESPACE
from tests.faults.servers import CPU, known_as_gone, nothing_left

FILE = "jupyterhub.sqlite"


def database(cluster: Cluster) -> Path:
    """Return where the hub's database is on this machine."""
    claim = cluster.core.read_namespaced_persistent_volume_claim("hub", NAMESPACE)
    volume = cluster.plain(cluster.core.read_persistent_volume(claim.spec.volume_name))
    source = volume["spec"].get("local") or volume["spec"]["hostPath"]
    return Path(source["path"]) / FILE


@contextmanager
def backed_up(cluster: Cluster, hub: Hub, place: Path) -> Iterator[None]:
    """Copy the database now, and give the hub that copy in the end."""
    there = database(cluster)
    copy = place / FILE
    with closing(sqlite3.connect(there)) as live, closing(sqlite3.connect(copy)) as kept:
        live.backup(kept)
    yield
    scale(cluster, 0)
    try:
        for journal in there.parent.glob(f"{FILE}-*"):
            journal.unlink()
        # Into the file that is there, whose owner is the hub.
        shutil.copyfile(copy, there)
    finally:
        scale(cluster, 1)
        hub.wait(90)


def scale(cluster: Cluster, replicas: int) -> None:
    patch = {"spec": {"replicas": replicas}}
    cluster.apps.patch_namespaced_deployment_scale("hub", NAMESPACE, patch)
    until(lambda: len(cluster.pods(NAMESPACE, HUB_PODS)) == replicas, f"there are {replicas} hubs")


def uses(person: Person) -> None:
    """Check that a person has the files of before in a server that answers."""
    person.enter()
    assert person.read("kept.txt") == "kept"


@pytest.mark.long
def test_people_go_on_from_a_database_of_before(
    people: People, cluster: Cluster, hub: Hub, tmp_path: Path
) -> None:
    stays, ended, again, late = (people.new() for _ in range(4))
    for person in (stays, ended, again):
        person.spawn(CPU)
        person.write("kept.txt", "kept")
    with backed_up(cluster, hub, tmp_path):
        ended.stop()
        again.stop()
        new = people.new()
        for person in (again, late, new):
            person.spawn(CPU)
            person.write("kept.txt", "kept")

    # What the database knows and what there is are the same.
    assert stays.running()
    uses(stays)
    # It knows of a server that has ended since,
    known_as_gone(ended)
    nothing_left(ended, cluster)
    # and of one in whose place there is another, which takes no token of before.
    known_as_gone(again)
    # It knows nothing of these.
    assert not late.running()
    new.sign_in(hub.password)
    assert not new.running()
    for person in (ended, again, late, new):
        person.spawn(CPU)
        uses(person)
        assert len(cluster.pods(namespace_name(person.name))) == 1
        person.stop()
        nothing_left(person, cluster)
    stays.stop()
