"""Beside Kubeflow's own controller only the walls are ours."""

from __future__ import annotations

from kfspawner.profiles.api import Object
from tests.fakes.world import PROFILE, World, inside, namespace

KUBEFLOWS = {"ownerReferences": [{"kind": "Profile", "name": "vision", "uid": "uid-vision"}]}


async def test_beside_kubeflow_only_the_walls_are_added() -> None:
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default-editor", "namespace": "vision"},
    }
    world = World(PROFILE, namespace(**KUBEFLOWS), account, walls_only=True)
    await world.settle()

    assert inside(world) == [
        ("NetworkPolicy", "default-deny"),
        ("NetworkPolicy", "openings"),
        ("NetworkPolicy", "servers"),
        ("RoleBinding", "kfspawner-hub-namespace"),
        ("ServiceAccount", "default-editor"),
    ]
    assert world.find("Namespace", "vision")["metadata"]["labels"] == {
        "kfspawner.io/profile": "vision",
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    }
    assert "finalizers" not in world.find("Profile", "vision")["metadata"]
    assert world.condition()["status"] == "True"
    world.api.calls.clear()
    await world.settle()
    assert world.api.calls == []


async def test_beside_kubeflow_a_namespace_is_waited_for() -> None:
    world = World(PROFILE, walls_only=True)
    await world.settle()
    assert world.condition()["reason"] == "NamespaceMissing"

    world.api.put(namespace(annotations={"owner": "alice"}))
    await world.settle()
    assert world.condition()["reason"] == "NamespaceTaken"

    world.api.put(namespace(**KUBEFLOWS))
    await world.settle()
    assert world.condition()["status"] == "True"


async def test_beside_kubeflow_its_conditions_stay_and_reasons_may_be_lost() -> None:
    def prune(it: Object) -> None:
        for condition in it.get("status", {}).get("conditions", ()):
            condition.pop("reason", None)
            condition.pop("lastTransitionTime", None)

    theirs = {"type": "Successful", "status": "True", "message": "done"}
    world = World(
        {**PROFILE, "status": {"conditions": [theirs]}}, namespace(**KUBEFLOWS), walls_only=True
    )
    world.api.on_write = prune
    world.change(spec={**PROFILE["spec"], "plugins": [{"kind": "Theirs"}]})
    await world.settle()
    assert world.condition("Successful") == theirs
    assert world.condition()["status"] == "True"
    assert world.condition("Plugins") == {}

    world.api.calls.clear()
    await world.settle()
    assert world.api.calls == []


async def test_beside_kubeflow_a_deletion_is_not_ours() -> None:
    held = {**PROFILE, "metadata": {**PROFILE["metadata"], "finalizers": ["profile-finalizer"]}}
    world = World(held, namespace(**KUBEFLOWS), walls_only=True)
    await world.settle()
    world.api.remove("Profile", "vision")
    world.api.calls.clear()
    await world.settle()

    assert world.api.calls == []
