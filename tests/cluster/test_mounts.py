"""What servers mount besides homes, on the real NFS server: folders of others, a shared home."""

from __future__ import annotations

import json

import pytest

from deploy.person import Person
from kfspawner.homes.mounts import Mount, write_mounts
from kfspawner.labels import MOUNTS_ANNOTATION
from kfspawner.names import namespace_name
from tests.cluster.claims import bound, run_with
from tests.cluster.cluster import EXPORTED, Cluster, until
from tests.cluster.conftest import People, Profiles
from tests.cluster.test_homes import shell


@pytest.fixture(scope="module")
def folders(people: People, profiles: Profiles) -> tuple[Person, dict[str, str]]:
    """A person in their own profile, who edits one other profile and looks at another."""
    person = people.new()
    names = {
        role: profiles.new("somebody", {"kfspawner.io/members": json.dumps({person.name: role})})
        for role in ("edit", "view")
    }
    page = "/hub/spawn"
    until(
        lambda: all(it in person.send("GET", page, "looking").text for it in names.values()),
        "the person is a member of both",
    )
    person.spawn({"image_profile": "cpu"})
    return person, names


def test_a_person_has_the_folders_of_their_profiles_at_home(
    folders: tuple[Person, dict[str, str]], cluster: Cluster
) -> None:
    person, names = folders
    edited, viewed = (f"/home/jovyan/shared/{names[role]}" for role in ("edit", "view"))
    there = EXPORTED / names["view"] / "_shared" / "told.txt"
    there.write_text("told")
    there.chmod(0o640)

    assert shell(person, f"echo mine > {edited}/mine.txt && cat {edited}/mine.txt") == "mine"
    assert (EXPORTED / names["edit"] / "_shared" / "mine.txt").read_text() == "mine\n"
    assert "told" in shell(person, f"cat {viewed}/told.txt; chgrp 100 {viewed} 2>&1")
    said = shell(person, f"echo mine > {viewed}/mine.txt")
    assert "Read-only file system" in said


def test_a_pod_of_ones_own_making_writes_no_folder_that_is_looked_at(
    folders: tuple[Person, dict[str, str]], cluster: Cluster
) -> None:
    person, names = folders
    own, image = namespace_name(person.name), cluster.images()["hub"]
    command = "touch /folder/mine.txt; ls /folder"
    run_with(cluster, own, "looks", image, command, {"/folder": f"folder-{names['view']}"})
    run_with(cluster, own, "edits", image, command, {"/folder": f"folder-{names['edit']}"})

    assert "Read-only file system" in cluster.last_words(own, "looks")
    # The control: where they may, the same pod does.
    assert "mine.txt" in cluster.last_words(own, "edits").splitlines()


def test_who_is_no_member_any_more_has_no_folder_at_the_next_start(
    folders: tuple[Person, dict[str, str]], cluster: Cluster
) -> None:
    person, names = folders
    own = namespace_name(person.name)
    cluster.patch_profile(
        names["edit"], {"metadata": {"annotations": {"kfspawner.io/members": None}}}
    )
    person.stop()
    for pod in ("looks", "edits"):
        cluster.delete_pod(own, pod)
    page = "/hub/spawn"
    until(
        lambda: names["edit"] not in person.send("GET", page, "looking").text, "it is not offered"
    )

    person.spawn({"image_profile": "cpu"})

    assert shell(person, "ls /home/jovyan/shared").split().count(names["view"]) == 1
    mounted = shell(person, "cat /proc/mounts")
    assert f"/shared/{names['view']} " in mounted
    assert f"/shared/{names['edit']} " not in mounted
    until(lambda: not _has_claim(cluster, own, f"folder-{names['edit']}"), "its claim is gone")
    # What is in it is its profile's, and stays.
    assert (EXPORTED / names["edit"] / "_shared" / "mine.txt").exists()


def test_a_dataset_is_read_and_not_written(profiles: Profiles, cluster: Cluster) -> None:
    name, data = profiles.new("somebody"), profiles.new("data")
    source = EXPORTED / data / "set"
    source.mkdir(parents=True)
    (source / "digits.csv").write_text("1,2,3")
    mount = Mount(f"dataset-{data}", f"{data}/set")
    annotations = {MOUNTS_ANNOTATION: write_mounts({mount.claim: mount})}
    cluster.patch_profile(name, {"metadata": {"annotations": annotations}})
    until(
        lambda: _has_claim(cluster, name, mount.claim) and bound(cluster, name, mount.claim),
        "the dataset's claim is bound",
    )

    read = "cat /data/digits.csv; touch /data/mine 2>&1"
    run_with(cluster, name, "reads", cluster.images()["hub"], read, {"/data": mount.claim})

    said = cluster.last_words(name, "reads")
    assert said.startswith("1,2,3")
    assert "Read-only file system" in said


def _has_claim(cluster: Cluster, namespace: str, name: str) -> bool:
    found = cluster.core.list_namespaced_persistent_volume_claim(namespace).items
    return name in {it.metadata.name for it in found}
