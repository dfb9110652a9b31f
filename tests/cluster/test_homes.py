"""People's files on the real NFS server: whose they are, where, and that nothing loses them."""

from __future__ import annotations

import json
from functools import partial

import pytest

from deploy.person import Person
from kfspawner.names import home_claim_name, namespace_name
from tests.cluster.claims import (
    CLAIM_SECONDS,
    bound,
    claim,
    make_claim,
    run_with,
    trouble,
    volume_of,
)
from tests.cluster.cluster import Cluster, directory_of, until
from tests.cluster.conftest import People, Profiles
from tests.cluster.test_members import is_offered


@pytest.fixture(scope="module")
def team(people: People, profiles: Profiles) -> tuple[Person, Person, str]:
    """Two people with a server each in a profile that they share."""
    first, second = people.new(), people.new()
    name = profiles.new(first.name, {"kfspawner.io/members": json.dumps({second.name: "edit"})})
    for one in (first, second):
        until(partial(is_offered, one, name), "it may be chosen")
        one.spawn({"image_profile": "cpu", "profile": name})
    return first, second, name


def say(person: Person, code: str) -> str:
    """Execute a cell in a kernel of a person's server, and return what it printed."""
    with person.kernel() as kernel:
        execution = kernel.execute(code)
    assert not execution.error, execution.text
    return execution.text


def shell(person: Person, command: str) -> str:
    """Return what a shell of a person's server prints; what it refuses is printed too."""
    run = f"run({command!r}, shell=True, text=True, stdout=PIPE, stderr=STDOUT)"
    return say(person, f"from subprocess import *; print({run}.stdout)").strip()


# At the first start.


def test_a_home_is_its_persons_and_nobody_elses(person: Person, cluster: Cluster) -> None:
    name = namespace_name(person.name)
    volume = volume_of(cluster, person.name, name)

    assert volume["status"]["phase"] == "Bound"
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert volume["spec"]["accessModes"] == ["ReadWriteMany"]
    assert volume["spec"]["nfs"]["path"] == f"/homes/{name}/{person.name}"
    stat = "stat -c '%u %g %a' /home/jovyan /home/jovyan/shared"
    assert shell(person, stat).splitlines() == ["1000 100 700", "1000 100 755"]
    # The control: the server keeps the same.
    found = directory_of(volume).stat()
    assert (found.st_uid, found.st_gid, oct(found.st_mode & 0o7777)) == (1000, 100, "0o700")


def test_a_run_and_the_server_see_each_others_files_at_once(person: Person) -> None:
    cell = """%%kf run --name seen --cpu 200m --memory 256Mi --detach
import pathlib, time
home = pathlib.Path("/home/jovyan")
(home / "by-run.txt").write_text("by the run")
for _ in range(300):
    # It is there before what is written in it.
    if (home / "by-server.txt").exists() and (home / "by-server.txt").read_text():
        break
    time.sleep(0.1)
print((home / "by-server.txt").read_text(), flush=True)
"""
    with person.kernel() as kernel:
        assert not kernel.execute(cell).error
        until(lambda: "by-run.txt" in person.listing(), "the server sees what the run wrote")
        person.write("by-server.txt", "by the server")
        execution = kernel.execute("%kf logs -f seen")
        assert not execution.error, execution.text
        assert "by the server" in execution.text
    assert person.read("by-run.txt") == "by the run"


# Between people.


def test_a_profiles_folder_is_its_members(team: tuple[Person, Person, str]) -> None:
    first, second, name = team
    folder = f"/home/jovyan/shared/{name}"

    assert shell(first, f"stat -c '%g %a' {folder}") == "100 2770"
    shell(first, f"mkdir {folder}/data && echo of the first > {folder}/data/notes")
    assert shell(second, f"cat {folder}/data/notes") == "of the first"
    shell(second, f"echo of the second >> {folder}/data/notes")
    assert shell(first, f"cat {folder}/data/notes") == "of the first\nof the second"


def test_a_member_does_not_have_anothers_home(
    team: tuple[Person, Person, str], cluster: Cluster
) -> None:
    first, second, name = team
    first.write("private.txt", "of the first")

    mounted = shell(second, "grep -c 'fuse.nfs\\|nfs4\\| nfs ' /proc/mounts; ls /home/jovyan")
    assert mounted.splitlines()[0] == "2"
    assert "private.txt" not in mounted
    # The control: it is there, in the directory beside theirs.
    assert (directory_of(volume_of(cluster, first.name, name)) / "private.txt").exists()


