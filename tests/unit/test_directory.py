"""The hub's live view of Profiles: what it tells, what it asks for, and what it makes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kfspawner.errors import (
    ClusterDenied,
    ClusterError,
    ClusterUnreachable,
    ObjectMissing,
    ProfileRefused,
)
from kfspawner.profiles import pace
from kfspawner.profiles.api import Object
from kfspawner.profiles.directory import Directory, shared_directory
from kfspawner.profiles.members import make_member_binding
from kfspawner.profiles.profile import Role, make_personal, make_profile, read_declared
from tests.fakes.api import FakeApi

TEMPLATE: dict[str, Any] = {"quota": {"requests.cpu": "4"}, "image_profiles": ["cpu"]}
OUTAGE = ClusterUnreachable("listing profiles", "the Kubernetes API did not answer", "try again")


def shared(name: str = "vision", /, **declared: Any) -> Object:
    return make_profile(read_declared(name, {"owner": "alice", **declared}))


def condition(obj: Object, status: str, reason: str, message: str = "") -> Object:
    told = {"type": "Ready", "status": status, "reason": reason, "message": message}
    return {**obj, "status": {"conditions": [told]}}


def ready(obj: Object) -> Object:
    return condition(obj, "True", "Ready")


@pytest.fixture
def api() -> FakeApi:
    found = FakeApi({"kind": "Namespace", "metadata": {"name": "vision"}})
    found.put(ready(shared()))
    return found


@pytest.fixture
async def directory(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Directory]:
    monkeypatch.setattr(pace, "SOON", 0.001)
    monkeypatch.setattr(pace, "LATE", 0.01)
    made = Directory(api)
    await made.ready()
    yield made
    await made.end()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def is_ready(directory: Directory, name: str) -> bool:
    standing = directory.get(name)
    return standing is not None and standing.ready


def lists(api: FakeApi) -> list[str]:
    return sorted(kind for kind, _, _ in api.called("list"))


# What it tells.


async def test_the_owner_is_told_of_their_profile(directory: Directory) -> None:
    (choice,) = directory.choices("alice", ())

    assert (choice.profile.name, choice.role) == ("vision", Role.ADMIN)
    assert choice.standing.ready
    assert directory.choices("bob", ()) == []


async def test_a_member_is_told_at_once_and_no_longer_once_removed(
    directory: Directory, api: FakeApi
) -> None:
    api.put(make_member_binding("vision", "bob", Role.EDIT))
    await until(lambda: directory.role("vision", "bob", ()) is Role.EDIT)

    api.remove("RoleBinding", "user-bob-clusterrole-edit", "vision")
    await until(lambda: directory.role("vision", "bob", ()) is None)

    assert lists(api) == ["Profile", "RoleBinding"]


async def test_the_highest_of_several_bindings_counts(directory: Directory, api: FakeApi) -> None:
    for role in (Role.VIEW, Role.ADMIN, Role.EDIT):
        api.put(make_member_binding("vision", "bob", role))

    await until(lambda: directory.role("vision", "bob", ()) is Role.ADMIN)


async def test_a_group_counts_as_soon_as_the_profile_says_so(
    directory: Directory, api: FakeApi
) -> None:
    assert directory.role("vision", "carol", ["team"]) is None
    api.put(ready(shared(groups={"team": "view"})))

    await until(lambda: directory.role("vision", "carol", ["team"]) is Role.VIEW)
    assert directory.role("vision", "carol", ["other"]) is None


async def test_an_inconsistent_binding_makes_nobody_a_member(
    directory: Directory, api: FakeApi
) -> None:
    forged = make_member_binding("vision", "bob", Role.ADMIN)
    forged["subjects"] = [{"kind": "User", "name": "mallory"}]
    api.put(forged)
    api.put(make_member_binding("vision", "carol", Role.VIEW))
    await until(lambda: directory.role("vision", "carol", ()) is Role.VIEW)

    assert directory.role("vision", "bob", ()) is None
    assert directory.role("vision", "mallory", ()) is None


async def test_a_deleted_profile_is_gone(directory: Directory, api: FakeApi) -> None:
    api.remove("Profile", "vision")

    await until(lambda: directory.get("vision") is None)
    assert directory.role("vision", "alice", ()) is None
    assert directory.profiles() == []


async def test_choices_are_ordered_by_their_titles(directory: Directory, api: FakeApi) -> None:
    api.put(shared("a-team", display_name="zebra"))
    api.put(shared("z-team", display_name="Ape"))

    await until(lambda: len(directory.choices("alice", ())) == 3)
    titles = [choice.profile.title for choice in directory.choices("alice", ())]
    assert titles == ["Ape", "vision", "zebra"]


async def test_a_profile_that_cannot_be_read_is_nobodys(directory: Directory, api: FakeApi) -> None:
    broken = shared("broken")
    broken["spec"]["owner"] = {"kind": "Robot", "name": "alice"}
    api.put(broken)
    await until(lambda: directory.get("broken") is not None)

    assert [choice.profile.name for choice in directory.choices("alice", ())] == ["vision"]
    with pytest.raises(ClusterError, match="OwnerRefused: "):
        await directory.wait_ready("broken", 5)


# What it asks for.


async def test_there_is_one_list_and_one_watch_however_much_happens(
    directory: Directory, api: FakeApi
) -> None:
    for number in range(100):
        api.put(shared(f"p{number}"))
        api.put(make_member_binding("vision", f"user{number}", Role.EDIT))
    await until(lambda: len(directory.choices("alice", ())) == 101)
    await until(lambda: directory.role("vision", "user99", ()) is Role.EDIT)

    assert lists(api) == ["Profile", "RoleBinding"]
    assert sorted(kind for kind, _, _ in api.called("watch")) == ["Profile", "RoleBinding"]


async def test_an_outage_is_outlived_and_logged_once(
    directory: Directory, api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        api.refusals["watch Profile"] = [OUTAGE] * 5
        api.put(shared("before"))
        await until(lambda: "stands still" in caplog.text)
        assert directory.role("vision", "alice", ()) is Role.ADMIN

        api.put(shared("while-it-lasted"))
        await until(lambda: directory.get("while-it-lasted") is not None)

    told = [record.getMessage() for record in caplog.records]
    assert len([line for line in told if "stands still" in line]) == 1
    assert len([line for line in told if "up to date again" in line]) == 1
    # The watch went on from where it broke.
    assert lists(api) == ["Profile", "RoleBinding"]


async def test_what_the_api_has_forgotten_is_listed_again(
    directory: Directory, api: FakeApi
) -> None:
    api.refusals["watch Profile"] = [OUTAGE]
    api.put(shared("before"))
    await until(lambda: not api.refusals["watch Profile"])
    api.remove("Profile", "vision")
    api.expire()

    await until(lambda: directory.get("vision") is None)
    assert lists(api) == ["Profile", "Profile", "RoleBinding"]
    api.put(shared("after"))
    await until(lambda: directory.get("after") is not None)


async def test_a_defect_does_not_end_the_view(
    directory: Directory, api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    odd = shared("odd")
    odd["metadata"]["annotations"] = {"kfspawner.io/groups": 5}
    api.put(odd)
    await until(lambda: "Following Profile objects failed" in caplog.text)
    api.remove("Profile", "odd")
    api.put(shared("after"))

    await until(lambda: directory.get("after") is not None)


async def test_an_api_that_never_answered_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi()
    api.refusals["list"] = [OUTAGE] * 1000
    directory = Directory(api)
    try:
        with pytest.raises(ClusterUnreachable, match="did not answer"):
            await directory.ready(0.05)
        assert not directory.loaded
    finally:
        await directory.end()


async def test_a_process_has_one_view() -> None:
    made: list[FakeApi] = []

    def connect() -> FakeApi:
        made.append(FakeApi())
        return made[-1]

    log = logging.getLogger("test")
    one, other = shared_directory(connect, log), shared_directory(connect, log)
    try:
        assert one is other
        assert len(made) == 1
    finally:
        await one.end()


# What the hub makes.


async def test_a_personal_profile_is_made_once(directory: Directory, api: FakeApi) -> None:
    names = await asyncio.gather(*(directory.ensure_personal("bob", TEMPLATE) for _ in range(5)))

    assert set(names) == {"kf-bob"}
    assert api.called("apply") == [("Profile", "", "kf-bob")]
    made = api.objects["Profile", "", "kf-bob"]
    assert made["spec"]["owner"] == {"kind": "User", "name": "bob"}
    assert made["spec"]["resourceQuotaSpec"] == {"hard": {"requests.cpu": "4"}}
    # Before the watch has told of it.
    assert directory.role("kf-bob", "bob", ()) is Role.ADMIN


async def test_a_personal_profile_that_stands_is_asked_for_no_more(
    directory: Directory, api: FakeApi
) -> None:
    await directory.ensure_personal("bob", TEMPLATE)
    before = len(api.calls)

    await directory.ensure_personal("bob", TEMPLATE)

    assert len(api.calls) == before


async def test_a_new_template_is_applied_and_takes_back_what_it_gave(
    directory: Directory, api: FakeApi
) -> None:
    await directory.ensure_personal("bob", TEMPLATE)

    await directory.ensure_personal("bob", {"quota": {"pods": "3"}})

    made = api.objects["Profile", "", "kf-bob"]
    assert made["spec"]["resourceQuotaSpec"] == {"hard": {"pods": "3"}}
    assert "kfspawner.io/image-profiles" not in made["metadata"]["annotations"]


async def test_what_was_changed_by_hand_stays(directory: Directory, api: FakeApi) -> None:
    more = make_profile(make_personal("bob", {"quota": {"requests.cpu": "64"}}))
    api.put(ready(more))
    await until(lambda: directory.get("kf-bob") is not None)

    for _ in range(3):
        await directory.ensure_personal("bob", TEMPLATE)

    assert api.objects["Profile", "", "kf-bob"]["spec"] == more["spec"]
    assert len(api.called("apply")) == 1


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "not yet seen"])
async def test_a_profile_of_somebody_else_is_not_touched(
    directory: Directory,
    api: FakeApi,
    monkeypatch: pytest.MonkeyPatch,
    seen: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr("kfspawner.names.slug", lambda *_: "same---0123456789abcdef")
    theirs = make_profile(make_personal("Eve", TEMPLATE))
    name = theirs["metadata"]["name"]
    if seen:
        api.put(theirs)
        await until(lambda: directory.get(name) is not None)
    else:
        await directory.end()
        api.put(theirs)
    kept = api.objects["Profile", "", name]

    with pytest.raises(ClusterDenied, match="belongs to somebody else; nothing in it was touched"):
        await directory.ensure_personal("Mallory", {"quota": {"pods": "1"}})

    assert api.objects["Profile", "", name] == kept
    assert api.writes() == []


@pytest.mark.parametrize("user", ["system:admin", "system:serviceaccount:kfspawner:hub"])
async def test_names_of_kubernetes_own_nothing(
    directory: Directory, api: FakeApi, user: str
) -> None:
    with pytest.raises(ProfileRefused, match="are Kubernetes' own; choose a name"):
        await directory.ensure_personal(user, TEMPLATE)

    assert api.writes() == []


@pytest.mark.parametrize("user", ["x" * 255, "🦊", "../", "{username}", "用户", "kube-system"])
async def test_every_other_name_owns_one(directory: Directory, api: FakeApi, user: str) -> None:
    name = await directory.ensure_personal(user, TEMPLATE)

    assert api.objects["Profile", "", name]["spec"]["owner"]["name"] == user
    assert directory.role(name, user, ()) is Role.ADMIN


async def test_a_profile_is_waited_for(directory: Directory, api: FakeApi) -> None:
    name = await directory.ensure_personal("bob", TEMPLATE)
    waiting = asyncio.create_task(directory.wait_ready(name, 5))
    await asyncio.sleep(0.01)
    assert not waiting.done()

    api.put(ready(api.objects["Profile", "", name]))

    assert (await waiting).name == name


@pytest.mark.parametrize(
    "reason", ["NamespaceTaken", "OwnerRefused", "Malformed", "TooManyMembers", "DeletionHeld"]
)
async def test_what_will_not_be_ready_is_said_at_once(
    directory: Directory, api: FakeApi, reason: str
) -> None:
    api.put(condition(shared("taken"), "False", reason, "because of this"))
    await until(lambda: directory.get("taken") is not None)

    with pytest.raises(ClusterError, match=f"taken: {reason}: because of this; show this"):
        await directory.wait_ready("taken", 60)


async def test_what_may_pass_is_waited_for(directory: Directory, api: FakeApi) -> None:
    api.put(condition(shared(), "False", "NamespaceTerminating", "it is going"))
    await until(lambda: not is_ready(directory, "vision"))

    with pytest.raises(ClusterError) as slow:
        await directory.wait_ready("vision", 0.02)

    assert "has not prepared it in 0.02 s: NamespaceTerminating: it is going" in str(slow.value)
    assert "kubectl describe profile vision" in slow.value.way_out


async def test_nobody_waits_for_a_profile_that_is_being_deleted(
    directory: Directory, api: FakeApi
) -> None:
    held = ready(shared())
    held["metadata"] |= {"finalizers": ["x"], "deletionTimestamp": "2024-05-04T12:00:00Z"}
    api.put(held)
    await until(lambda: not is_ready(directory, "vision"))

    with pytest.raises(ClusterError, match="it is being deleted"):
        await directory.wait_ready("vision", 60)


async def test_nobody_waits_for_what_is_not_there(directory: Directory) -> None:
    with pytest.raises(ObjectMissing, match="there is none any more"):
        await directory.wait_ready("gone", 60)
