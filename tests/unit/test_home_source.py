"""What `c.KfSpawner.home` may say."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.errors import InputError
from kfspawner.homes.source import HomeSource, read_home_source

OURS = {"server": "nfs.test", "path": "/homes"}


@pytest.mark.parametrize(
    ("raw", "source", "is_ours"),
    [
        (
            OURS,
            HomeSource(
                server="nfs.test",
                path="/homes",
                storage_class="kfspawner-nfs",
                access_modes=("ReadWriteMany",),
            ),
            True,
        ),
        (
            {**OURS, "capacity": "1Ti", "folder_capacity": "100Gi"},
            HomeSource(
                server="nfs.test",
                path="/homes",
                storage_class="kfspawner-nfs",
                access_modes=("ReadWriteMany",),
                capacity="1Ti",
                folder_capacity="100Gi",
            ),
            True,
        ),
        ({"storage_class": "fast"}, HomeSource(storage_class="fast"), False),
        (
            {"storage_class": "a.b-c", "access_modes": ["ReadWriteMany", "ReadWriteOnce"]},
            HomeSource(storage_class="a.b-c", access_modes=("ReadWriteMany", "ReadWriteOnce")),
            False,
        ),
        ({"claim": "team"}, HomeSource(claim="team"), False),
        (
            {"claim": "team", "sub_path": "people/home"},
            HomeSource(claim="team", sub_path="people/home"),
            False,
        ),
        ({}, HomeSource(), False),
        ({"capacity": "", "server": ""}, HomeSource(), False),
        ({"capacity": "5e9"}, HomeSource(capacity="5e9"), False),
    ],
)
def test_there_are_three_ways(raw: dict[str, Any], source: HomeSource, is_ours: bool) -> None:  # noqa: FBT001
    found = read_home_source(raw)
    assert found == source
    assert found.is_ours is is_ours


def test_without_any_it_is_what_the_cluster_does_by_default() -> None:
    assert HomeSource() == HomeSource(
        storage_class="",
        access_modes=("ReadWriteOnce",),
        capacity="10Gi",
        folder_capacity="",
        server="",
        path="",
        claim="",
        sub_path="",
    )


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"nfs": "x", "color": "y"}, "color, nfs is no field; give server, path"),
        ({"x" * 200: ""}, f"{'x' * 80} is no field"),
        ({**OURS, "claim": "team"}, "server and claim are two ways; give one of them"),
        ({**OURS, "storage_class": "fast"}, "server and storage_class are two ways"),
        ({"claim": "team", "storage_class": "fast"}, "storage_class and claim are two ways"),
        ({"server": "nfs.test"}, "path is what the server exports; give it, such as /export"),
        ({"server": "nfs.test", "path": "homes"}, "path is what the server exports"),
        ({"path": "/homes"}, "path and folder_capacity belong to server"),
        ({"claim": "x", "folder_capacity": "1Gi"}, "path and folder_capacity belong to server"),
        ({"sub_path": "people"}, "sub_path 'people' is no directory of a claim; give claim too"),
        ({"claim": "x", "sub_path": "/people"}, "sub_path '/people' is no directory"),
        ({"claim": "x", "sub_path": "a/../b"}, "a relative path without .."),
        ({"claim": "x", "sub_path": "a//b"}, "sub_path 'a//b' is no directory"),
        ({"claim": "x", "sub_path": "./a"}, "sub_path './a' is no directory"),
        ({"claim": "x", "sub_path": "a/"}, "sub_path 'a/' is no directory"),
        ({"claim": "Team"}, "claim 'Team' is no name; give an object's name"),
        ({"claim": "../team"}, "claim '../team' is no name"),
        ({"storage_class": "a b"}, "storage_class 'a b' is no name"),
        ({"storage_class": "a\n"}, r"storage_class 'a\n' is no name"),
        ({"capacity": "lots"}, "capacity 'lots' is no amount of storage; write it as 10Gi"),
        ({"capacity": "0"}, "capacity '0' is no amount"),
        ({"capacity": "-1Gi"}, "capacity '-1Gi' is no amount"),
        ({**OURS, "folder_capacity": "10 Gi"}, "folder_capacity '10 Gi' is no amount"),
        ({"capacity": 10}, "capacity is int; give a text"),
        ({**OURS, "path": None}, "path is NoneType; give a text"),
        ({"access_modes": "ReadWriteMany"}, "access_modes ReadWriteMany; give a list of"),
        ({"access_modes": []}, "access_modes []; give a list of ReadWriteMany, ReadWriteOnce,"),
        ({"access_modes": ["ReadOnlyMany"]}, "access_modes ['ReadOnlyMany']"),
        ({"access_modes": [["ReadWriteMany"]]}, "access_modes [['ReadWriteMany']]; give a list of"),
        ({**OURS, "access_modes": ["ReadWriteOnce"]}, "leave it out: NFS is ReadWriteMany"),
        ({**OURS, "access_modes": "ReadWriteMany"}, "leave it out: NFS is ReadWriteMany"),
    ],
)
def test_everything_else_is_refused(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refused:
        read_home_source(raw)
    assert str(refused.value).startswith("reading c.KfSpawner.home: ")
    assert said in str(refused.value)


FIELDS = st.sampled_from([*OURS, "storage_class", "claim", "sub_path", "capacity", "access_modes"])


@given(st.dictionaries(FIELDS, st.one_of(st.text(max_size=9), st.none(), st.booleans())))
def test_whatever_it_says_it_is_read_or_refused(raw: dict[str, Any]) -> None:
    with suppress(InputError):
        source = read_home_source(raw)
        assert sum(map(bool, (source.server, source.claim))) <= 1
        assert source.capacity
        assert ".." not in source.sub_path.split("/")


@pytest.mark.parametrize(
    ("raw", "person", "sub_path"),
    [
        ({"claim": "team"}, "alice", "alice"),
        ({"claim": "team", "sub_path": "people"}, "alice", "people/alice"),
        ({"claim": "team", "sub_path": "a/b"}, "alice", "a/b/alice"),
        ({"claim": "team"}, "..", "x---"),
        ({"claim": "team"}, "../bob", "bob---"),
        ({"claim": "team"}, "{username}", "username---"),
        # The whole volume is theirs.
        (OURS, "alice", ""),
        ({"storage_class": "fast"}, "alice", ""),
    ],
)
def test_where_in_a_volume_a_persons_directory_is(
    raw: dict[str, Any], person: str, sub_path: str
) -> None:
    found = read_home_source(raw).sub_path_of(person)
    assert found.startswith(sub_path)
    assert found == sub_path or "---" in sub_path


PEOPLE = st.text(min_size=1, max_size=255)


@given(PEOPLE, PEOPLE)
def test_no_two_people_share_one_directory(one: str, other: str) -> None:
    source = read_home_source({"claim": "team", "sub_path": "people"})
    assert (source.sub_path_of(one) == source.sub_path_of(other)) == (one == other)
    assert source.sub_path_of(one).count("/") == 1
