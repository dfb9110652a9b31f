"""A uid for each person: never one for two, and the same again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traitlets import TraitError

from kfspawner.context import ServerContext
from kfspawner.errors import ClusterDenied, InputError, ObjectMissing
from kfspawner.labels import OWNER_IDS_ANNOTATION, PERSON_UID_ANNOTATION
from kfspawner.names import namespace_name
from kfspawner.profiles.directory import Directory
from kfspawner.profiles.profile import make_personal, make_profile
from kfspawner.profiles.uids import UidRange, pick_uid, read_uid, read_uid_range
from kfspawner.training.kinds import RunRequest, make_job
from tests.fakes.api import FakeApi
from tests.fakes.hub import FakeHub, pod_of
from tests.unit.test_directory import ready

FEW = UidRange(20_000, 20_004)
MANY = UidRange(20_000, 999_999_999)


# The range.


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ({}, None),
        ({"first": 1001, "last": 1001}, UidRange(1001, 1001)),
        ({"first": 20_000, "last": 999_999_999}, MANY),
    ],
)
def test_a_range_is_read(raw: dict[str, Any], read: UidRange | None) -> None:
    assert read_uid_range(raw) == read


@pytest.mark.parametrize(
    "raw",
    [
        {"first": 20_000},
        {"first": 20_000, "last": 30_000, "step": 2},
        {"first": "20000", "last": 30_000},
        {"first": True, "last": 30_000},
        {"first": 2e4, "last": 30_000},
        {"first": 1000, "last": 30_000},
        {"first": 0, "last": 30_000},
        {"first": 30_000, "last": 20_000},
        {"first": 20_000, "last": 1_000_000_000},
    ],
)
def test_what_is_no_range_is_refused(raw: dict[str, Any], hub: FakeHub) -> None:
    with pytest.raises(InputError, match=r"reading c\.KfSpawner\.own_uid"):
        read_uid_range(raw)
    with pytest.raises(TraitError, match=r"reading c\.KfSpawner\.own_uid"):
        hub.make_spawner(own_uid=raw)


@given(st.lists(st.text(), unique=True, max_size=5))
def test_nobody_gets_what_another_has(names: list[str]) -> None:
    given_to: dict[int, str] = {}
    for name in names:
        uid = pick_uid(FEW, name, given_to)
        assert FEW.first <= uid <= FEW.last
        assert uid not in given_to
        given_to[uid] = name


def test_a_name_gets_the_same_again() -> None:
    uid = pick_uid(MANY, "alice", ())
    assert pick_uid(MANY, "alice", {uid + 1, 5}) == uid
    assert pick_uid(MANY, "alice", {uid}) == uid + 1


def test_a_range_that_is_all_given_says_so() -> None:
    with pytest.raises(InputError, match=r"giving 'zoe' a uid: all 5 of c\.KfSpawner\.own_uid"):
        pick_uid(FEW, "zoe", set(range(20_000, 20_005)))


@pytest.mark.parametrize("text", ["", "0", "007", "-5", "1e4", "12 34", "1000000000", "\u0661"])
def test_what_is_no_uid_is_none(text: str) -> None:
    assert read_uid(text) is None


# Who has which.


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(*(ready(make_profile(make_personal(it, {}))) for it in ("alice", "bob")))


@pytest.fixture
async def directory(api: FakeApi) -> AsyncIterator[Directory]:
    made = Directory(api)
    await made.ready()
    yield made
    await made.end()


def write(api: FakeApi, user: str, uid: str, **spec: Any) -> None:
    """Write a uid on somebody's Profile by hand."""
    obj = make_profile(make_personal(user, {}))
    obj["metadata"]["annotations"] = {PERSON_UID_ANNOTATION: uid}
    obj["spec"] |= spec
    api.put(obj)


async def test_each_has_their_own_and_keeps_it(directory: Directory, api: FakeApi) -> None:
    few = UidRange(20_000, 20_001)
    users = ["alice", "bob"] * 3
    found = await asyncio.gather(*(directory.ensure_uid(it, few) for it in users))

    assert found[:2] == found[2:4] == found[4:]
    assert set(found) == {20_000, 20_001}
    assert len(api.called("patch")) == 2
    # The next hub, and another range.
    again = Directory(api)
    await again.ready()
    assert [await again.ensure_uid(it, MANY) for it in users] == found
    await again.end()


