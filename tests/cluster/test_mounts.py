"""What servers mount besides homes, on the real NFS server: folders of others, a shared home."""

from __future__ import annotations

import json
from functools import partial

import pytest

from deploy.person import Person
from kfspawner.homes.mounts import Mount, write_mounts
from kfspawner.labels import MOUNTS_ANNOTATION
from kfspawner.names import namespace_name
from tests.cluster.claims import bound, run_with
from tests.cluster.cluster import EXPORTED, Cluster, until
from tests.cluster.conftest import People, Profiles
from tests.cluster.people import Hub
from tests.cluster.settings import configured
from tests.cluster.test_homes import shell, unschedulable
from tests.cluster.test_members import is_offered


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
    claim = f"folder-{names['edit']}"
    until(lambda: _is_going(cluster, own, claim), "no new pod may have it", 30)
    # What runs has it until it ends, and the other folder as before.
    assert "mine.txt" in shell(person, f"ls /home/jovyan/shared/{names['edit']}")
    run_with(cluster, own, "late", cluster.images()["hub"], "ls /folder", {"/folder": claim})
    until(lambda: "is being deleted" in unschedulable(cluster, own, "late"), "it finds none")
    cluster.delete_pod(own, "late")
    assert not _is_going(cluster, own, f"folder-{names['view']}")
    person.stop()
    for pod in ("looks", "edits"):
        cluster.delete_pod(own, pod)

    person.spawn({"image_profile": "cpu"})

    assert shell(person, "ls /home/jovyan/shared").split().count(names["view"]) == 1
    mounted = shell(person, "cat /proc/mounts")
    assert f"/shared/{names['view']} " in mounted
    assert f"/shared/{names['edit']} " not in mounted
    until(lambda: not _has_claim(cluster, own, claim), "its claim is gone")
    # What is in it is its profile's, and stays.
    assert (EXPORTED / names["edit"] / "_shared" / "mine.txt").exists()


def test_what_has_the_folder_mounted_is_stopped_where_that_is_wanted(
    people: People, profiles: Profiles, cluster: Cluster, hub: Hub
) -> None:
    person = people.new()
    name = profiles.new("somebody", {"kfspawner.io/members": json.dumps({person.name: "edit"})})
    own = namespace_name(person.name)
    with configured(cluster, hub, "c.KfSpawner.stop_on_removal = True"):
        until(partial(is_offered, person, name), "the person is a member")
        person.spawn({"image_profile": "cpu"})
        cell = """%%kf run --name stays --cpu 100m --memory 128Mi --detach
import time
time.sleep(600)
"""
        with person.kernel() as kernel:
            assert not kernel.execute(cell).error
        until(lambda: len(cluster.pods(own)) == 2, "server and run are there")
        cluster.patch_profile(name, {"metadata": {"annotations": {"kfspawner.io/members": None}}})

        until(lambda: not cluster.pods(own), "neither is there", 90)
        until(lambda: not _has_claim(cluster, own, f"folder-{name}"), "nor is the claim")


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


def _is_going(cluster: Cluster, namespace: str, name: str) -> bool:
    found = cluster.core.list_namespaced_persistent_volume_claim(namespace).items
    return all(it.metadata.deletion_timestamp for it in found if it.metadata.name == name)


def _has_claim(cluster: Cluster, namespace: str, name: str) -> bool:
    found = cluster.core.list_namespaced_persistent_volume_claim(namespace).items
    return name in {it.metadata.name for it in found}
