"""A server's files: which claims are made for it, how they are mounted, what becomes of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kfspawner.errors import ClusterError, ClusterUnreachable
from kfspawner.homes.mounts import make_mount_claim, read_made, read_mounts
from kfspawner.labels import OWNER_IDS_ANNOTATION, REQUEST_ANNOTATION
from kfspawner.servers.spawner import KfSpawner
from tests.fakes.api import FakeApi
from tests.fakes.hub import FakeHub, load, pod_of

NFS = {"server": "nfs.example", "path": "/homes", "capacity": "3Gi", "folder_capacity": "7Gi"}
CLAIM = "PersistentVolumeClaim"


def play_provisioner(api: FakeApi) -> None:
    """Have each claim bound at once, and the claims made that Profiles ask for, and no others."""
    ready = api.on_write

    def on_write(it: dict[str, Any]) -> None:
        ready(it)
        if it["kind"] == CLAIM:
            it["status"] = {"phase": "Bound"}
        elif it["kind"] == "Profile":
            make_mounts(api, it)

    api.on_write = on_write


def make_mounts(api: FakeApi, profile: dict[str, Any]) -> None:
    """Make the claims that a Profile asks for, and take away those that it does not."""
    name, wanted = profile["metadata"]["name"], read_mounts(profile)
    found = [it for key, it in api.objects.items() if key[:2] == (CLAIM, name)]
    for made in filter(None, map(read_made, found)):
        if made.claim not in wanted:
            api.remove(CLAIM, made.claim, name)
    for mount in wanted.values():
        api.put(make_mount_claim(name, mount))


@pytest.fixture
def nfs_hub(hub: FakeHub) -> FakeHub:
    """Return a hub of a cluster with a profile that people share, and with bound claims."""
    hub.share("vision", members={"bob": "edit"})
    play_provisioner(hub.api)
    return hub


async def make_claims(spawner: KfSpawner) -> None:
    assert await spawner._make_create_pvc_request(spawner.get_pvc_manifest(), 3)


def mounts(pod: dict[str, Any]) -> dict[str, str]:
    """Return which claim is mounted where, with its directory after a colon."""
    names = {
        it["name"]: it["persistentVolumeClaim"]["claimName"]
        for it in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in it
    }
    return {
        it["mountPath"]: f"{names[it['name']]}:{it.get('subPath', '')}".rstrip(":")
        for it in pod["spec"]["containers"][0]["volumeMounts"]
        if it["name"] in names
    }


async def test_a_server_in_a_shared_profile_has_its_home_and_the_folder(nfs_hub: FakeHub) -> None:
    spawner = nfs_hub.make_spawner("bob", home=NFS)
    pod = await pod_of(spawner, profile="vision")
    await make_claims(spawner)

    assert mounts(pod) == {
        "/home/jovyan": "home-bob",
        "/home/jovyan/shared/vision": "profile-folder",
    }
    home = nfs_hub.api.objects[CLAIM, "vision", "home-bob"]
    folder = nfs_hub.api.objects[CLAIM, "vision", "profile-folder"]
    for claim, ids, size in ((home, "1000:100", "3Gi"), (folder, "0:100", "7Gi")):
        assert claim["metadata"]["annotations"][OWNER_IDS_ANNOTATION] == ids
        assert claim["spec"] == {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": size}},
            "storageClassName": "kfspawner-nfs",
        }


async def test_a_profile_of_ones_own_has_no_folder_and_those_of_the_others(
    nfs_hub: FakeHub,
) -> None:
    spawner = nfs_hub.make_spawner("bob", home=NFS)

    assert mounts(await pod_of(spawner)) == {
        "/home/jovyan": "home-bob",
        "/home/jovyan/shared/vision": "folder-vision",
    }
    assert spawner.get_folder_manifest() is None
    await make_claims(spawner)
    assert (CLAIM, "kf-bob", "profile-folder") not in nfs_hub.api.objects


async def test_a_template_of_kubespawner_does_not_rename_what_our_provisioner_makes(
    nfs_hub: FakeHub,
) -> None:
    spawner = nfs_hub.make_spawner("bob", home=NFS, pvc_name_template="claim-{username}")

    assert mounts(await pod_of(spawner)) == {
        "/home/jovyan": "home-bob",
        "/home/jovyan/shared/vision": "folder-vision",
    }


async def test_a_person_has_the_uid_that_the_administrator_gives(nfs_hub: FakeHub) -> None:
    spawner = nfs_hub.make_spawner("bob", home=NFS, uid=lambda spawner: 2000 + len(spawner.name))
    pod = await pod_of(spawner)

    assert pod["spec"]["containers"][0]["securityContext"]["runAsUser"] == 2000
    claim = spawner.get_pvc_manifest()
    assert claim["metadata"]["annotations"][OWNER_IDS_ANNOTATION] == "2000:100"
    env = {it["name"]: it.get("value") for it in pod["spec"]["containers"][0]["env"]}
    assert (env["KFSPAWNER_UID"], env["KFSPAWNER_GID"]) == ("2000", "100")


async def test_a_claim_that_is_there_has_a_directory_for_each_person(nfs_hub: FakeHub) -> None:
    source = {"claim": "team-files", "sub_path": "homes"}
    spawner = nfs_hub.make_spawner("Bob Ross", home=source)
    pod = await pod_of(spawner)

    (mounted,) = mounts(pod).values()
    assert mounted.startswith("team-files:homes/bob-ross---")
    (first,) = pod["spec"]["initContainers"]
    # Before kubelet would make it, and root's.
    assert first["command"][-1] == f"/run/home/{mounted.partition(':')[2]}"
    assert first["image"] == pod["spec"]["containers"][0]["image"]
    with pytest.raises(ClusterError, match="there is no claim team-files in it"):
        await make_claims(spawner)
    nfs_hub.api.put(
        {"kind": CLAIM, "metadata": {"name": "team-files", "namespace": spawner.namespace}}
    )
    await make_claims(spawner)
    assert not nfs_hub.api.called("create")


async def test_who_begins_without_files_is_told(nfs_hub: FakeHub) -> None:
    spawner = nfs_hub.make_spawner("bob", home=NFS)
    await load(spawner)
    await make_claims(spawner)

    said = "Made a home for 'bob' in profile kf-bob: there was none under this name"
    assert spawner._remarks == (said,)
    await load(spawner)
    await make_claims(spawner)
    assert not spawner._remarks


async def test_nothing_of_a_claim_leaks_into_the_next_start(nfs_hub: FakeHub) -> None:
    spawner = nfs_hub.make_spawner("bob", home={"claim": "team-files"})

    for _ in range(2):
        pod = await pod_of(spawner)
        assert len(pod["spec"]["initContainers"]) == 1
        assert len(pod["spec"]["volumes"]) == 1


# What becomes of them.


async def test_the_homes_of_a_deleted_person_are_archived_in_every_profile(
    nfs_hub: FakeHub,
) -> None:
    alice = nfs_hub.make_spawner("alice", home=NFS)
    bob = nfs_hub.make_spawner("bob", home=NFS)
    for spawner, profile in ((alice, "vision"), (bob, "vision"), (bob, "kf-bob")):
        await load(spawner, profile=profile)
        await make_claims(spawner)

    await bob.delete_forever()

    asked = [
        f"{where}/{name}"
        for (kind, where, name), it in nfs_hub.api.objects.items()
        if kind == CLAIM
        and it["metadata"].get("annotations", {}).get(REQUEST_ANNOTATION) == "archive"
    ]
    assert sorted(asked) == ["kf-bob/home-bob", "vision/home-bob"]
    assert nfs_hub.api.called("delete") == []


@pytest.mark.parametrize(
    ("server", "config"),
    [("gpu", {"home": NFS}), ("", {"home": NFS, "delete_pvc": False}), ("", {"home": {}})],
    ids=["a named server", "switched off", "not ours"],
)
async def test_a_home_that_is_not_to_be_archived_stays(
    nfs_hub: FakeHub, server: str, config: dict[str, Any]
) -> None:
    await load(nfs_hub.make_spawner("bob", home=NFS))
    spawner = nfs_hub.make_spawner("bob", server, **config)
    await load(spawner)
    await make_claims(spawner)
    nfs_hub.api.calls.clear()

    await spawner.delete_forever()

    assert nfs_hub.api.writes() == []


async def test_whoever_has_a_named_server_that_runs_is_not_deleted_and_keeps_their_home(
    nfs_hub: FakeHub,
) -> None:
    spawner = nfs_hub.make_spawner("bob", home=NFS)
    await load(spawner)
    await make_claims(spawner)
    nfs_hub.api.calls.clear()
    spawner.user.spawners |= {"": spawner, "gpu": SimpleNamespace(name="gpu", active=True)}

    await spawner.delete_forever()
    assert nfs_hub.api.writes() == []

    spawner.user.spawners["gpu"].active = False
    await spawner.delete_forever()
    assert (CLAIM, "kf-bob", "home-bob") in nfs_hub.api.called("patch")


async def test_a_home_that_may_be_left_is_an_error_and_the_others_are_archived(
    nfs_hub: FakeHub,
) -> None:
    bob = nfs_hub.make_spawner("bob", home=NFS)
    for profile in ("vision", "kf-bob"):
        await load(bob, profile=profile)
        await make_claims(bob)
    silence = ClusterUnreachable("changing", "no answer", "try again")
    nfs_hub.api.refusals[f"patch {CLAIM}"] = [silence]
    nfs_hub.api.calls.clear()

    with pytest.raises(ClusterUnreachable):
        await bob.delete_forever()

    assert len([it for it in nfs_hub.api.called("patch") if it[0] == CLAIM]) == 2


async def test_a_profile_that_cannot_be_written_is_an_error_and_the_homes_are_archived(
    nfs_hub: FakeHub,
) -> None:
    bob = nfs_hub.make_spawner("bob", home=NFS)
    for profile in ("vision", "kf-bob"):
        await load(bob, profile=profile)
        await make_claims(bob)
    nfs_hub.api.refusals["patch Profile"] = [ClusterUnreachable("changing", "no answer", "again")]
    nfs_hub.api.calls.clear()

    with pytest.raises(ClusterUnreachable):
        await bob.delete_forever()

    assert len([it for it in nfs_hub.api.called("patch") if it[0] == CLAIM]) == 2
