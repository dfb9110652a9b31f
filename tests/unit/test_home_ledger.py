"""What claims, volumes and namespaces say of whose files are where."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.homes.ledger import Claim, Content, Volume, read_claim, read_namespace, read_volume
from kfspawner.homes.place import Place
from kfspawner.names import home_claim_name
from kfspawner.profiles.api import Object
from tests.fakes.homes import ALICE, FOLDER, make_namespace

MOMENT = datetime(2026, 11, 24, 10, 15, tzinfo=UTC)


def make_claim(name: str = "home-alice", **annotations: str) -> Object:
    named = {f"kfspawner.io/{key.replace('_', '-')}": it for key, it in annotations.items()}
    return {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "vision", "uid": "uid-1", "annotations": named},
        "spec": {
            "storageClassName": "kfspawner-nfs",
            "resources": {"requests": {"storage": "10Gi"}},
        },
    }


def make_volume(**annotations: str) -> Object:
    named = {f"kfspawner.io/{key.replace('_', '-')}": it for key, it in annotations.items()}
    return {
        "kind": "PersistentVolume",
        "metadata": {
            "name": "home.vision.alice",
            "uid": "uid-2",
            "resourceVersion": "7",
            "labels": {"kfspawner.io/volume": "home", "kfspawner.io/profile": "vision"},
            "annotations": {"kfspawner.io/user-name": "alice", **named},
        },
        "spec": {
            "capacity": {"storage": "10Gi"},
            "claimRef": {"namespace": "vision", "name": "home-alice", "uid": "uid-1"},
            "nfs": {"server": "nfs.test", "path": "/homes/vision/alice"},
            "storageClassName": "kfspawner-nfs",
        },
    }


def changed(obj: Object, **parts: Any) -> Object:
    """Return an object with parts of its metadata or spec in place of what they were."""
    made = copy.deepcopy(obj)
    for name, value in parts.items():
        part = (
            made["metadata"] if name in ("name", "labels", "annotations", "uid") else made["spec"]
        )
        part[name] = value
    return made


def read_claim_of(obj: Object) -> Claim:
    claim = read_claim(obj)
    assert claim
    return claim


def read_volume_of(obj: Object) -> Volume:
    volume = read_volume(obj)
    assert volume
    return volume


def test_a_claim() -> None:
    assert read_claim(make_claim(user_name="alice", owner_ids="1001:50")) == Claim(
        namespace="vision",
        name="home-alice",
        uid="uid-1",
        place=ALICE,
        ids=(1001, 50),
        volume="",
        capacity="10Gi",
        storage_class="kfspawner-nfs",
        request="",
        trouble="",
        ending=False,
    )


def test_what_is_asked_of_a_claim_and_how_it_stands() -> None:
    claim = make_claim(user_name="alice", request="archive", trouble="no answer")
    claim["metadata"]["deletionTimestamp"] = "2026-11-24T10:15:00Z"

    found = read_claim_of(changed(claim, volumeName="home.vision.alice"))

    assert (found.request, found.trouble, found.ending) == ("archive", "no answer", True)
    assert found.volume == "home.vision.alice"


@pytest.mark.parametrize("storage_class", ["standard", "", None, "kfspawner-nfs-2"])
def test_a_claim_of_another_class_is_not_ours(storage_class: str | None) -> None:
    claim = make_claim(user_name="alice")
    assert read_claim(changed(claim, storageClassName=storage_class)) is None
    del claim["spec"]["storageClassName"]
    assert read_claim(claim) is None


@pytest.mark.parametrize(
    ("name", "user", "place"),
    [
        ("home-alice", "alice", ALICE),
        ("profile-folder", "", FOLDER),
        # Whoever writes it, it is the profile's.
        ("profile-folder", "alice", FOLDER),
        (home_claim_name("Ünal 🦊"), "Ünal 🦊", Place("vision", "Ünal 🦊")),
        (home_claim_name("../bob"), "../bob", Place("vision", "../bob")),
        ("home-alice", "", None),
        ("home-alice", "bob", None),
        ("home-alice", "Alice", None),
        ("data", "alice", None),
        ("home-", "", None),
    ],
)
def test_whose_files_a_claim_claims(name: str, user: str, place: Place | None) -> None:
    assert read_claim_of(make_claim(name, user_name=user)).place == place


def test_a_claim_without_annotations_is_nobodys() -> None:
    assert read_claim_of(changed(make_claim(), annotations=None)).place is None


@pytest.mark.parametrize(
    ("written", "ids"),
    [
        ("1000:100", (1000, 100)),
        ("0:0", (0, 0)),
        ("999999999:999999999", (999999999, 999999999)),
        ("", (1000, 100)),
        ("1001", (1000, 100)),
        ("-1:100", (1000, 100)),
        ("1001:100:7", (1000, 100)),
        ("1001:100\n", (1000, 100)),
        ("\N{ARABIC-INDIC DIGIT ONE}:100", (1000, 100)),
        ("4294967296:100", (1000, 100)),
    ],
)
def test_who_is_to_own_it(written: str, ids: tuple[int, int]) -> None:
    assert read_claim_of(make_claim(user_name="alice", owner_ids=written)).ids == ids


def test_a_volume() -> None:
    annotations = {
        "namespace_uid": "uid-vision",
        "owner_ids": "1001:50",
        "used_bytes": "4096",
        "last_change": "2026-11-24T10:15:00+00:00",
        "measured_at": "2026-11-24T11:15:00+01:00",
    }
    assert read_volume(make_volume(**annotations)) == Volume(
        name="home.vision.alice",
        uid="uid-2",
        version="7",
        place=ALICE,
        content=Content.HOME,
        claim=("vision", "home-alice", "uid-1"),
        namespace_uid="uid-vision",
        ids=(1001, 50),
        capacity="10Gi",
        storage_class="kfspawner-nfs",
        path="/homes/vision/alice",
        request="",
        trouble="",
        archived_as="",
        archived_at=None,
        used=4096,
        changed=MOMENT,
        measured=MOMENT,
    )


def test_a_volume_that_is_archived() -> None:
    annotations = {
        "archived_as": "20261124t101500-000z",
        "archived_at": "2026-11-24T10:15:00+00:00",
        "request": "purge",
        "trouble": "it is kept",
    }
    labels = {"kfspawner.io/volume": "archive", "kfspawner.io/profile": "vision"}
    nfs = {"server": "nfs.test", "path": "/homes/_archive/vision/alice.20261124t101500-000z"}
    name = "archive.home.vision.alice.20261124t101500-000z"
    found = read_volume_of(changed(make_volume(**annotations), labels=labels, name=name, nfs=nfs))

    assert found.is_archive
    assert not read_volume_of(make_volume()).is_archive
    assert (found.archived_as, found.archived_at) == ("20261124t101500-000z", MOMENT)
    assert (found.request, found.trouble) == ("purge", "it is kept")


@pytest.mark.parametrize(
    "labels",
    [None, {}, {"kfspawner.io/profile": "vision"}, {"kfspawner.io/volume": "data"}],
)
def test_a_volume_without_our_label_is_not_ours(labels: dict[str, str] | None) -> None:
    assert read_volume(changed(make_volume(), labels=labels)) is None


def test_a_volume_on_another_kind_of_storage_is_not_ours() -> None:
    volume = make_volume()
    volume["spec"]["hostPath"] = volume["spec"].pop("nfs")
    assert read_volume(volume) is None


def test_a_volume_that_is_going_is_none() -> None:
    volume = make_volume()
    volume["metadata"]["deletionTimestamp"] = "2026-11-24T10:15:00Z"
    assert read_volume(volume) is None


def test_a_volume_may_be_for_nobody() -> None:
    assert read_volume_of(changed(make_volume(), claimRef=None)).claim == ("", "", "")


@pytest.mark.parametrize(
    "parts",
    [
        {"annotations": {}},
        {"annotations": {"kfspawner.io/user-name": "bob"}},
        {"labels": {"kfspawner.io/volume": "home"}},
        {"labels": {"kfspawner.io/volume": "home", "kfspawner.io/profile": "speech"}},
        {"labels": {"kfspawner.io/volume": "folder", "kfspawner.io/profile": "vision"}},
        {"name": "folder.vision"},
        {"nfs": {"server": "nfs.test", "path": "/homes/vision/bob"}},
    ],
    ids=[
        "whose not said",
        "whose changed",
        "where not said",
        "where changed",
        "what",
        "name",
        "path",
    ],
)
def test_a_volume_whose_name_says_otherwise_is_not_ours(parts: Object) -> None:
    assert read_volume(changed(make_volume(), **parts)) is None


@pytest.mark.parametrize(
    "written",
    [
        "",
        "yesterday",
        "2026-13-01T00:00:00+00:00",
        "20261124t101500-000z",
        "9" * 30,
        "\0",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_a_malformed_moment_is_none(written: str) -> None:
    found = read_volume_of(
        make_volume(archived_at=written, last_change=written, measured_at=written)
    )
    assert (found.archived_at, found.changed, found.measured) == (None, None, None)


@pytest.mark.parametrize(
    ("written", "used"), [("0", 0), ("4096", 4096), ("", None), ("-1", None), ("4k", None)]
)
def test_how_much_is_in_it(written: str, used: int | None) -> None:
    assert read_volume_of(make_volume(used_bytes=written)).used == used


ANNOTATIONS = (
    *("owner_ids", "request", "trouble", "archived_as", "archived_at"),
    *("used_bytes", "last_change", "measured_at", "namespace_uid"),
)


@given(st.dictionaries(st.sampled_from(ANNOTATIONS), st.text(max_size=30)))
def test_whatever_is_written_on_them_they_are_read(annotations: dict[str, str]) -> None:
    assert read_volume_of(make_volume(**annotations)).place == ALICE
    assert read_claim_of(make_claim(**annotations, user_name="alice")).place == ALICE


@pytest.mark.parametrize(
    ("labels", "is_profiles"),
    [({"kfspawner.io/profile": "vision"}, True), ({"team": "vision"}, False)],
)
def test_whether_a_namespace_is_a_profiles(labels: dict[str, str], is_profiles: bool) -> None:  # noqa: FBT001
    namespace = changed(make_namespace(**labels), uid="uid-vision")
    found = read_namespace(namespace)
    assert (found.uid, found.is_profiles) == ("uid-vision", is_profiles)
    assert not read_namespace(changed(namespace, labels=None)).is_profiles
