"""Whose namespace it is: what is taken, what is left alone, and what goes with its Profile."""

from __future__ import annotations

import pytest

from kfspawner.errors import ClusterError, ObjectExists
from kfspawner.profiles.api import Object
from tests.fakes.world import PROFILE, World, inside, namespace


@pytest.fixture
async def world() -> World:
    """One Profile, and all that it asks for."""
    made = World(PROFILE)
    await made.settle()
    made.api.calls.clear()
    return made


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"annotations": {"owner": "alice"}},
        {"labels": {"kfspawner.io/owner": "mallory"}},
        {"labels": {"kfspawner.io/profile": "vision"}},
        {"annotations": {"kfspawner.io/profile-uid": "uid-of-another"}},
    ],
)
async def test_a_namespace_that_is_not_ours_is_not_touched(metadata: Object) -> None:
    world = World(PROFILE, namespace(**metadata))
    await world.settle()

    assert world.condition()["reason"] == "NamespaceTaken"
    assert "kubectl label namespace vision kfspawner.io/owner=alice" in world.condition()["message"]
    assert world.api.writes() == [("patch status", ("Profile", "", "vision"))]


async def test_a_namespace_that_came_a_moment_ago_is_not_touched() -> None:
    world = World(PROFILE)
    world.hear()
    world.api.put(namespace())
    await world.keeper.reconcile("vision")

    assert world.condition()["reason"] == "NamespaceTaken"
    assert set(world.find("Namespace", "vision")["metadata"]) == {
        "name", "uid", "resourceVersion", "managedFields",
    }  # fmt: skip


@pytest.mark.parametrize("label", ["kfspawner.io/owner", "kfspawner.io/user"])
async def test_a_namespace_is_adopted_with_its_owners_consent(label: str) -> None:
    world = World(PROFILE, namespace(labels={label: "alice", "team": "vision"}))
    await world.settle()

    assert world.condition()["status"] == "True"
    labels = world.find("Namespace", "vision")["metadata"]["labels"]
    assert labels["team"] == "vision"
    assert labels["kfspawner.io/profile"] == "vision"


async def test_an_adopted_namespace_is_the_one_that_was_looked_at() -> None:
    world = World(PROFILE, namespace(labels={"kfspawner.io/owner": "alice"}))
    world.hear()
    world.api.remove("Namespace", "vision")
    world.api.put(namespace())
    with pytest.raises(ObjectExists):
        await world.keeper.reconcile("vision")

    assert "labels" not in world.find("Namespace", "vision")["metadata"]


async def test_the_hubs_own_namespace_is_nobodys() -> None:
    world = World(
        {**PROFILE, "metadata": {"name": "vision", "uid": "uid-vision"}},
        namespace(labels={"kfspawner.io/owner": "alice"}),
        hub_namespace="vision",
    )
    await world.settle()

    assert world.condition()["reason"] == "NamespaceTaken"
    assert world.api.called("apply") == []


async def test_a_namespace_deleted_by_hand_comes_back(world: World) -> None:
    world.api.holds = True
    world.api.remove("Namespace", "vision")
    await world.settle()
    assert world.condition()["reason"] == "NamespaceTerminating"
    assert world.api.called("apply") == []

    world.api.finish("vision")
    await world.settle()
    assert world.condition()["status"] == "True"
    assert len(inside(world)) == 10


async def test_a_profile_without_consent_to_delete_stays(world: World) -> None:
    world.api.remove("Profile", "vision")
    world.api.remove("NetworkPolicy", "default-deny", "vision")
    await world.settle()

    assert world.condition()["reason"] == "DeletionHeld"
    assert (
        "kubectl annotate profile vision kfspawner.io/delete-files=vision"
        in (world.condition()["message"])
    )
    # Its people still work behind its walls.
    assert ("NetworkPolicy", "default-deny") in inside(world)


async def test_a_profile_with_consent_goes_with_its_namespace(world: World) -> None:
    world.api.holds = True
    world.annotate(delete_files="vision")
    world.api.remove("Profile", "vision")
    await world.settle()
    assert world.condition()["reason"] == "Deleting"
    await world.settle()
    assert world.api.called("delete") == [("Namespace", "", "vision")]

    world.api.finish("vision")
    await world.settle()
    assert world.api.objects == {}
    assert world.mirror.profiles == {}
    await world.settle()
    assert world.api.objects == {}


async def test_another_profiles_name_is_no_consent(world: World) -> None:
    world.annotate(delete_files="visions")
    world.api.remove("Profile", "vision")
    await world.settle()

    assert world.condition()["reason"] == "DeletionHeld"
    assert ("Namespace", "", "vision") in world.api.objects


async def test_a_malformed_profile_can_be_deleted(world: World) -> None:
    world.annotate(delete_files="vision", groups="[")
    world.api.remove("Profile", "vision")
    await world.settle()
    await world.settle()

    assert world.api.objects == {}


async def test_a_deleted_profile_leaves_a_namespace_that_is_not_its_own(world: World) -> None:
    world.api.remove("Namespace", "vision")
    world.api.put(namespace())
    world.annotate(delete_files="vision")
    world.api.remove("Profile", "vision")
    await world.settle()

    assert list(world.api.objects) == [("Namespace", "", "vision")]


async def test_a_profile_that_went_meanwhile_gets_no_namespace() -> None:
    world = World(PROFILE)
    world.hear()
    world.api.remove("Profile", "vision")
    with pytest.raises(ClusterError):
        await world.keeper.reconcile("vision")

    assert world.api.objects == {}