async def test_what_the_administrator_wrote_counts_before_the_watch_tells_of_it(
    directory: Directory, api: FakeApi
) -> None:
    write(api, "alice", "5012")

    assert await directory.ensure_uid("alice", MANY) == 5012
    assert api.called("patch") == []


async def test_a_template_that_is_applied_leaves_it(directory: Directory, api: FakeApi) -> None:
    await directory.ensure_personal("carol", {})
    uid = await directory.ensure_uid("carol", MANY)
    await directory.ensure_personal("carol", {"quota": {"requests.cpu": "4"}})

    found = api.objects["Profile", "", "kf-carol"]
    assert found["metadata"]["annotations"][PERSON_UID_ANNOTATION] == str(uid)
    assert found["spec"]["resourceQuotaSpec"] == {"hard": {"requests.cpu": "4"}}


@pytest.mark.parametrize(
    ("uid", "spec", "why"),
    [
        ("root", {}, "'root' is no uid"),
        ("0", {}, "'0' is no uid"),
        ("20003", {}, "'20003' is that of kf-bob too"),
        ("", {"owner": {"kind": "User", "name": "mallory"}}, "it is somebody else's"),
        ("20004", {"owner": {"kind": "User", "name": "mallory"}}, "it is somebody else's"),
    ],
)
async def test_a_uid_that_cannot_be_theirs_is_refused(
    api: FakeApi, uid: str, spec: dict[str, Any], why: str
) -> None:
    write(api, "alice", uid, **spec)
    write(api, "bob", "20003")
    directory = Directory(api)
    await directory.ready()

    with pytest.raises(ClusterDenied) as refused:
        await directory.ensure_uid("alice", MANY)

    assert refused.value.doing == "reading the uid of 'alice' from Profile kf-alice"
    assert why in refused.value.cause
    assert api.called("patch") == []
    await directory.end()


async def test_who_has_no_profile_has_no_uid(directory: Directory) -> None:
    with pytest.raises(ObjectMissing, match="there is no kf-zoe"):
        await directory.ensure_uid("zoe", MANY)


# What it is for.


async def test_server_home_and_runs_are_of_one_uid_in_every_profile(hub: FakeHub) -> None:
    hub.share("vision", members={"bob": "edit", "carol": "edit"})
    own = {"first": 20_000, "last": 20_001}
    seen = set()
    for user, profile in (("bob", "vision"), ("bob", "kf-bob"), ("carol", "vision")):
        spawner = hub.make_spawner(user, own_uid=own, home={"server": "nfs.test", "path": "/h"})
        pod = await pod_of(spawner, profile=profile)
        (container,) = pod["spec"]["containers"]
        uid = container["securityContext"]["runAsUser"]
        claim = spawner.get_pvc_manifest()
        assert claim["metadata"]["annotations"][OWNER_IDS_ANNOTATION] == f"{uid}:100"
        env = {it["name"]: it["value"] for it in container["env"] if "value" in it}
        image = f"registry.example/runs@sha256:{'ab' * 32}"
        request = RunRequest("digits", image, ("python",), ServerContext.from_env(env))
        run = make_job(request)["spec"]["template"]["spec"]
        assert run["securityContext"]["runAsUser"] == uid
        seen.add((user, uid))

    assert len(seen) == 2
    assert {uid for _, uid in seen} == {20_000, 20_001}
    kept = hub.api.objects["Profile", "", namespace_name("bob")]["metadata"]["annotations"]
    assert ("bob", int(kept[PERSON_UID_ANNOTATION])) in seen


async def test_without_it_all_are_1000(hub: FakeHub) -> None:
    pod = await pod_of(hub.make_spawner("bob"))

    assert pod["spec"]["containers"][0]["securityContext"]["runAsUser"] == 1000
    annotations = hub.api.objects["Profile", "", "kf-bob"]["metadata"].get("annotations") or {}
    assert PERSON_UID_ANNOTATION not in annotations
