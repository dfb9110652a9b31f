"""What is written of mounts on Profiles, what is made of it, and what is done next."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.homes.datasets import Dataset
from kfspawner.homes.mounts import (
    Made,
    Mount,
    make_mount_claim,
    make_mount_volume,
    read_made,
    read_mounts,
    source_of,
    volume_name,
    write_mounts,
)
from kfspawner.homes.place import FOLDER_CLAIM, Place
from kfspawner.homes.volume import Server
from kfspawner.labels import MOUNTS_ANNOTATION, VOLUME_LABEL
from kfspawner.names import home_claim_name, namespace_name
from kfspawner.profiles.api import Object

OWN = Server("nfs.test", "/homes", ("hard", "vers=4.2"))
FOLDER = Mount.of_folder("vision", "bob", read_only=True)
HOME = Mount("shared-home-bob", "kf-bob/bob", read_only=False, person="bob")
DATA = Mount("dataset-digits", "/data/digits", server="nfs.data")

TEXT = st.text(st.characters(codec="utf-8"))
PATHS = TEXT.filter(lambda it: it and ".." not in it.split("/"))
MOUNTS = st.builds(Mount, TEXT, PATHS, TEXT, st.booleans(), TEXT)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT | st.just("path"), inner),
)


def saying(text: str) -> Object:
    """Return a Profile that has `text` for its mounts."""
    return {"metadata": {"name": "kf-bob", "annotations": {MOUNTS_ANNOTATION: text}}}


def existing(manifest: Object, **metadata: Any) -> Object:
    """Return what the cluster has of a manifest."""
    return {**manifest, "metadata": {**manifest["metadata"], "uid": "uid-1", **metadata}}


# On a Profile.


@given(st.lists(MOUNTS))
def test_what_is_written_is_what_is_read(mounts: list[Mount]) -> None:
    wanted = {it.claim: it for it in mounts}
    assert read_mounts(saying(write_mounts(wanted))) == wanted


def test_what_is_written_is_short_and_always_the_same() -> None:
    one, other = {it.claim: it for it in (HOME, DATA)}, {it.claim: it for it in (DATA, HOME)}

    assert write_mounts(one) == write_mounts(other)
    assert json.loads(write_mounts(one)) == {
        "dataset-digits": {"path": "/data/digits", "server": "nfs.data", "readOnly": True},
        "shared-home-bob": {"path": "kf-bob/bob", "readOnly": False, "person": "bob"},
    }


def test_what_does_not_say_so_is_not_written_to() -> None:
    (mount,) = read_mounts(saying('{"dataset-a": {"path": "a"}}')).values()
    assert mount == Mount("dataset-a", "a", server="", read_only=True, person="")


@pytest.mark.parametrize("annotations", [None, {}, {"kfspawner.io/members": "{}"}])
def test_a_profile_that_says_nothing_mounts_nothing(annotations: dict[str, str] | None) -> None:
    assert read_mounts({"metadata": {"annotations": annotations}}) == {}
    assert read_mounts({"metadata": {}}) == {}


MALFORMED = {
    "empty": "",
    "no JSON": "{",
    "a list": "[]",
    "nothing": "null",
    "a number": "3",
    "too deep": "[" * 100_000,
    "too long a number": f'{{"a": {"9" * 5000}}}',
    "a mount that is a number": '{"b": 1}',
    "a mount that is nothing": '{"a": null}',
    "a mount that is a list": '{"a": []}',
    "a mount without a path": '{"a": {"server": "nfs.data"}}',
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_what_cannot_be_read_counts_as_nothing(text: str) -> None:
    assert read_mounts(saying(text)) == {}


@given(TEXT | JSON.map(json.dumps) | st.dictionaries(TEXT, JSON).map(json.dumps))
def test_whatever_is_written_can_be_looked_at(text: str) -> None:
    for claim, mount in read_mounts(saying(text)).items():
        assert mount.claim == claim
        assert ".." not in mount.path.split("/")


@pytest.mark.parametrize("path", ["..", "../etc", "a/../../etc", "a/..", "/data/../etc"])
def test_nothing_above_an_export_is_mounted(path: str) -> None:
    text = json.dumps({"bad": {"path": path}, "good": {"path": "vision/_shared"}})
    assert read_mounts(saying(text)) == {"good": Mount("good", "vision/_shared")}


@pytest.mark.parametrize("path", ["a..b", "..a/b", "a/..."])
def test_dots_in_a_name_go_nowhere(path: str) -> None:
    assert read_mounts(saying(json.dumps({"a": {"path": path}}))) == {"a": Mount("a", path)}


# Names.

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
PEOPLE = st.text(min_size=1)


def claims_of(text: str) -> list[str]:
    """Return every claim that is made for a profile, a person or a dataset of such a name."""
    dataset = Dataset(text, "nfs.data", "/data").to_mount()
    assert dataset
    return [
        FOLDER_CLAIM,
        home_claim_name(text),
        Place("vision", text).shared_claim,
        Mount.of_folder(text, "bob", read_only=True).claim,
        dataset.claim,
    ]


@given(PEOPLE, PEOPLE)
def test_two_never_share_a_claim(one: str, other: str) -> None:
    found = [*claims_of(one), *claims_of(other)[1:]] if one != other else claims_of(one)
    assert len(set(found)) == len(found)


@given(PEOPLE)
def test_the_cluster_takes_every_name(text: str) -> None:
    for claim in claims_of(text):
        name = volume_name(namespace_name(text), claim)
        for it in (claim, name):
            assert NAME.fullmatch(it)
            assert len(it) <= 253


@given(st.tuples(PEOPLE, PEOPLE), st.tuples(PEOPLE, PEOPLE))
def test_two_mounts_never_share_a_volume(people: tuple[str, str], seen: tuple[str, str]) -> None:
    claims = {Mount.of_folder(it, "", read_only=True).claim for it in seen}
    names = {volume_name(namespace_name(it), claim) for it in people for claim in claims}
    assert len(names) == len(set(people)) * len(set(seen))


# What is made.


def test_the_volume_of_a_folder_is_read_only_for_who_only_looks() -> None:
    assert make_mount_volume("kf-bob", FOLDER, OWN) == {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": "mount.kf-bob.folder-vision",
            "labels": {
                "app.kubernetes.io/managed-by": "kfspawner",
                "kfspawner.io/volume": "mount",
                "kfspawner.io/profile": "kf-bob",
            },
            "annotations": {"pv.kubernetes.io/provisioned-by": "kfspawner.io/nfs"},
        },
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "capacity": {"storage": "1Mi"},
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "kfspawner-nfs",
            "volumeMode": "Filesystem",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": "kf-bob",
                "name": "folder-vision",
            },
            "nfs": {"server": "nfs.test", "path": "/homes/vision/_shared", "readOnly": True},
            "mountOptions": ["hard", "vers=4.2", "ro"],
        },
    }


@pytest.mark.parametrize(
    ("mount", "server", "nfs", "mode", "options"),
    [
        (
            HOME,
            OWN,
            ("nfs.test", "/homes/kf-bob/bob", False),
            "ReadWriteMany",
            ["hard", "vers=4.2"],
        ),
        (HOME, Server("n", "/"), ("n", "/kf-bob/bob", False), "ReadWriteMany", None),
        (FOLDER, Server("n", "/x/"), ("n", "/x/vision/_shared", True), "ReadOnlyMany", ["ro"]),
        # Another server's options are not ours.
        (DATA, OWN, ("nfs.data", "/data/digits", True), "ReadOnlyMany", ["ro"]),
    ],
    ids=["home", "root", "trailing slash", "dataset"],
)
def test_how_each_is_mounted(
    mount: Mount,
    server: Server,
    nfs: tuple[str, str, bool],
    mode: str,
    options: list[str] | None,
) -> None:
    spec = make_mount_volume("vision", mount, server)["spec"]

    assert spec["nfs"] == dict(zip(("server", "path", "readOnly"), nfs, strict=True))
    assert spec["accessModes"] == [mode]
    assert spec.get("mountOptions") == options
    assert make_mount_claim("vision", mount)["spec"]["accessModes"] == [mode]


def test_a_claim_gets_its_own_volume_and_no_other() -> None:
    claim, volume = make_mount_claim("kf-bob", FOLDER), make_mount_volume("kf-bob", FOLDER, OWN)

    reference = {key: volume["spec"]["claimRef"][key] for key in ("namespace", "name")}
    assert reference == {key: claim["metadata"][key] for key in reference}
    assert claim == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "folder-vision",
            "namespace": "kf-bob",
            "labels": {
                "app.kubernetes.io/managed-by": "kfspawner",
                "kfspawner.io/volume": "mount",
            },
            "annotations": {
                "kfspawner.io/mounts": '{"path": "vision/_shared", "person": "bob", '
                '"readOnly": true}'
            },
        },
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "resources": {"requests": volume["spec"]["capacity"]},
            "storageClassName": volume["spec"]["storageClassName"],
        },
    }


# What was made.


@given(MOUNTS, st.sampled_from([OWN, Server("n", "/")]))
def test_what_was_made_is_known_again(mount: Mount, server: Server) -> None:
    name = volume_name("kf-bob", mount.claim)
    volume = read_made(existing(make_mount_volume("kf-bob", mount, server)))
    claim = read_made(existing(make_mount_claim("kf-bob", mount)))

    # If it were not, it would be made and taken away for ever.
    source = source_of(mount, server)
    assert volume == Made("kf-bob", mount.claim, name, "uid-1", source=source)
    assert claim == Made("kf-bob", mount.claim, mount.claim, "uid-1", mount.said)


def test_a_volume_that_does_not_say_so_can_be_written_to() -> None:
    volume = existing(make_mount_volume("kf-bob", FOLDER, OWN))
    # The API leaves out what is false.
    del volume["spec"]["nfs"]["readOnly"]
    made = read_made(volume)
    assert made
    assert made.source == ("nfs.test", "/homes/vision/_shared", False)


CLAIM_OBJECT = existing(make_mount_claim("kf-bob", FOLDER))
VOLUME_OBJECT = existing(make_mount_volume("kf-bob", FOLDER, OWN))
GOING = {"deletionTimestamp": "2026-11-24T10:15:00Z"}


@pytest.mark.parametrize("it", [CLAIM_OBJECT, VOLUME_OBJECT], ids=["claim", "volume"])
@pytest.mark.parametrize(
    "metadata",
    [
        GOING,
        {"labels": None},
        {"labels": {}},
        *({"labels": {VOLUME_LABEL: it}} for it in ("home", "")),
    ],
    ids=["going", "no labels", "unlabelled", "a home", "nothing in it"],
)
def test_what_is_no_mount_or_is_going_is_left_alone(it: Object, metadata: Object) -> None:
    assert read_made(it)
    assert read_made(existing(it, **metadata)) is None


@pytest.mark.parametrize(
    "reference",
    [
        None,
        {},
        {"namespace": "kf-eve", "name": "folder-vision"},
        {"namespace": "kf-bob", "name": "x"},
    ],
)
def test_a_volume_whose_name_says_otherwise_was_written_by_others(reference: Object | None) -> None:
    spec = {**VOLUME_OBJECT["spec"], "claimRef": reference}
    assert read_made({**VOLUME_OBJECT, "spec": spec}) is None


def test_a_volume_that_somebody_labelled_is_no_mount() -> None:
    spec = {"hostPath": {"path": "/data"}, "claimRef": VOLUME_OBJECT["spec"]["claimRef"]}
    assert read_made({**VOLUME_OBJECT, "spec": spec}) is None
