"""Files that are put away and given back, and those of stock KubeSpawner."""

from __future__ import annotations

import json
import secrets
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

from deploy.person import Person
from kfspawner.homes.mounts import Mount, write_mounts
from kfspawner.labels import ARCHIVED_AT_ANNOTATION, MOUNTS_ANNOTATION
from kfspawner.names import home_claim_name, namespace_name
from tests.cluster.claims import bound, claim, run_with, volume_of
from tests.cluster.cluster import Cluster, Object, directory_of, until
from tests.cluster.command import kfspawner
from tests.cluster.conftest import People, Profiles
from tests.cluster.people import Hub


def test_a_deleted_person_leaves_an_archive_and_comes_back_to_it(
    hub: Hub, people: People, cluster: Cluster
) -> None:
    person = people.new()
    profile = namespace_name(person.name)
    person.spawn({"image_profile": "cpu"})
    person.write("thesis.txt", "three years")
    person.stop()

    hub.call("DELETE", f"users/{person.name}").raise_for_status()
    archive = until(lambda: archives(person.name, profile), "the home is archived")[0]
    assert archive["state"].startswith("archived")

    with Person(hub.url, person.name) as again:
        again.sign_in(hub.password)
        again.spawn({"image_profile": "cpu"})
        assert "thesis.txt" not in again.listing()
        again.write("new.txt", "begun anew")
        refused = kfspawner("homes", "archive", profile, person.name)
        assert refused.status == 1
        assert "pods have it mounted" in refused.text
        refused = kfspawner("homes", "restore", profile, person.name)
        assert refused.status == 1
        assert "there are files in its place now" in refused.text
        again.stop()
        until(lambda: not cluster.pods(profile), "the server's pod is gone")

        assert kfspawner("homes", "archive", profile, person.name).status == 0
        restored = kfspawner(
            "homes", "restore", profile, person.name, "--from", archive["archived"]
        )
        assert restored.status == 0, restored.text
        again.spawn({"image_profile": "cpu"})
        assert again.read("thesis.txt") == "three years"
        assert "new.txt" not in again.listing()
        again.stop()
    # What was begun anew is not lost either.
    assert [it["archived"] for it in archives(person.name, profile)] != [archive["archived"]]


def test_a_renamed_person_gets_their_files_under_the_new_name(
    hub: Hub, people: People, cluster: Cluster
) -> None:
    person = people.new()
    old, new = person.name, f"{person.name}-renamed"
    person.spawn({"image_profile": "cpu"})
    person.write("thesis.txt", "three years")
    person.stop()
    until(lambda: not cluster.pods(namespace_name(old)), "the server's pod is gone")
    hub.call("PATCH", f"users/{old}", json={"name": new}).raise_for_status()
    # JupyterHub keeps a person's old address until it ends.
    hub.restart()
    hub.wait(90)
    try:
        with Person(hub.url, new) as renamed:
            renamed.sign_in(hub.password)
            renamed.spawn({"image_profile": "cpu"})
            assert "thesis.txt" not in renamed.listing()
            renamed.stop()
            until(lambda: not cluster.pods(namespace_name(new)), "the server's pod is gone")

            assert kfspawner("homes", "archive", namespace_name(old), old).status == 0
            give = ("homes", "restore", namespace_name(old), old, "--to", new)
            refused = kfspawner(*give)
            assert (refused.status, "already; neither was touched" in refused.text) == (1, True)
            assert kfspawner("homes", "archive", namespace_name(new), new).status == 0
            given = kfspawner(*give)
            assert given.status == 0, given.text

            renamed.spawn({"image_profile": "cpu"})
            assert renamed.read("thesis.txt") == "three years"
    finally:
        hub.forget(new)


def test_a_home_that_another_profiles_pod_has_mounted_stays(
    profiles: Profiles, cluster: Cluster
) -> None:
    name, other = profiles.new("somebody"), profiles.new("somebody")
    claim(cluster, name, home_claim_name("ann"), "1000:100", "ann")
    file = directory_of(volume_of(cluster, "ann", name)) / "kept.txt"
    file.write_text("kept\n")
    mount = Mount("shared-home-ann", f"{name}/ann", read_only=False, person="ann")
    annotations = {MOUNTS_ANNOTATION: write_mounts({mount.claim: mount})}
    cluster.patch_profile(other, {"metadata": {"annotations": annotations}})
    run_with(
        cluster,
        other,
        "elsewhere",
        cluster.images()["hub"],
        "cat /home/kept.txt; sleep 300",
        {"/home": mount.claim},
    )
    until(lambda: cluster.log(other, "elsewhere") == "kept\n", "the pod has it")

    refused = kfspawner("homes", "archive", name, "ann")

    assert refused.status == 1
    assert f"pods have it mounted: {other}/elsewhere" in refused.text
    assert file.read_text() == "kept\n"
    cluster.delete_pod(other, "elsewhere")
    assert kfspawner("homes", "archive", name, "ann").status == 0


def test_whoever_had_only_named_servers_leaves_an_archive_too(
    hub: Hub, people: People, cluster: Cluster
) -> None:
    person = people.new()
    profile = namespace_name(person.name)
    named = person.named("second")
    named.spawn({"image_profile": "cpu"})
    refused = hub.call("DELETE", f"users/{person.name}")
    assert refused.status_code >= 400
    assert archives(person.name, profile) == []
    named.stop()
    until(lambda: not cluster.pods(profile), "the server's pod is gone")

    hub.call("DELETE", f"users/{person.name}").raise_for_status()

    until(lambda: archives(person.name, profile), "the home is archived")