def test_file_modes_keep_people_apart_who_have_uids_of_their_own(
    profiles: Profiles, cluster: Cluster
) -> None:
    """Where the administrator gives each person a uid, with KubeSpawner's `uid`."""
    name = profiles.new("somebody")
    image = cluster.images()["hub"]
    claim(cluster, name, "profile-folder", "0:100")
    claim(cluster, name, home_claim_name("ann"), "2001:100", "ann")
    write = "umask 027; echo open > /folder/open; echo closed > /folder/closed; "
    write += "chmod 600 /folder/closed; echo ann > /ann/hers; sleep 300"
    volumes = {"/folder": "profile-folder", "/ann": home_claim_name("ann")}
    run_with(cluster, name, "ann", image, write, volumes, uid=2001)
    until(lambda: _has(cluster, name, "ann", "hers"), "ann has written")

    read = "cat /folder/open /folder/closed /ann/hers"
    run_with(cluster, name, "ben", image, read, volumes, uid=2002)
    run_with(cluster, name, "ann-again", image, read, volumes, uid=2001)

    # The control: who has her uid reads it all.
    assert cluster.last_words(name, "ann-again") == "open\nclosed\nann\n"
    said = cluster.last_words(name, "ben")
    assert said.splitlines()[0] == "open"
    assert said.count("Permission denied") == 2


def _has(cluster: Cluster, profile: str, person: str, file: str) -> bool:
    return (directory_of(volume_of(cluster, person, profile)) / file).exists()


def test_another_profiles_files_are_out_of_reach_of_any_pod(
    team: tuple[Person, Person, str], profiles: Profiles, cluster: Cluster
) -> None:
    first, _, name = team
    first.write("secret.txt", "of the first")
    elsewhere = profiles.new("somebody")
    # A pod of one's own making, as the uid that owns the files.
    claimed = {"persistentVolumeClaim": {"claimName": home_claim_name(first.name)}}
    inline = {"nfs": volume_of(cluster, first.name, name)["spec"]["nfs"]}
    image, read = cluster.images()["hub"], "cat /files/secret.txt"

    with pytest.raises(Exception, match="violates PodSecurity"):
        run_with(cluster, elsewhere, "inline", image, read, {"/files": inline})
    run_with(cluster, elsewhere, "claimed", image, read, {"/files": claimed})
    pod = until(lambda: unschedulable(cluster, elsewhere, "claimed"), "it finds no such claim")
    assert f'persistentvolumeclaim "{home_claim_name(first.name)}" not found' in pod
    # The control: in the profile, the same pod reads them.
    run_with(cluster, name, "claimed", image, read, {"/files": claimed})
    assert cluster.last_words(name, "claimed") == "of the first"


def unschedulable(cluster: Cluster, namespace: str, name: str) -> str:
    """Return why a pod finds no place; empty while it has one."""
    conditions = cluster.pod(namespace, name).get("status", {}).get("conditions", [])
    return next((it.get("message", "") for it in conditions if it["status"] == "False"), "")


# What cannot be had.


def test_a_directory_of_somebody_else_is_refused_and_untouched(
    profiles: Profiles, cluster: Cluster
) -> None:
    name = profiles.new("somebody")
    theirs = directory_of({"spec": {"nfs": {"path": f"/homes/{name}/ann"}}})
    theirs.mkdir(parents=True)
    (theirs / "theirs.txt").write_text("theirs")

    make_claim(cluster, name, home_claim_name("ann"), "1000:100", "ann")

    said = until(lambda: trouble(cluster, name, home_claim_name("ann")), "the claim says why")
    assert "has a directory of that name that belongs to 0:0, and not to 1000:100" in said
    assert (theirs.stat().st_uid, (theirs / "theirs.txt").read_text()) == (0, "theirs")
    assert cluster.volumes(name) == []
    # The way out that it names.
    (theirs / "theirs.txt").unlink()
    until(lambda: bound(cluster, name, home_claim_name("ann")), "it is bound", CLAIM_SECONDS)


def test_a_claim_that_nobody_has_a_home_for_stays_pending(
    profiles: Profiles, cluster: Cluster
) -> None:
    name = profiles.new("somebody")
    make_claim(cluster, name, "scratch", "1000:100", "ann")
    claim(cluster, name, home_claim_name("ann"), "1000:100", "ann")

    assert not bound(cluster, name, "scratch")
    assert len(cluster.volumes(name)) == 1
