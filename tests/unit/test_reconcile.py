"""One Profile: what stands afterwards, what was touched for it, and what is said."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest

from kfspawner.errors import ClusterUnreachable, ObjectExists
from kfspawner.labels import MANAGED_BY
from kfspawner.profiles.api import Object
from kfspawner.profiles.conditions import not_ready, ready, revise
from kfspawner.profiles.mirror import Mirror
from kfspawner.profiles.reconcile import FINALIZER, Reconciler
from tests.fakes.world import PROFILE, World, inside

AWS = {"kind": "AwsIamForServiceAccount", "spec": {"awsIamRole": "arn:aws:iam::1:role/a"}}


@pytest.fixture
async def world() -> World:
    """One Profile, and all that it asks for."""
    made = World(PROFILE)
    await made.settle()
    made.api.calls.clear()
    return made


async def test_a_profile_gets_its_namespace_and_all_in_it(world: World) -> None:
    assert inside(world) == [
        ("NetworkPolicy", "default-deny"),
        ("NetworkPolicy", "openings"),
        ("NetworkPolicy", "servers"),
        ("ResourceQuota", "kf-resource-quota"),
        ("RoleBinding", "default-editor"),
        ("RoleBinding", "default-viewer"),
        ("RoleBinding", "kfspawner-hub-namespace"),
        ("RoleBinding", "namespaceAdmin"),
        ("ServiceAccount", "default-editor"),
        ("ServiceAccount", "default-viewer"),
    ]
    made = world.find("Namespace", "vision")["metadata"]
    assert made["annotations"]["kfspawner.io/profile-uid"] == "uid-vision"
    assert made["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert world.find("Profile", "vision")["metadata"]["finalizers"] == [FINALIZER]
    assert world.condition()["status"] == "True"
    assert world.condition("Plugins") == {}


async def test_what_is_right_is_left_alone(world: World) -> None:
    await world.settle()
    assert world.api.calls == []

    # Nor by a controller that has just started, and knows only what it was told.
    mirror = Mirror()
    for it in world.api.objects.values():
        mirror.put(it)
    await Reconciler(world.api, mirror, lambda: world.around).reconcile("vision")
    assert world.api.calls == []


async def test_whatever_is_deleted_comes_back(world: World) -> None:
    for kind, name in inside(world):
        before = world.find(kind, name)
        world.api.remove(kind, name, "vision")
        await world.settle()

        after = world.find(kind, name)
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        assert {**after, "metadata": {}} == {**before, "metadata": {}}
        assert after["metadata"]["labels"] == before["metadata"]["labels"]
        assert [it[0] for it in world.api.writes()] == ["apply"]
        world.api.calls.clear()


EDITS: dict[str, Mapping[str, Any]] = {
    "NetworkPolicy": {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}},
    "ResourceQuota": {"spec": {"hard": {"requests.cpu": "4000", "pods": "9"}}},
    "ServiceAccount": {"automountServiceAccountToken": True},
    "RoleBinding": {"subjects": [{"kind": "User", "name": "mallory"}]},
}


async def test_whatever_is_edited_is_put_right(world: World) -> None:
    for kind, name in inside(world):
        before = copy.deepcopy(world.find(kind, name))
        world.api.put({**before, **EDITS[kind]})
        await world.settle()

        after = world.find(kind, name)
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert {**after, "metadata": {}} == {**before, "metadata": {}}
        assert [it[0] for it in world.api.writes()] == ["apply"]
        world.api.calls.clear()


async def test_a_key_that_was_added_by_hand_goes(world: World) -> None:
    quota = copy.deepcopy(world.find("ResourceQuota", "kf-resource-quota"))
    quota["spec"]["hard"]["services"] = "100"
    quota["metadata"]["labels"]["team"] = "theirs"
    world.api.put(quota)
    await world.settle()

    found = world.find("ResourceQuota", "kf-resource-quota")
    assert found["spec"] == {"hard": {"requests.cpu": "4", "pods": "9"}}
    assert found["metadata"]["labels"] == {**MANAGED_BY, "team": "theirs"}
    assert [it[0] for it in world.api.writes()] == ["apply", "replace"]
    await world.settle()
    assert len(world.api.writes()) == 2


async def test_a_quota_is_overwritten_though_the_cluster_counts_meanwhile(world: World) -> None:
    quota = copy.deepcopy(world.find("ResourceQuota", "kf-resource-quota"))
    quota["spec"]["hard"]["services"] = "100"
    world.api.put(quota)
    counted = ObjectExists("replacing", "the object has been modified", "look again")
    world.api.refusals["replace"] = [counted, counted]
    await world.settle()

    found = world.find("ResourceQuota", "kf-resource-quota")
    assert found["spec"] == {"hard": {"requests.cpu": "4", "pods": "9"}}


async def test_how_the_api_writes_it_is_taken_as_right() -> None:
    def write_otherwise(it: Object) -> None:
        if it["kind"] == "ResourceQuota":
            it["spec"]["hard"]["pods"] = "09"

    world = World(PROFILE)
    world.api.on_write = write_otherwise
    await world.settle()
    before = len(world.api.writes())

    await world.settle()
    assert len(world.api.writes()) == before
    assert world.condition()["status"] == "True"


async def test_a_binding_to_another_role_is_made_anew(world: World) -> None:
    binding = copy.deepcopy(world.find("RoleBinding", "namespaceAdmin"))
    world.api.remove("RoleBinding", "namespaceAdmin", "vision")
    binding["roleRef"]["name"] = "cluster-admin"
    binding["metadata"].pop("uid")
    # Without our label no watch tells of it.
    binding["metadata"]["labels"] = {}
    world.api.put(binding)
    world.hear()
    world.mirror.drop(world.find("RoleBinding", "namespaceAdmin"))
    await world.keeper.reconcile("vision")

    found = world.find("RoleBinding", "namespaceAdmin")
    assert found["roleRef"]["name"] == "kubeflow-admin"
    assert found["metadata"]["labels"] == MANAGED_BY


async def test_a_label_that_was_taken_off_comes_back(world: World) -> None:
    policy = copy.deepcopy(world.find("NetworkPolicy", "default-deny"))
    policy["metadata"]["labels"] = {}
    world.mirror.drop(world.api.put(policy))
    world.api.news()
    await world.keeper.reconcile("vision")

    assert world.find("NetworkPolicy", "default-deny")["metadata"]["labels"] == MANAGED_BY
    world.api.calls.clear()
    await world.settle()
    assert world.api.calls == []


async def test_a_changed_profile_changes_only_what_differs(world: World) -> None:
    spec = copy.deepcopy(world.find("Profile", "vision")["spec"])
    spec["resourceQuotaSpec"]["hard"]["pods"] = "20"
    world.change(spec=spec)
    await world.settle()

    assert world.api.writes() == [("apply", ("ResourceQuota", "vision", "kf-resource-quota"))]


async def test_what_is_no_longer_wanted_goes(world: World) -> None:
    world.annotate(members='{"bob": "edit"}')
    await world.settle()
    assert ("RoleBinding", "user-bob-clusterrole-edit") in inside(world)
    other = copy.deepcopy(world.find("RoleBinding", "user-bob-clusterrole-edit"))
    other["metadata"] = {"name": "user-carol-clusterrole-edit", "namespace": "vision"}
    world.api.put(other)

    world.change(spec={"owner": PROFILE["spec"]["owner"]})
    world.annotate(members="{}")
    await world.settle()
    assert ("RoleBinding", "user-bob-clusterrole-edit") not in inside(world)
    assert ("ResourceQuota", "kf-resource-quota") not in inside(world)
    # What people wrote themselves is theirs.
    assert ("RoleBinding", "user-carol-clusterrole-edit") in inside(world)


async def test_plugins_annotate_the_account_and_are_taken_back(world: World) -> None:
    world.change(spec={**PROFILE["spec"], "plugins": [AWS, {"kind": "Magic"}]})
    await world.settle()
    account = world.find("ServiceAccount", "default-editor")
    assert account["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"
    }
    assert world.condition("Plugins")["reason"] == "UnknownPlugin"
    assert "Magic" in world.condition("Plugins")["message"]
    assert world.condition()["status"] == "True"

    world.change(spec=PROFILE["spec"])
    await world.settle()
    account = world.find("ServiceAccount", "default-editor")
    assert "eks.amazonaws.com/role-arn" not in account["metadata"].get("annotations", {})
    assert world.condition("Plugins") == {}


async def test_secrets_of_an_account_are_others_to_write(world: World) -> None:
    account = {**world.find("ServiceAccount", "default-editor"), "secrets": [{"name": "pull"}]}
    world.api.put(account)
    await world.settle()

    assert world.api.calls == []


@pytest.mark.parametrize(
    ("annotations", "spec", "reason"),
    [
        ({}, {"owner": {"kind": "ServiceAccount", "name": "x"}}, "OwnerRefused"),
        ({}, {"owner": {"kind": "User", "name": "system:admin"}}, "OwnerRefused"),
        ({"kfspawner.io/groups": "[1"}, PROFILE["spec"], "Malformed"),
        ({"kfspawner.io/members": '{"bob": "king"}'}, PROFILE["spec"], "Malformed"),
        (
            {
                "kfspawner.io/members": str({f"p{n}": "view" for n in range(10_000)}).replace(
                    "'", '"'
                )
            },
            PROFILE["spec"],
            "TooManyMembers",
        ),
    ],
)
async def test_a_bad_profile_is_a_condition_and_nothing_else(
    annotations: dict[str, str], spec: Object, reason: str
) -> None:
    metadata = {**PROFILE["metadata"], "annotations": annotations}
    world = World({**PROFILE, "metadata": metadata, "spec": spec})
    await world.settle()

    assert world.condition()["status"] == "False"
    assert world.condition()["reason"] == reason
    assert world.api.writes() == [("patch status", ("Profile", "", "vision"))]
    await world.settle()
    assert len(world.api.writes()) == 1


async def test_what_was_written_in_any_way_is_taken_back(world: World) -> None:
    binding = copy.deepcopy(world.find("RoleBinding", "namespaceAdmin"))
    binding["roleRef"]["name"] = "cluster-admin"
    world.api.put(binding)
    await world.settle()
    # Made anew, and not applied.
    assert ("create", ("RoleBinding", "vision", "namespaceAdmin")) in world.api.calls

    owner = {"kind": "Group", "name": "leads"}
    world.change(spec={**PROFILE["spec"], "owner": owner})
    await world.settle()
    found = world.find("RoleBinding", "namespaceAdmin")
    assert found["subjects"][0]["name"] == "leads"
    assert not found["metadata"].get("annotations")


async def test_one_refusal_does_not_keep_the_rest_from_being_done() -> None:
    world = World(PROFILE)
    apply = world.api.apply

    async def apply_slowly(manifest: Object) -> Object:
        await asyncio.sleep(0 if manifest["kind"] == "NetworkPolicy" else 0.01)
        return await apply(manifest)

    world.api.apply = apply_slowly  # type: ignore[assignment, method-assign]
    refusal = ClusterUnreachable("applying", "the Kubernetes API did not answer", "try again")
    world.api.refusals["apply NetworkPolicy"] = [refusal]
    with pytest.raises(ClusterUnreachable):
        await world.settle()
    assert len(inside(world)) == 9
    assert world.condition() == {}

    await world.settle()
    assert len(inside(world)) == 10
    assert world.condition()["status"] == "True"


async def test_many_members_are_bound_a_few_at_a_time() -> None:
    members = json.dumps({f"person-{number}": "edit" for number in range(100)})
    metadata = {**PROFILE["metadata"], "annotations": {"kfspawner.io/members": members}}
    world = World({**PROFILE, "metadata": metadata})
    apply = world.api.apply
    under_way = [0, 0]

    async def apply_slowly(manifest: Object) -> Object:
        under_way[0] += 1
        under_way[1] = max(under_way)
        await asyncio.sleep(0)
        under_way[0] -= 1
        return await apply(manifest)

    world.api.apply = apply_slowly  # type: ignore[assignment, method-assign]
    await world.settle()
    assert len(inside(world)) == 110
    assert under_way == [0, 8]


async def test_a_writer_in_between_is_not_overwritten(world: World) -> None:
    world.change(spec={**PROFILE["spec"], "plugins": [{"kind": "Magic"}]})
    world.hear()
    world.annotate(groups='{"team": "edit"}')
    with pytest.raises(ObjectExists):
        await world.keeper.reconcile("vision")

    await world.settle()
    assert world.condition("Plugins")["reason"] == "UnknownPlugin"


def test_a_condition_keeps_its_time_while_it_holds() -> None:
    old = [{**ready("fine").write("2024-01-01T00:00:00Z")}]
    assert revise(old, [ready("fine")]) is None

    (still,) = revise(old, [ready("better")]) or []
    assert still["lastTransitionTime"] == "2024-01-01T00:00:00Z"
    (changed,) = revise(old, [not_ready("Malformed", "x" * 5000)]) or []
    assert changed["lastTransitionTime"] > "2024-01-01T00:00:00Z"
    assert len(changed["message"]) == 1000
