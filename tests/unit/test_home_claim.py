"""The claim of a home: made, waited for, found, asked to be put away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kfspawner.errors import ClusterDenied, ClusterError, ClusterUnreachable, ObjectExists
from kfspawner.homes import home
from kfspawner.homes.home import (
    ask_to_archive,
    ensure_home,
    find_home,
    make_home_claim,
    wait_for_mount,
)
from kfspawner.homes.ledger import read_claim
from kfspawner.homes.mounts import Mount, make_mount_claim
from kfspawner.homes.place import Place
from kfspawner.homes.source import HomeSource, read_home_source
from kfspawner.profiles.api import Object
from tests.fakes.api import FakeApi
from tests.fakes.homes import ALICE, CLAIM, FOLDER, SOURCE, make_namespace

OTHER = read_home_source({"storage_class": "fast", "capacity": "5Gi"})
HOME = make_home_claim(SOURCE, ALICE, (1000, 100))
KEY = (CLAIM, "vision", "home-alice")
OUTAGE = ClusterUnreachable("changing", "the Kubernetes API did not answer", "try again")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing as long as people do."""
    monkeypatch.setattr(home, "_BOUND_SECONDS", 0.2)
    monkeypatch.setattr(home, "_BOUND_RETRY", 0.001)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(make_namespace(), make_namespace("speech"))


def changed(claim: Object, status: Object | None = None, **metadata: Any) -> Object:
    made = {**claim, "metadata": {**claim["metadata"], **metadata}}
    return {**made, "status": status} if status else made


def bound(claim: Object = HOME) -> Object:
    return changed(claim, {"phase": "Bound"})


def annotated(**annotations: str) -> Object:
    named = {f"kfspawner.io/{key.replace('_', '-')}": it for key, it in annotations.items()}
    return changed(HOME, annotations={**HOME["metadata"]["annotations"], **named})


def test_the_claim_of_a_home_that_our_provisioner_makes() -> None:
    assert HOME == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "home-alice",
            "namespace": "vision",
            "labels": {
                "app.kubernetes.io/managed-by": "kfspawner",
                "kfspawner.io/user": "alice",
            },
            "annotations": {
                "kfspawner.io/user-name": "alice",
                "kfspawner.io/owner-ids": "1000:100",
            },
        },
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "kfspawner-nfs",
            "resources": {"requests": {"storage": "10Gi"}},
        },
    }


@pytest.mark.parametrize("person", ["alice", "Ünal 🦊", "../bob", "{username}", "x" * 255])
@pytest.mark.parametrize("is_folder", [False, True])
def test_the_provisioner_reads_whose_it_is(person: str, is_folder: bool) -> None:  # noqa: FBT001
    place = Place("vision", "" if is_folder else person)
    claim = make_home_claim(SOURCE, place, (1001, 50))

    found = read_claim(changed(claim, uid="uid-1"))

    assert found
    assert (found.place, found.ids, found.name) == (place, (1001, 50), place.claim)
    assert found.capacity == ("1Gi" if is_folder else "10Gi")


@pytest.mark.parametrize("source", [OTHER, HomeSource()], ids=["a class", "the cluster's class"])
def test_another_class_is_told_nothing_of_owners(source: HomeSource) -> None:
    claim = make_home_claim(source, ALICE, (1000, 100))

    assert claim["metadata"]["annotations"] == {"kfspawner.io/user-name": "alice"}
    assert claim["spec"].get("storageClassName", "") == source.storage_class
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert claim["spec"]["resources"]["requests"]["storage"] == source.capacity


async def test_one_that_is_not_ours_is_made_and_not_waited_for(api: FakeApi) -> None:
    claim = make_home_claim(OTHER, ALICE, (1000, 100))
    for _ in range(2):
        await ensure_home(api, claim, OTHER)

    assert api.writes() == [("create", KEY)]
    assert api.objects[KEY]["spec"] == claim["spec"]


async def test_one_of_ours_is_waited_for_until_it_has_its_volume(api: FakeApi) -> None:
    waiting = asyncio.create_task(ensure_home(api, HOME, SOURCE))
    await asyncio.sleep(0.02)
    assert KEY in api.objects
    assert not waiting.done()

    api.put(annotated(trouble="for a moment"))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    api.put(bound())
    await waiting

    api.calls.clear()
    await ensure_home(api, HOME, SOURCE)
    assert api.calls == [("get", KEY)]


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (HOME, "it has no volume after 0 seconds"),
        (annotated(trouble="making vision/alice: no room"), "making vision/alice: no room"),
        (changed(HOME, {"phase": "Lost"}), "it has no volume after 0 seconds"),
        (
            changed(bound(), deletionTimestamp="2026-11-24T10:15:00Z", finalizers=["x"]),
            "an earlier one is being taken away, and perhaps archived",
        ),
    ],
)
async def test_what_keeps_it_is_said(api: FakeApi, there: Object, why: str) -> None:
    api.put(there)

    with pytest.raises(ClusterError) as late:
        await ensure_home(api, HOME, SOURCE)

    assert late.value.doing == "preparing claim home-alice in vision"
    assert late.value.cause == why
    assert late.value.way_out.startswith("the files are on nfs.test:/homes; tell the administrator")


async def test_one_that_goes_meanwhile_is_waited_for_and_has_no_volume(api: FakeApi) -> None:
    waiting = asyncio.create_task(ensure_home(api, HOME, SOURCE))
    await asyncio.sleep(0.02)
    api.remove(*(CLAIM, "home-alice", "vision"))

    with pytest.raises(ClusterError) as late:
        await waiting
    assert late.value.cause == "there is none"


