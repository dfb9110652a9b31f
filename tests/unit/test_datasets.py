"""What the administrator may say of datasets, and what the provisioner makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traitlets import TraitError

from kfspawner.errors import InputError
from kfspawner.homes.datasets import Dataset, read_datasets
from kfspawner.homes.mounts import Mount, read_mounts, write_mounts
from kfspawner.labels import MOUNTS_ANNOTATION
from tests.fakes.hub import FakeHub

ON_NFS = {"server": "nfs.data", "path": "/data/digits"}
IN_CLAIM = {"claim": "scans"}

GOOD: dict[str, tuple[Any, Dataset]] = {
    "on NFS": (ON_NFS, Dataset("it", "nfs.data", "/data/digits")),
    "the root of an export": ({"server": "n", "path": "/"}, Dataset("it", "n", "/")),
    "in a claim": (IN_CLAIM, Dataset("it", claim="scans")),
    "for some": (
        {**ON_NFS, "profiles": ["vision"]},
        Dataset("it", "nfs.data", "/data/digits", profiles=("vision",)),
    ),
    "for some, as a tuple": (
        {**IN_CLAIM, "profiles": ("vision", "speech")},
        Dataset("it", claim="scans", profiles=("vision", "speech")),
    ),
    "for nobody in particular": ({**IN_CLAIM, "profiles": []}, Dataset("it", claim="scans")),
}


@pytest.mark.parametrize(("raw", "dataset"), GOOD.values(), ids=GOOD)
def test_what_is_declared_is_read(raw: Any, dataset: Dataset) -> None:
    assert read_datasets({"it": raw}) == [dataset]


WAY = "it is neither a claim nor a directory of an NFS server"
TEXTS = "server, path and claim are texts"
LIST = "profiles is no list of names"
BAD: dict[str, tuple[Any, str]] = {
    "nothing": ({}, WAY),
    "no dict": ("nfs.data:/data", "it has other fields"),
    "another field": ({**ON_NFS, "size": "1Gi"}, "it has other fields"),
    "only a server": ({"server": "nfs.data"}, WAY),
    "only a path": ({"path": "/data"}, WAY),
    "a relative path": ({"server": "nfs.data", "path": "data"}, WAY),
    "a path and a claim": ({"path": "/data", "claim": "scans"}, WAY),
    "a server and a claim": ({"server": "nfs.data", "claim": "scans"}, WAY),
    "both": ({**ON_NFS, **IN_CLAIM}, WAY),
    "a relative path and a claim": ({**IN_CLAIM, "server": "n", "path": "data"}, WAY),
    "a server that is a number": ({"server": 3, "path": "/data"}, TEXTS),
    "a path that is none": ({"server": "nfs.data", "path": None}, TEXTS),
    "a claim that is a list": ({"claim": ["scans"]}, TEXTS),
    "profiles that are a text": ({**ON_NFS, "profiles": "vision"}, LIST),
    "profiles that are numbers": ({**ON_NFS, "profiles": [3]}, LIST),
    "profiles that are none": ({**ON_NFS, "profiles": None}, LIST),
}


@pytest.mark.parametrize(("raw", "cause"), BAD.values(), ids=BAD)
def test_what_cannot_be_had_is_refused_by_its_name(raw: Any, cause: str) -> None:
    with pytest.raises(InputError) as refused:
        read_datasets({"good": ON_NFS, "it": raw})

    assert refused.value.doing == "reading c.KfSpawner.datasets['it']"
    assert refused.value.cause == cause
    assert refused.value.way_out


@pytest.mark.parametrize("name", ["", "Digits", "../etc", "a/b", "a--b", "-a", "a-", "ä", "0", 3])
def test_a_name_that_is_no_plain_directory_is_refused(name: Any) -> None:
    with pytest.raises(InputError, match="its name is no directory of a plain name"):
        read_datasets({name: ON_NFS})


@pytest.mark.parametrize("name", ["digits", "mnist-2", "a"])
def test_a_plain_name_is_taken(name: str) -> None:
    assert [it.name for it in read_datasets({name: ON_NFS})] == [name]


def test_a_long_name_is_shortened_where_it_is_told() -> None:
    with pytest.raises(InputError) as refused:
        read_datasets({"x" * 5000: ON_NFS})
    assert len(str(refused.value)) < 400


def test_they_stay_in_their_order() -> None:
    raw = {"b": ON_NFS, "a": IN_CLAIM, "c": ON_NFS}
    assert [it.name for it in read_datasets(raw)] == ["b", "a", "c"]
    assert read_datasets({}) == []


@pytest.mark.parametrize(
    ("profiles", "has"), [((), True), (("vision",), True), (("speech", "visio"), False)]
)
def test_who_has_it(profiles: tuple[str, ...], has: bool) -> None:  # noqa: FBT001
    assert Dataset("digits", claim="scans", profiles=profiles).is_for("vision") is has


def test_one_on_nfs_is_made_read_only_and_for_all() -> None:
    (dataset,) = read_datasets({"digits": ON_NFS})
    assert dataset.to_mount() == Mount(
        "dataset-digits", "/data/digits", server="nfs.data", read_only=True, person=""
    )


def test_one_in_a_claim_is_there_already() -> None:
    (dataset,) = read_datasets({"scans": IN_CLAIM})
    assert dataset.to_mount() is None


@given(st.lists(st.sampled_from(["a", "..", ".", "b..c", ""]), max_size=4).map("/".join))
def test_what_is_taken_is_mounted(path: str) -> None:
    try:
        (dataset,) = read_datasets({"digits": {"server": "nfs.data", "path": f"/{path}"}})
    except InputError:
        return
    mount = dataset.to_mount()
    assert mount
    written = write_mounts({mount.claim: mount})
    # Otherwise each start waits for a claim that nobody makes.
    assert read_mounts({"metadata": {"annotations": {MOUNTS_ANNOTATION: written}}})


async def test_the_hub_does_not_begin_with_one_that_cannot_be_had(hub: FakeHub) -> None:
    with pytest.raises(TraitError, match=r"reading c\.KfSpawner\.datasets\['digits'\]"):
        hub.make_spawner("bob", datasets={"digits": {"server": "nfs.data"}})
    assert hub.make_spawner("bob", datasets={"digits": ON_NFS}).datasets == {"digits": ON_NFS}
