"""An export that allows less than homes need: that is told, nothing is touched, and it mends."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from deploy.node import layout as at
from kfspawner.names import home_claim_name
from tests.cluster.claims import CLAIM_SECONDS, bound, claim, make_claim, run_with, trouble
from tests.cluster.cluster import EXPORTED, Cluster, directory_of, until
from tests.cluster.conftest import Profiles
from tests.faults.exports import Small, allowing, small
from tests.faults.node import in_node

IDS = "1000:100"
CLAIM = home_claim_name("ann")
# What the provisioner does for a claim, where the export is.
_MAKE = """
import sys
from pathlib import Path
from kfspawner.errors import HomeError
from kfspawner.homes.export import Export, Ownership

try:
    Export(Path(sys.argv[1]), sys.argv[2]).make("vision/ann", Ownership(1000, 100, 0o700))
except HomeError as error:
    print(type(error).__name__, error)
else:
    print("made")
"""


@pytest.fixture
def full() -> Iterator[Small]:
    """An export with room for ten files."""
    with small("/test-full", "mode=755", "size=256k", "nr_inodes=12") as made:
        yield made


def make(export: Small) -> str:
    """Have a home made there, and return what is said of that."""
    return in_node(sys.executable, "-c", _MAKE, export.mounted, export.name).strip()


def test_a_full_export_is_told_and_works_again_with_room(full: Small) -> None:
    full.shell("echo theirs > theirs; i=0; while touch f$i 2> /dev/null; do i=$((i+1)); done")
    before = full.shell("ls && cat theirs")
    assert "f5" in before.split()

    said = make(full)

    assert said.startswith("HomeError making vision/ann: ")
    assert f"there is no room left on {full.name}" in said
    assert "make room on it; it is tried again" in said
    assert full.shell("ls && cat theirs") == before
    full.shell("rm f*")
    assert make(full) == "made"
    assert full.shell("stat -c '%u:%g %a' vision/ann") == f"{IDS} 700"
    assert full.shell("cat theirs") == "theirs"


def test_who_writes_more_than_there_is_keeps_what_was_written_before(
    full: Small, profiles: Profiles, cluster: Cluster
) -> None:
    name = profiles.new("somebody")
    full.shell("mkdir -p files && chown 1000:100 files")
    modes, size = ["ReadWriteMany"], {"storage": "1Mi"}
    spec = {
        "accessModes": modes,
        "capacity": size,
        "storageClassName": "",
        "claimRef": {"namespace": name, "name": "files"},
        "nfs": {"server": at.NFS_SERVER, "path": f"{full.path}/files"},
    }
    wanted = {"accessModes": modes, "resources": {"requests": size}, "storageClassName": ""}
    cluster.core.create_persistent_volume({"metadata": {"name": name}, "spec": spec})
    try:
        cluster.core.create_namespaced_persistent_volume_claim(
            name, {"metadata": {"name": "files"}, "spec": {**wanted, "volumeName": name}}
        )
        write = "cd /files && echo kept > kept && sync && head -c 1000000 /dev/zero > more"
        command = f"({write}) 2>&1; cat /files/kept"
        run_with(cluster, name, "writes", cluster.images()["hub"], command, {"/files": "files"})

        said = cluster.last_words(name, "writes").splitlines()

        assert "No space left on device" in said[0]
        assert said[-1] == "kept"
        assert full.shell("cat files/kept") == "kept"
        cluster.delete_pod(name, "writes")
        until(
            lambda: full.path not in in_node("sh", "-c", "grep kubelet /proc/mounts; true"),
            "it is off",
        )
    finally:
        cluster.core.delete_persistent_volume(name)


@pytest.mark.parametrize(
    ("said", "instead_of"),
    [
        ("Squash = Root_Squash;", "Squash = No_Root_Squash;"),
        ("Access_Type = RO;", "Access_Type = RW;"),
    ],
    ids=["root squashed", "read-only"],
)
def test_an_export_that_does_not_allow_it_is_told_and_works_once_it_does(
    said: str, instead_of: str, profiles: Profiles, cluster: Cluster
) -> None:
    name = profiles.new("somebody")
    claim(cluster, name, home_claim_name("ben"), IDS, "ben")
    with allowing(said, instead_of):
        make_claim(cluster, name, CLAIM, IDS, "ann")
        why = until(lambda: trouble(cluster, name, CLAIM), "the claim says why", CLAIM_SECONDS)
        assert f"{at.NFS_SERVER}:{at.NFS_EXPORT} does not allow it" in why
        assert "export it writable and without root squash to the cluster's nodes" in why
        assert not bound(cluster, name, CLAIM)
        assert [it.name for it in (EXPORTED / name).iterdir()] == ["ben"]

    until(lambda: bound(cluster, name, CLAIM), "it is bound", CLAIM_SECONDS)
    assert trouble(cluster, name, CLAIM) == ""
    for volume in cluster.volumes(name):
        found = directory_of(volume).stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1000, 100, 0o700)


def test_a_claim_whose_volume_is_bound_elsewhere_is_told(
    profiles: Profiles, cluster: Cluster
) -> None:
    name = profiles.new("somebody")
    claim(cluster, name, CLAIM, IDS, "ann")
    (volume,) = cluster.volumes(name)
    file = directory_of(volume) / "theirs.txt"
    file.write_text("theirs")
    cluster.core.delete_namespaced_persistent_volume_claim(CLAIM, name)
    make_claim(cluster, name, "mine", IDS)
    mine = cluster.core.read_namespaced_persistent_volume_claim("mine", name).metadata.uid
    taken = {"spec": {"claimRef": {"namespace": name, "name": "mine", "uid": mine}}}
    cluster.core.patch_persistent_volume(volume["metadata"]["name"], taken)

    make_claim(cluster, name, CLAIM, IDS, "ann")

    why = until(lambda: trouble(cluster, name, CLAIM), "the claim says why", CLAIM_SECONDS)
    assert f"volume {volume['metadata']['name']} is bound to claim mine in {name}" in why
    assert "no file was touched; delete one of the two claims" in why
    assert file.read_text() == "theirs"
    cluster.core.delete_namespaced_persistent_volume_claim("mine", name)
    until(lambda: bound(cluster, name, CLAIM), "it is bound", CLAIM_SECONDS)
    assert file.read_text() == "theirs"
