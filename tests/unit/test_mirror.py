"""The mirror of the cluster: what comes late changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from kfspawner.profiles.api import Object
from kfspawner.profiles.mirror import Mirror


def policy(version: int, uid: str = "one", **metadata: Any) -> Object:
    known = {"name": "wall", "namespace": "vision", "uid": uid, "resourceVersion": str(version)}
    return {"kind": "NetworkPolicy", "metadata": {**known, **metadata}, "spec": {}}


def namespace(version: int, uid: str = "it") -> Object:
    metadata = {"name": "vision", "uid": uid, "resourceVersion": str(version)}
    return {"kind": "Namespace", "metadata": metadata}


def uid_of(mirror: Mirror) -> str:
    seen = mirror.find("NetworkPolicy", "wall", "vision")
    return seen.uid if seen else ""


def test_only_what_changed_is_news() -> None:
    mirror = Mirror()
    assert mirror.put(policy(1))
    assert not mirror.put(policy(1))
    # Written, but to say the same.
    assert not mirror.put(policy(2))
    assert mirror.put({**policy(3), "spec": {"podSelector": {}}})
    assert mirror.put({**policy(4), "metadata": policy(4, labels={"a": "b"})["metadata"]})
    assert mirror.drop(policy(5))
    assert not mirror.drop(policy(5))


def test_older_news_is_none() -> None:
    mirror = Mirror()
    mirror.put({**policy(10), "spec": {"podSelector": {}}})

    assert not mirror.put(policy(9))
    assert not mirror.drop(policy(9))
    assert uid_of(mirror) == "one"


def test_the_end_of_a_former_object_is_not_the_end_of_this_one() -> None:
    mirror = Mirror()
    mirror.put(policy(1, "one"))
    mirror.put(policy(3, "two"))

    assert not mirror.drop(policy(4, "one"))
    assert uid_of(mirror) == "two"


def test_an_answer_that_comes_after_the_end_brings_nothing_back() -> None:
    mirror = Mirror()
    mirror.put(policy(1))
    mirror.drop(policy(3))

    assert not mirror.put(policy(2))
    assert uid_of(mirror) == ""
    # Its label was taken off, and is there again.
    assert mirror.put(policy(4))


def test_a_list_that_is_older_than_an_object_does_not_end_it() -> None:
    mirror = Mirror()
    mirror.put(policy(1, "one"))
    known = mirror.versions("NetworkPolicy")
    mirror.put(policy(3, "two"))
    assert mirror.forget("NetworkPolicy", known, ()) == []
    assert uid_of(mirror) == "two"

    key = ("NetworkPolicy", "vision", "wall")
    known = mirror.versions("NetworkPolicy")
    assert mirror.forget("NetworkPolicy", known, {key}) == []
    assert mirror.forget("NetworkPolicy", known, ()) == [key]
    assert uid_of(mirror) == ""


def test_with_a_namespace_goes_what_was_in_it() -> None:
    mirror = Mirror()
    mirror.put(namespace(1))
    mirror.put(policy(2))
    mirror.put(policy(3, "other", namespace="audio"))
    assert [it.name for it in mirror.inside("vision")] == ["wall"]

    assert mirror.drop(namespace(4))
    assert mirror.inside("vision") == []
    assert len(mirror.inside("audio")) == 1


@pytest.mark.parametrize("version", ["", "opaque"])
def test_versions_that_are_no_numbers_are_taken_as_new(version: str) -> None:
    mirror = Mirror()
    mirror.put(policy(5))
    newer = policy(0, resourceVersion=version)

    assert mirror.put({**newer, "spec": {"podSelector": {}}})
