"""Homes while what they stand on breaks: nothing is lost, and whoever waits is told why."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.errors import DeployError
from deploy.node import layout as at
from deploy.node.lifecycle import enter
from deploy.person import Person
from kfspawner.homes.place import Place
from kfspawner.names import home_claim_name, namespace_name
from tests.cluster.claims import bound, make_claim, volume_of
from tests.cluster.cluster import EXPORTED, Cluster, directory_of, until
from tests.cluster.command import kfspawner
from tests.cluster.conftest import People, Profiles
from tests.cluster.people import Hub
from tests.faults.node import LAYOUT, deploy, in_node, stopped_part
from tests.faults.test_nfs import SERVER, kill_server

HOMES = "kfspawner-homes"
DEPLOYMENT = "provisioner"
# What a person may have in a home, and a digest of all of it.
_FILL = """
import os, pathlib
many = pathlib.Path.home() / "many"
for number in range(10_000):
    if number % 100 == 0:
        (many / str(number // 100)).mkdir(parents=True, exist_ok=True)
    (many / str(number // 100) / f"{number}.txt").write_text(f"file {number}\\n" * (number % 50))
with (pathlib.Path.home() / "large.bin").open("wb") as large:
    block = os.urandom(1 << 20)
    for number in range(1024):
        large.write(number.to_bytes(8, "big") + block[8:])
    os.fsync(large.fileno())
"""
_DIGEST = "find many large.bin -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum"


def digest_on(person: Person) -> str:
    """Return a digest of a person's files as their server sees them."""
    with person.kernel() as kernel:
        run = f"check_output({_DIGEST!r}, shell=True, cwd='/home/jovyan', text=True)"
        execution = kernel.execute(f"from subprocess import *; print({run})")
    assert not execution.error, execution.text
    return execution.text.split()[0]


def digest_of(directory: Path) -> str:
    """Return the same as the NFS server has them."""
    return subprocess.check_output(_DIGEST, shell=True, cwd=directory, text=True).split()[0]


@pytest.mark.long
def test_every_file_outlives_every_restart(people: People, cluster: Cluster, hub: Hub) -> None:
    person = people.new()
    namespace = namespace_name(person.name)
    person.spawn({"image_profile": "cpu"})
    with person.kernel() as kernel:
        execution = kernel.execute(_FILL)
        assert not execution.error, execution.text
    home = directory_of(volume_of(cluster, person.name, namespace))
    before = digest_of(home)

    hub.restart()
    hub.wait(90)
    kill_server()
    assert digest_on(person) == before
    person.stop()
    person.spawn({"image_profile": "cpu"})
    assert person.read("many/99/9949.txt") == "file 9949\n" * 49
    person.stop()
    until(lambda: not cluster.pods(namespace), "the server's pod is gone")
    deploy("down")
    deploy("up")
    hub.wait(90)

    person.sign_in(hub.password)
    person.spawn({"image_profile": "cpu"})
    assert digest_on(person) == digest_of(home) == before
    person.stop()


@pytest.mark.parametrize("files", ["a home", pytest.param("no home yet", marks=pytest.mark.long)])
def test_a_start_while_the_export_is_down_says_so_and_works_again(
    files: str, people: People, cluster: Cluster, hub: Hub
) -> None:
    person = people.new()
    known = files == "a home"
    if known:
        person.spawn({"image_profile": "cpu"})
        person.write("kept.txt", "kept")
        person.stop()
        until(lambda: not cluster.pods(namespace_name(person.name)), "the pod is gone")
    with stopped_part(SERVER):
        begun = time.monotonic()
        with pytest.raises(DeployError) as failed:
            person.spawn({"image_profile": "cpu"})
        assert time.monotonic() - begun < 32
        # Which server to look at.
        assert f"{at.NFS_SERVER}:{at.NFS_EXPORT}" in str(failed.value), str(failed.value)
        assert hub.answers()
        until(lambda: not cluster.pods(namespace_name(person.name)), "nothing half-made is left")
    until(lambda: _starts(person), "a start works again", 120)
    if known:
        assert person.read("kept.txt") == "kept"
    person.stop()


def _starts(person: Person) -> bool:
    try:
        person.spawn({"image_profile": "cpu"})
    except DeployError:
        return False
    return True


# The provisioner, killed.


@contextmanager
def scaled_down(cluster: Cluster) -> Iterator[None]:
    """Do without the provisioner of the cluster."""

    def scale(replicas: int) -> None:
        patch = {"spec": {"replicas": replicas}}
        cluster.apps.patch_namespaced_deployment_scale(DEPLOYMENT, HOMES, patch)
        until(
            lambda: len(cluster.pods(HOMES, f"app.kubernetes.io/name={DEPLOYMENT}")) == replicas,
            f"there are {replicas} provisioners",
        )

    scale(0)
    try:
        yield
    finally:
        scale(1)


@contextmanager
def mounted_export() -> Iterator[Path]:
    """Mount the export in the node, as the provisioner's pod has it."""
    where = LAYOUT.run / "private" / "test-export"
    source = f"{at.NFS_SERVER}:{at.NFS_EXPORT}"
    in_node("mkdir", "-p", str(where))
    in_node("mount", "-t", "nfs", "-o", "soft,timeo=50,retrans=2", source, str(where))
    try:
        yield where
    finally:
        in_node("umount", str(where))


class Provisioner:
    """A provisioner that is started, and killed at any moment."""

    def __init__(self, export: Path) -> None:
        program = Path(sys.executable).with_name("kfspawner")
        words = [str(program), "provisioner", f"--root={export}", "--liveness-port=18080"]
        settings = {
            "KUBECONFIG": str(LAYOUT.kubeconfig),
            "KFSPAWNER_NFS_SERVER": at.NFS_SERVER,
            "KFSPAWNER_NFS_PATH": at.NFS_EXPORT,
        }
        given = [f"{variable}={value}" for variable, value in settings.items()]
        self._running = subprocess.Popen(
            [*enter(LAYOUT), "env", *given, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self, seconds: float) -> None:
        """Kill it after so many seconds, as -9 does."""
        time.sleep(seconds)
        # nsenter waits for what it started in the node's process namespace.
        children = Path(f"/proc/{self._running.pid}/task/{self._running.pid}/children")
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGKILL)
        self._running.wait()


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.long)])
def test_a_provisioner_killed_at_any_moment_leaves_no_orphan_and_no_double(
    kills: int, profiles: Profiles, cluster: Cluster
) -> None:
    name = profiles.new("somebody")
    rng = random.Random(7)
    people = [f"p{number}" for number in range(kills)]
    with scaled_down(cluster), mounted_export() as export:
        for number, person in enumerate(people):
            make_claim(cluster, name, home_claim_name(person), "1000:100", person)
            if number >= 5 and number % 2:
                # Something of another is under way at the same time.
                earlier = Place(name, people[number - 5])
                _ask_to_archive(cluster, earlier)
            # It takes most of a second until it has begun.
            Provisioner(export).kill(rng.uniform(0.7, 1.6))
    until(
        lambda: all(
            bound(cluster, name, home_claim_name(it)) for it in people if _lives(cluster, name, it)
        ),
        "every claim that is there is bound",
    )
    until(lambda: not _under_way(cluster, name), "every archive that was begun is done", 60)

    volumes = cluster.volumes(name)
    directories = {directory_of(it) for it in volumes}
    assert len(directories) == len(volumes)
    found = {*_inside(EXPORTED / name), *_inside(EXPORTED / "_archive" / name)}
    assert found == directories
    assert len(volumes) >= kills
    assert {it.stat().st_uid for it in found} == {1000}
    assert kfspawner("homes", "list", name).status == 0


def _ask_to_archive(cluster: Cluster, place: Place) -> None:
    patch = {"metadata": {"annotations": {"kfspawner.io/request": "archive"}}}
    if _lives(cluster, place.profile, place.person):
        cluster.core.patch_namespaced_persistent_volume_claim(place.claim, place.profile, patch)


def _lives(cluster: Cluster, profile: str, person: str) -> bool:
    found = cluster.core.list_namespaced_persistent_volume_claim(profile).items
    return home_claim_name(person) in {it.metadata.name for it in found}


def _under_way(cluster: Cluster, profile: str) -> bool:
    claims = cluster.core.list_namespaced_persistent_volume_claim(profile).items
    asked = any("kfspawner.io/request" in (it.metadata.annotations or {}) for it in claims)
    begun = any(
        "kfspawner.io/archived-as" in it["metadata"]["annotations"]
        and it["metadata"]["labels"]["kfspawner.io/volume"] != "archive"
        for it in cluster.volumes(profile)
    )
    return asked or begun


def _inside(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.exists() else []