async def test_one_that_the_provisioner_makes_is_waited_for(api: FakeApi) -> None:
    mount = Mount.of_folder("speech", "alice", read_only=True)
    waiting = asyncio.create_task(wait_for_mount(api, "vision", mount, SOURCE))
    earlier = Mount.of_folder("speech", "alice", read_only=False)
    for it in (make_mount_claim("vision", mount), bound(make_mount_claim("vision", earlier))):
        await asyncio.sleep(0.02)
        assert not waiting.done()
        api.put(it)
    await asyncio.sleep(0.02)
    assert not waiting.done()

    api.put(bound(make_mount_claim("vision", mount)))
    await waiting
    assert api.writes() == []


async def test_one_that_the_provisioner_never_makes_is_an_error(api: FakeApi) -> None:
    with pytest.raises(ClusterError) as late:
        await wait_for_mount(api, "vision", Mount("folder-speech", "speech/_shared"), SOURCE)
    assert late.value.doing == "preparing claim folder-speech in vision"


async def test_somebody_else_may_make_it_meanwhile(api: FakeApi) -> None:
    async def create(*_: object, **__: object) -> Object:
        api.put(bound())
        raise ObjectExists("creating", "already exists", "choose another")

    api.create = create  # type: ignore[method-assign]
    await ensure_home(api, HOME, SOURCE)

    assert api.objects[KEY]["status"] == {"phase": "Bound"}


async def test_somebody_elses_is_refused(api: FakeApi) -> None:
    theirs = annotated(user_name="Alice")
    api.put(bound(theirs))

    with pytest.raises(ClusterDenied) as refused:
        await ensure_home(api, HOME, SOURCE)

    assert str(refused.value) == (
        "preparing the home of 'alice' in profile vision: claim home-alice there holds the files "
        "of somebody else; nothing in it was touched; choose another profile, or show this to the "
        "administrator"
    )
    assert api.writes() == []


@pytest.mark.parametrize("claim", [HOME, make_home_claim(SOURCE, FOLDER, (1000, 100))])
async def test_one_that_was_made_by_hand_is_taken(api: FakeApi, claim: Object) -> None:
    api.put(changed(bound(claim), annotations={}))
    await ensure_home(api, claim, SOURCE)
    assert api.writes() == []


async def test_a_full_quota_is_passed_on(api: FakeApi) -> None:
    full = ClusterDenied("creating", "exceeded quota: storage", "choose less")
    api.refusals["create"] = [full]
    with pytest.raises(ClusterDenied) as refused:
        await ensure_home(api, HOME, SOURCE)
    assert refused.value is full


async def test_a_claim_of_the_administrators_is_found(api: FakeApi) -> None:
    team: Object = {
        "kind": CLAIM,
        "metadata": {"name": "team", "namespace": "vision", "annotations": {}},
    }
    with pytest.raises(ClusterError, match=r"there is no claim team in it, and c\.KfSpawner\.home"):
        await find_home(api, team)
    api.put(team)
    await find_home(api, team)
    assert api.writes() == []


# Putting away.


def place_of(number: int) -> Place:
    return Place("vision", f"person-{number}")


async def test_homes_are_asked_to_be_put_away(api: FakeApi) -> None:
    elsewhere, none = Place("speech", "alice"), Place("speech", "bob")
    theirs = Place("vision", "eve")
    for place in (ALICE, elsewhere, theirs, FOLDER):
        api.put(make_home_claim(SOURCE, place, (1000, 100)))
    changed_hands = api.objects[CLAIM, "vision", "home-eve"]
    changed_hands["metadata"]["annotations"]["kfspawner.io/user-name"] = "mallory"

    asked = await ask_to_archive(api, [ALICE, elsewhere, none, theirs, Place("gone", "alice")])

    assert asked == ["vision", "speech"]
    requests = {
        key[1:]: it["metadata"].get("annotations", {}).get("kfspawner.io/request")
        for key, it in api.objects.items()
        if key[0] == CLAIM
    }
    assert requests == {
        ("vision", "home-alice"): "archive",
        ("speech", "home-alice"): "archive",
        ("vision", "home-eve"): None,
        ("vision", "profile-folder"): None,
    }
    assert await ask_to_archive(api, []) == []


async def test_one_that_cannot_be_asked_for_does_not_keep_the_others(api: FakeApi) -> None:
    places = [place_of(number) for number in range(40)]
    for place in places:
        api.put(make_home_claim(SOURCE, place, (1000, 100)))
    api.refusals["patch"] = [OUTAGE]

    with pytest.raises(ClusterUnreachable) as refused:
        await ask_to_archive(api, places)

    assert refused.value is OUTAGE
    asked = [it for it in api.objects.values() if "kfspawner.io/request" in str(it["metadata"])]
    assert len(asked) == 39


async def test_one_that_is_gone_by_then_is_no_trouble(api: FakeApi) -> None:
    api.put(HOME)
    get = api.get

    async def get_late(kind: str, name: str, namespace: str = "") -> Object | None:
        found = await get(kind, name, namespace)
        api.remove(kind, name, namespace)
        return found

    api.get = get_late  # type: ignore[method-assign]
    assert await ask_to_archive(api, [ALICE]) == ["vision"]
    assert KEY not in api.objects
