"""A server's claim and pod on the cluster: made with patience, and never another's."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes_asyncio.client.exceptions import ApiException

from kfspawner.errors import ClusterBusy, ClusterDenied, ClusterUnreachable
from kfspawner.homes.home import make_home_claim
from kfspawner.homes.place import Place
from kfspawner.homes.source import HomeSource
from kfspawner.profiles import patience
from kfspawner.profiles.members import make_member_binding
from kfspawner.profiles.profile import Role
from kfspawner.servers import pods as of_a_server
from kfspawner.servers.spawner import KfSpawner
from tests.fakes.hub import FakeHub, load

NO_RIGHTS = (
    'pods is forbidden: User "system:serviceaccount:kfspawner:hub" cannot create resource "pods"'
)
UNCOUNTED = 'pods "x" is forbidden: status unknown for quota: kf-resource-quota, resources: pods'
FULL = (
    'pods "x" is forbidden: exceeded quota: kf-resource-quota, requested: '
    "requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=1, limited: "
    "requests.nvidia.com/gpu=1"
)
SAME = "same---0123456789abcdef"


def denied(message: str) -> ClusterDenied:
    return ClusterDenied("creating Pod server-alice in vision", message, "show this")


@pytest.fixture
async def spawner(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> KfSpawner:
    """Return alice's spawner, about to start a server in a profile that she shares."""
    monkeypatch.setattr(patience, "_RETRY", 0.001)
    hub.share("vision")
    made = hub.make_spawner(stop_on_removal=True)
    await load(made, profile="vision")
    return made


async def create_home(spawner: KfSpawner) -> None:
    assert await spawner._make_create_pvc_request(spawner.get_pvc_manifest(), 3)


async def create_pod(spawner: KfSpawner) -> bool:
    return await spawner._make_create_pod_request(await spawner.get_pod_manifest(), 3)


def claims(hub: FakeHub) -> list[str]:
    kind = "PersistentVolumeClaim"
    return [f"{where}/{name}" for of, where, name in hub.api.objects if of == kind]


# Homes.


async def test_there_is_one_home_for_each_profile_and_person(
    hub: FakeHub, spawner: KfSpawner
) -> None:
    await create_home(spawner)
    await create_home(spawner)
    await load(spawner)
    await create_home(spawner)

    assert claims(hub) == ["vision/home-alice", "kf-alice/home-alice"]
    assert len(hub.api.called("create")) == 2