def archives(person: str, profile: str) -> list[Object]:
    """Return what `kfspawner homes` tells of a person's archives."""
    said = kfspawner("homes", "list", profile, "-o", "json")
    assert said.status == 0, said.text
    return [it for it in json.loads(said.text) if it["person"] == person and it["archived"]]


def test_a_purge_needs_an_age_a_confirmation_and_the_administrators_retention(
    profiles: Profiles, cluster: Cluster
) -> None:
    name = profiles.new("somebody")
    claim(cluster, name, home_claim_name("ann"), "1000:100", "ann")
    (directory_of(volume_of(cluster, "ann", name)) / "kept.txt").write_text("kept")
    assert kfspawner("homes", "archive", name, "ann").status == 0
    (volume,) = cluster.volumes(name)
    file = directory_of(volume) / "kept.txt"

    unaged = kfspawner("homes", "purge", name, "ann")
    assert (unaged.status, "--older-than" in unaged.text) == (2, True)
    young = kfspawner("homes", "purge", name, "ann", "--older-than", "1h", "--yes")
    assert (young.status, young.text) == (0, "No archive is that old.\n")
    unconfirmed = kfspawner("homes", "purge", name, "ann", "--older-than", "0s", text="n\n")
    assert (unconfirmed.status, "Delete this archive" in unconfirmed.text) == (1, True)
    kept = kfspawner("homes", "purge", name, "ann", "--older-than", "0s", "--yes")
    assert (kept.status, "it is kept until" in kept.text) == (1, True)
    assert file.read_text() == "kept"

    long_ago = (datetime.now(UTC) - timedelta(days=40)).isoformat()
    aged = {"metadata": {"annotations": {ARCHIVED_AT_ANNOTATION: long_ago}}}
    cluster.core.patch_persistent_volume(volume["metadata"]["name"], aged)
    gone = kfspawner("homes", "purge", name, "ann", "--older-than", "30d", text="y\n")
    assert (gone.status, gone.text.endswith(": Deleted 1.\n")) == (0, True)
    assert not file.parent.exists()
    assert cluster.volumes(name) == []


def test_a_claim_deleted_by_hand_loses_nothing(profiles: Profiles, cluster: Cluster) -> None:
    name, file = profiles.new("somebody"), "kept.txt"
    claim(cluster, name, home_claim_name("ann"), "1000:100", "ann")
    volume = volume_of(cluster, "ann", name)
    (directory_of(volume) / file).write_text("kept")
    cluster.core.delete_namespaced_persistent_volume_claim(home_claim_name("ann"), name)
    until(
        lambda: volume_of(cluster, "ann", name)["status"]["phase"] == "Released", "it is released"
    )

    claim(cluster, name, home_claim_name("ann"), "1000:100", "ann")

    again = volume_of(cluster, "ann", name)
    assert again["metadata"]["uid"] == volume["metadata"]["uid"]
    assert (directory_of(again) / file).read_text() == "kept"


def test_a_deleted_profile_leaves_archives_and_another_of_its_name_begins_empty(
    profiles: Profiles, cluster: Cluster
) -> None:
    name = profiles.new("somebody")
    claim(cluster, name, home_claim_name("ann"), "1000:100", "ann")
    (directory_of(volume_of(cluster, "ann", name)) / "kept.txt").write_text("kept")

    cluster.delete_profile(name)
    (archive,) = until(lambda: archives("ann", name), "it is archived", 90)
    cluster.make_profile(name, "somebody-else")
    claim(cluster, name, home_claim_name("ann"), "1000:100", "ann")

    assert list(directory_of(volume_of(cluster, "ann", name)).glob("*.txt")) == []
    (kept,) = [it for it in cluster.volumes(name) if archive["archived"] in it["metadata"]["name"]]
    assert (directory_of(kept) / "kept.txt").read_text() == "kept"


def test_stock_claims_are_adopted_with_their_files(cluster: Cluster, hub: Hub) -> None:
    person = f"stock-{secrets.token_hex(2)}"
    with ExitStack() as stack:
        cluster.make_namespace(f"{person}-hub")
        stack.callback(cluster.delete_namespace, f"{person}-hub")
        stack.callback(cluster.delete_profile, namespace_name(person))
        name = f"claim-{person}"
        metadata = {
            "name": name,
            "labels": {"component": "singleuser-storage", "app": "jupyterhub"},
            "annotations": {"hub.jupyter.org/username": person},
        }
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        }
        core = cluster.core
        core.create_namespaced_persistent_volume_claim(
            f"{person}-hub", {"metadata": metadata, "spec": spec}
        )
        until(lambda: bound(cluster, f"{person}-hub", name), "the stock claim is bound")
        image = cluster.images()["hub"]
        mine = {"/home/jovyan": name}
        run_with(cluster, f"{person}-hub", "w", image, "echo old > /home/jovyan/old.txt", mine)
        cluster.last_words(f"{person}-hub", "w")
        stays = kfspawner("homes", "adopt", "--from", f"{person}-hub")
        assert (stays.status, "stays; pods hold it: stop or delete w" in stays.text) == (1, True)
        cluster.delete_pod(f"{person}-hub", "w")

        dry = kfspawner("homes", "adopt", "--from", f"{person}-hub", "--dry-run")
        assert f"{person}-hub/{name}: would become the home of '{person}'" in dry.text
        assert bound(cluster, f"{person}-hub", name)
        done = kfspawner("homes", "adopt", "--from", f"{person}-hub")
        assert done.status == 0, done.text

        with Person(hub.url, person) as signed_in:
            signed_in.sign_in(hub.password)
            signed_in.spawn({"image_profile": "cpu"})
            assert signed_in.read("old.txt") == "old\n"
        hub.forget(person)
