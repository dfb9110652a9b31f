"""Whose directory is where, and the volumes of it: made, marked, given to another claim."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kfspawner.errors import HomeError
from kfspawner.homes.ledger import Claim, Content, Volume, read_volume
from kfspawner.homes.place import Archived, Place, make_stamp
from kfspawner.homes.volume import (
    Server,
    make_archive_mark,
    make_archive_volume,
    make_rebinding,
    make_restored_volume,
    make_volume,
)
from kfspawner.names import slug
from kfspawner.profiles.api import Object
from tests.fakes.homes import ALICE, FOLDER, SERVER

MOMENT = datetime(2026, 11, 24, 10, 15, tzinfo=UTC)
STAMP = "20261124t101500-000z"

# Names. What people are called: anything, and often what looks like a path or a label.
PEOPLE = st.one_of(
    st.text(st.characters(), min_size=1, max_size=255),
    st.from_regex(r"[a-zA-Z0-9@._/{}-]{1,70}", fullmatch=True),
    st.from_regex(r"[a-z0-9-]{1,70}", fullmatch=True),
    st.sampled_from(["..", "../", ".", "/", "{username}", "_shared", "_archive", "🦊", "x" * 255]),
)
PROFILES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
PLACES = st.builds(Place, PROFILES, st.one_of(st.just(""), PEOPLE))
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
LABEL = re.compile(_LABEL)
SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def names_of(place: Place) -> tuple[str, str, tuple[str, str]]:
    return place.directory, place.volume, (place.profile, place.claim)


@given(PLACES, PLACES)
@example(Place("vision"), Place("vision", "_shared"))
@example(Place("vision"), Place("vision", "profile-folder"))
@example(Place("vision", "bob"), Place("vision", "../bob"))
@example(Place("home", "vision"), Place("vision", "home"))
@example(Place("a", "b.c"), Place("a", "b"))
def test_two_places_share_no_name(one: Place, other: Place) -> None:
    archives = [it.archived(STAMP) for it in (one, other)]
    pairs = [*zip(names_of(one), names_of(other), strict=True)]
    pairs += [
        (getattr(archives[0], it), getattr(archives[1], it)) for it in ("directory", "volume")
    ]
    for name, other_name in pairs:
        assert (name == other_name) == (one == other)


@given(PLACES)
def test_names_are_valid_whoever_it_is(place: Place) -> None:
    archived = Archived(place, STAMP)
    for name in (place.volume, archived.volume):
        assert SUBDOMAIN.fullmatch(name)
        assert len(name) <= 253
    assert LABEL.fullmatch(place.claim)


@given(PLACES)
def test_no_name_leads_out_of_its_directory(place: Place) -> None:
    profile, person = place.directory.split("/")
    assert profile == place.profile
    if place.is_folder:
        assert person == "_shared"
    else:
        assert LABEL.fullmatch(person)
        assert person[0].isalpha()
    archive, profile, files = Archived(place, STAMP).directory.split("/")
    assert (archive, profile, files) == ("_archive", place.profile, f"{person}.{STAMP}")


@given(PLACES, st.datetimes(timezones=st.timezones(), min_value=datetime(2000, 1, 1)))
def test_no_archive_has_the_name_of_a_place(place: Place, moment: datetime) -> None:
    archived = place.archived(make_stamp(moment))
    assert archived.volume.split(".")[0] not in place.volume.split(".")[:1]
    assert archived.directory.split("/")[0] != place.profile


def test_a_stamp_is_the_same_everywhere() -> None:
    there = timezone(timedelta(hours=9))
    assert make_stamp(MOMENT.astimezone(there)) == make_stamp(MOMENT) == STAMP
    assert make_stamp(MOMENT + timedelta(milliseconds=7)) == "20261124t101500-007z"


@pytest.mark.parametrize(
    ("place", "called"),
    [
        (ALICE, "the home of 'alice' in profile vision"),
        (FOLDER, "the folder of profile vision"),
        (Place("vision", "a\nb"), r"the home of 'a\nb' in profile vision"),
    ],
)
def test_what_messages_call_it(place: Place, called: str) -> None:
    assert str(place) == called


def test_a_long_name_is_shortened_in_messages() -> None:
    assert len(str(Place("vision", "x" * 255))) < 120


# Volumes.


def make_claim(place: Place | None = ALICE) -> Claim:
    name = place.claim if place else "data"
    return Claim(
        namespace="vision",
        name=name,
        uid="uid-claim",
        place=place,
        ids=(1000, 100),
        volume="",
        capacity="10Gi",
        storage_class="kfspawner-nfs",
        request="",
        trouble="",
        ending=False,
    )


def read_back(manifest: Object) -> Volume:
    """Return what the provisioner reads of a volume when the cluster has it."""
    metadata = {**manifest["metadata"], "uid": "uid-volume", "resourceVersion": "7"}
    volume = read_volume({**manifest, "metadata": metadata})
    assert volume
    return volume


def test_the_volume_of_a_home() -> None:
    assert make_volume(make_claim(), "uid-vision", SERVER) == {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": "home.vision.alice",
            "labels": {
                "app.kubernetes.io/managed-by": "kfspawner",
                "kfspawner.io/volume": "home",
                "kfspawner.io/profile": "vision",
                "kfspawner.io/user": "alice",
            },
            "annotations": {
                "pv.kubernetes.io/provisioned-by": "kfspawner.io/nfs",
                "kfspawner.io/user-name": "alice",
                "kfspawner.io/namespace-uid": "uid-vision",
                "kfspawner.io/owner-ids": "1000:100",
            },
        },
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "capacity": {"storage": "10Gi"},
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "kfspawner-nfs",
            "volumeMode": "Filesystem",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": "vision",
                "name": "home-alice",
                "uid": "uid-claim",
            },
            "nfs": {"server": "nfs.test", "path": "/homes/vision/alice"},
            "mountOptions": ["hard"],
        },
    }


@pytest.mark.parametrize("path", ["/homes", "/homes/", "/", "/a/b"])
def test_where_nodes_mount_it_from(path: str) -> None:
    spec = make_volume(make_claim(), "uid-vision", Server("nfs.test", path))["spec"]

    assert spec["nfs"]["path"] == f"{path.rstrip('/')}/vision/alice"
    assert "mountOptions" not in spec
    assert str(Server("nfs.test", path)) == f"nfs.test:{path}"


def test_a_folder_is_nobodys_own() -> None:
    metadata = make_volume(make_claim(FOLDER), "uid-vision", SERVER)["metadata"]

    assert metadata["name"] == "folder.vision"
    assert metadata["labels"]["kfspawner.io/volume"] == "folder"
    assert "kfspawner.io/user" not in metadata["labels"]
    assert "kfspawner.io/user-name" not in metadata["annotations"]


def test_a_claim_of_nobodys_files_gets_none() -> None:
    with pytest.raises(HomeError, match=r"^making a volume for claim data in vision: .* neither; "):
        make_volume(make_claim(None), "uid-vision", SERVER)


@given(PLACES, st.sampled_from(["", "/deep/er"]))
def test_what_is_made_is_read_back(place: Place, path: str) -> None:
    server = Server("nfs.test", path)
    claim = replace(make_claim(place), namespace=place.profile, ids=(1001, 50))

    volume = read_back(make_volume(claim, "uid-vision", server))

    assert volume == Volume(
        name=place.volume,
        uid="uid-volume",
        version="7",
        place=place,
        content=Content.FOLDER if place.is_folder else Content.HOME,
        claim=(place.profile, place.claim, "uid-claim"),
        namespace_uid="uid-vision",
        ids=(1001, 50),
        capacity="10Gi",
        storage_class="kfspawner-nfs",
        path=f"{path}/{place.directory}",
        request="",
        trouble="",
        archived_as="",
        archived_at=None,
    )
    label = make_volume(claim, "uid-vision", server)["metadata"]["labels"].get("kfspawner.io/user")
    assert label == (None if place.is_folder else slug(place.person))


USAGES: list[dict[str, Any]] = [
    {},
    {"used": 0, "changed": MOMENT, "measured": MOMENT + timedelta(hours=1)},
]


@given(PLACES, st.sampled_from(USAGES))
def test_files_are_the_same_after_they_were_archived_and_given_back(
    place: Place, usage: dict[str, Any]
) -> None:
    claim = replace(make_claim(place), namespace=place.profile)
    live = replace(read_back(make_volume(claim, "uid-vision", SERVER)), **usage)
    marked = replace(live, archived_as=STAMP, archived_at=MOMENT, request="archive", trouble="x")

    archive = read_back(make_archive_volume(marked, SERVER))
    assert archive == replace(
        marked,
        name=place.archived(STAMP).volume,
        content=Content.ARCHIVE,
        # Nobody's: not even somebody's who finds it.
        claim=("kfspawner-archive", place.archived(STAMP).volume, ""),
        path=f"/homes/{place.archived(STAMP).directory}",
        request="",
        trouble="",
    )

    asked = replace(archive, request="restore", trouble="it was not free")
    restored = read_back(make_restored_volume(asked, "uid-vision-2", SERVER))
    assert restored == replace(
        live,
        claim=(place.profile, place.claim, ""),
        namespace_uid="uid-vision-2",
        restored_from=STAMP,
    )


def test_a_mark_says_from_when_on_and_only_of_what_was_seen() -> None:
    volume = read_back(make_volume(make_claim(), "uid-vision", SERVER))

    assert make_archive_mark(volume, MOMENT) == {
        "metadata": {
            "resourceVersion": "7",
            "annotations": {
                "kfspawner.io/archived-as": STAMP,
                "kfspawner.io/archived-at": "2026-11-24T10:15:00+00:00",
            },
        }
    }


def test_a_volume_is_given_to_the_claim_that_is_there_now() -> None:
    volume = read_back(make_volume(make_claim(), "uid-vision", SERVER))
    claim = replace(make_claim(), uid="uid-new", capacity="20Gi")

    assert make_rebinding(volume, claim, "uid-vision-2") == {
        "metadata": {
            "resourceVersion": "7",
            "annotations": {"kfspawner.io/namespace-uid": "uid-vision-2"},
        },
        "spec": {
            "capacity": {"storage": "20Gi"},
            "claimRef": {
                "namespace": "vision",
                "name": "home-alice",
                "uid": "uid-new",
                # The cluster's own note of the claim that is gone.
                "resourceVersion": None,
            },
        },
    }