async def test_the_files_of_somebody_else_are_not_mounted(
    hub: FakeHub, spawner: KfSpawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.api.put(
        {
            **make_home_claim(HomeSource(), Place("vision", "eve"), (1000, 100)),
            "spec": {"theirs": True},
        }
    )
    kept = hub.api.objects["PersistentVolumeClaim", "vision", "home-eve"]
    monkeypatch.setattr(spawner, "pvc_name", "home-eve")

    with pytest.raises(ClusterDenied, match="home-eve there holds the files of somebody else"):
        await create_home(spawner)

    assert hub.api.objects["PersistentVolumeClaim", "vision", "home-eve"] == kept


async def test_a_home_of_before_profiles_is_its_owners(hub: FakeHub, spawner: KfSpawner) -> None:
    older = make_home_claim(HomeSource(), Place("vision", "alice"), (1000, 100))
    del older["metadata"]["annotations"]
    hub.api.put(older)

    await create_home(spawner)

    assert hub.api.called("create") == []


# Patience.


@pytest.mark.parametrize("message", [NO_RIGHTS, UNCOUNTED])
async def test_what_a_new_namespace_refuses_for_a_moment_is_asked_again(
    hub: FakeHub, spawner: KfSpawner, message: str
) -> None:
    hub.api.refusals["create"] = [denied(message)] * 3

    assert await create_pod(spawner)
    assert ("Pod", "vision", "server-alice") in hub.api.objects
    assert hub.api.refusals["create"] == []


async def test_an_api_that_is_busy_is_asked_when_it_says(
    hub: FakeHub, spawner: KfSpawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = ClusterBusy("creating", "429 too many requests", "try again", 0.01)
    hub.api.refusals["create"] = [busy] * 3

    assert await create_pod(spawner)
    assert hub.api.refusals["create"] == []

    # Longer than a start waits for that.
    hub.api.refusals["create"] = [ClusterBusy("creating", "429 too many", "try again", 60.0)]
    with pytest.raises(ClusterBusy):
        await create_home(spawner)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_pod_that_the_api_does_not_delete_now_is_deleted_once_it_does(
    hub: FakeHub, spawner: KfSpawner, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    pod = hub.run(spawner)
    monkeypatch.setattr(of_a_server, "_DELETE_AGAIN", 0.001)
    # For longer than KubeSpawner tries: JupyterHub would forget the server.
    spawner.k8s_api_request_retry_timeout = 0
    away = [ApiException(status=status, reason="not now"), ConnectionResetError()]
    answers = [*away * 10]

    async def delete(**_: object) -> None:
        if answers:
            raise answers.pop(0)
        hub.view.drop(f"vision/{spawner.pod_name}", pod["metadata"]["uid"])

    spawner.api.delete_namespaced_pod = delete
    await spawner.stop()

    assert not answers
    assert not hub.view.pods


async def test_a_pod_that_the_hub_may_not_delete_is_said_at_once(
    hub: FakeHub, spawner: KfSpawner
) -> None:
    hub.run(spawner)

    async def delete(**_: object) -> None:
        raise ApiException(status=403, reason="no right")

    spawner.api.delete_namespaced_pod = delete
    with pytest.raises(ClusterDenied, match="stopping server-alice: no right"):
        await spawner.stop()


async def test_what_does_not_pass_is_said(
    hub: FakeHub, spawner: KfSpawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_PATIENCE", 0.01)
    hub.api.refusals["create"] = [denied(NO_RIGHTS)] * 1000
    with pytest.raises(ClusterDenied, match="cannot create resource"):
        await create_pod(spawner)

    outage = ClusterUnreachable("creating", "the API did not answer", "try again")
    hub.api.refusals["create"] = [outage] * 1000
    with pytest.raises(ClusterUnreachable):
        await create_pod(spawner)


async def test_a_full_quota_is_said_at_once_with_who_uses_it(
    hub: FakeHub, spawner: KfSpawner
) -> None:
    devices = {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}}
    other = hub.make_spawner("bob")
    other.namespace = "vision"
    pod = hub.run(other)
    hub.api.put({**pod, "spec": {"containers": [{"name": "notebook", "resources": devices}]}})
    hub.api.refusals["create"] = [denied(FULL), denied("asked twice")]

    with pytest.raises(ClusterDenied, match="bob's server") as refused:
        await create_pod(spawner)

    assert refused.value.doing == "starting the server of alice"
    assert len(hub.api.called("create")) == 1


async def test_what_is_refused_does_not_put_the_token_into_the_log(
    hub: FakeHub, spawner: KfSpawner, caplog: pytest.LogCaptureFixture
) -> None:
    hub.api.refusals["create"] = [denied("violates PodSecurity")]

    with pytest.raises(ClusterDenied, match="violates PodSecurity"):
        await create_pod(spawner)

    assert "secret" not in caplog.text


# Whose pod it is.


async def test_an_old_pod_of_this_server_goes_first(
    hub: FakeHub, spawner: KfSpawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.run(spawner)
    stopped = []

    async def stop(_: KfSpawner, now: bool) -> None:  # noqa: FBT001
        stopped.append(now)
        hub.api.remove("Pod", "server-alice", "vision")

    monkeypatch.setattr("kubespawner.KubeSpawner.stop", stop)

    assert not await create_pod(spawner)
    assert stopped == [True]
    assert await create_pod(spawner)


async def test_an_old_pod_does_not_keep_its_own_server_out_of_the_quota(
    hub: FakeHub, spawner: KfSpawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.run(spawner)
    hub.api.refusals["create"] = [denied(FULL)]

    async def stop(_: KfSpawner, now: bool) -> None:  # noqa: FBT001
        hub.api.remove("Pod", "server-alice", "vision")

    monkeypatch.setattr("kubespawner.KubeSpawner.stop", stop)

    assert not await create_pod(spawner)
    assert await create_pod(spawner)


async def test_a_quota_that_somebody_elses_pod_fills_is_said_as_what_it_is(
    hub: FakeHub, spawner: KfSpawner
) -> None:
    hub.run(spawner, "Alice")
    hub.api.refusals["create"] = [denied(FULL)]

    with pytest.raises(ClusterDenied, match="is somebody else's"):
        await create_pod(spawner)


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "not yet seen"])
async def test_a_pod_of_somebody_else_stays(
    hub: FakeHub,
    spawner: KfSpawner,
    seen: bool,  # noqa: FBT001
) -> None:
    theirs = hub.run(spawner, "Alice")
    if not seen:
        hub.view.found.clear()

    with pytest.raises(
        ClusterDenied, match="pod server-alice in profile vision is somebody else's"
    ):
        await create_pod(spawner)
    if seen:
        # What JupyterHub does after a start that failed.
        assert await spawner.poll() == 1
        await spawner.stop(now=True)

    assert hub.api.objects["Pod", "vision", "server-alice"] == theirs


# Who was removed.


async def remove(hub: FakeHub, user: str) -> None:
    hub.api.remove("RoleBinding", f"user-{user}-clusterrole-edit", "vision")
    while hub.directory.role("vision", user, ()) is not None:
        await hub.directory._members.news.wait()


async def started(hub: FakeHub, user: str = "bob", **config: Any) -> KfSpawner:
    hub.share("vision")
    hub.api.put(make_member_binding("vision", user, Role.EDIT))
    made = hub.make_spawner(user, **config)
    await load(made, profile="vision")
    hub.run(made)
    for name, label, annotation in (
        ("run-1", user, user),
        ("of-another", user, "Bob"),
        ("of-alice", "alice", "alice"),
    ):
        hub.api.put(
            {
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": "vision",
                    "labels": {"kfspawner.io/user": label},
                    "annotations": {"kfspawner.io/user-name": annotation},
                },
            }
        )
    return made


def pods(hub: FakeHub) -> list[str]:
    return sorted(name for kind, _, name in hub.api.objects if kind == "Pod")


async def test_what_a_removed_member_runs_is_stopped(hub: FakeHub) -> None:
    spawner = await started(hub, stop_on_removal=True)
    assert await spawner.poll() is None

    await remove(hub, "bob")

    assert await spawner.poll() == 1
    assert pods(hub) == ["of-alice", "of-another"]


async def test_it_goes_on_unless_the_administrator_says_otherwise(hub: FakeHub) -> None:
    spawner = await started(hub)

    await remove(hub, "bob")

    assert await spawner.poll() is None
    assert "server-bob" in pods(hub)


async def test_a_role_that_only_looks_is_a_removal(hub: FakeHub) -> None:
    spawner = await started(hub, stop_on_removal=True)
    hub.api.put(make_member_binding("vision", "bob", Role.VIEW))

    await remove_edit_only(hub)

    assert await spawner.poll() == 1


async def remove_edit_only(hub: FakeHub) -> None:
    hub.api.remove("RoleBinding", "user-bob-clusterrole-edit", "vision")
    while hub.directory.role("vision", "bob", ()) is not Role.VIEW:
        await hub.directory._members.news.wait()


async def test_what_is_not_known_is_no_removal(hub: FakeHub) -> None:
    spawner = await started(hub, stop_on_removal=True)
    broken = hub.api.objects["Profile", "", "vision"]
    hub.api.put({**broken, "spec": {"owner": {"kind": "Robot", "name": "bob"}}})
    while (hub.directory.get("vision") or pytest.fail("gone")).profile is not None:
        await hub.directory._profiles.news.wait()
    assert await spawner.poll() is None

    hub.api.remove("Profile", "vision")
    while hub.directory.get("vision") is not None:
        await hub.directory._profiles.news.wait()
    assert await spawner.poll() is None
    assert "server-bob" in pods(hub)


async def test_nothing_is_stopped_before_everything_was_seen(hub: FakeHub) -> None:
    spawner = await started(hub, stop_on_removal=True)
    await remove(hub, "bob")
    hub.directory._members.loaded = False

    assert await spawner.poll() is None


async def test_an_api_that_does_not_answer_ends_no_server(hub: FakeHub) -> None:
    spawner = await started(hub, stop_on_removal=True)
    await remove(hub, "bob")
    hub.api.refusals["delete"] = [ClusterUnreachable("deleting", "no answer", "try again")]

    assert await spawner.poll() is None
    assert await spawner.poll() == 1
