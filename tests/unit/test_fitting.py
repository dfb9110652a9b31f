"""What a person chose: whether it fits now, and the nearest that does."""

from __future__ import annotations

from typing import Any

import pytest

from kfspawner.servers.capacity import Room, find_rooms, read_node, read_use
from kfspawner.servers.fitting import Capacity, Finding, Placement, describe_options
from kfspawner.servers.free import show_free, show_left
from kfspawner.servers.images import read_image_profiles
from kfspawner.servers.options import Offers, ServerOptions
from tests.fakes import profiles
from tests.fakes.nodes import make_node, make_quota, make_taken

GIB = 2**30
PROFILES = read_image_profiles(profiles.PROFILES)
OFFERS = Offers({"kf-alice": PROFILES, "vision": PROFILES})
CPU = ServerOptions("kf-alice", "cpu", 4, 8 * GIB, 0)
GPU = ServerOptions("kf-alice", "gpu", 2, 4 * GIB, 2)
GPU_POOL: dict[str, Any] = {"labels": {"pool": "gpu"}}


def rooms(*nodes: dict[str, Any], pods: tuple[dict[str, Any], ...] = ()) -> list[Room]:
    uses = [use for use in map(read_use, pods) if use]
    return find_rooms(map(read_node, nodes), uses)


def quotas(**of: dict[str, Any]) -> dict[str, tuple[dict[str, Any], ...]]:
    return {name.replace("_", "-"): (quota,) for name, quota in of.items()}


def test_what_fits_is_found_to_fit() -> None:
    capacity = Capacity(rooms(make_node(gpus=2, **GPU_POOL)))

    assert capacity.find(GPU, OFFERS) == Finding()
    assert capacity.find(GPU, OFFERS).fits


def test_of_what_is_not_known_all_fits() -> None:
    assert Capacity().find(GPU, OFFERS).fits


def test_a_guarantee_is_what_needs_a_place() -> None:
    # Of 4 cores, 0.1 is set aside.
    capacity = Capacity(rooms(make_node(), pods=(make_taken(cpu="3800m"),)))

    assert capacity.find(CPU, OFFERS).fits


def test_less_of_the_same_is_proposed_first() -> None:
    pods = (make_taken(gpus="1", memory="12800Mi"),)
    capacity = Capacity(rooms(make_node(gpus=2, **GPU_POOL), pods=pods))

    found = capacity.find(GPU, OFFERS)

    assert found.why == "Waits until there is a place: at most 1 GPU free on one node."
    assert found.nearest == ServerOptions("kf-alice", "gpu", 2, 7 * GIB // 2, 1)
    assert capacity.find(found.nearest, OFFERS).fits


def test_the_node_that_comes_nearest_is_taken() -> None:
    nodes = [make_node(name, gpus=1, **GPU_POOL) for name in "ab"]
    pods = (make_taken("p", "a", memory="14Gi"), make_taken("q", "b", memory="13Gi"))

    found = Capacity(rooms(*nodes, pods=pods)).find(GPU, OFFERS)

    assert found.nearest == ServerOptions("kf-alice", "gpu", 2, 3 * GIB, 1)


def test_where_no_gpu_is_free_something_else_is_proposed() -> None:
    pods = (make_taken(gpus="2"),)
    capacity = Capacity(rooms(make_node(gpus=2, **GPU_POOL), pods=pods))

    found = capacity.find(GPU, OFFERS)

    assert found.why == "Waits until there is a place: all 2 GPUs are in use."
    assert found.nearest == ServerOptions("kf-alice", "cpu", 1, 2 * GIB, 0)


def test_what_no_node_could_hold_is_said_so() -> None:
    found = Capacity(rooms(make_node())).find(GPU, OFFERS)

    assert found.why.startswith("Cannot start: no node of the kind that it needs")
    assert found.nearest
    assert found.nearest.image_profile == "cpu"


def test_an_autoscaler_may_add_a_node() -> None:
    found = Capacity([]).find(GPU, OFFERS, Placement(autoscaled=True))

    assert found.why.startswith("Waits until the cluster has added a node: no node")
    assert found.nearest is None


def test_a_full_quota_is_told_with_what_would_fit() -> None:
    full = quotas(kf_alice=make_quota({"requests.memory": ("8Gi", "6Gi")}))

    found = Capacity(None, full).find(CPU, OFFERS)

    assert found.why == (
        "Does not fit now: the quota of profile kf-alice leaves too little memory: "
        "8Gi asked for, 6Gi of 8Gi in use; 2Gi would fit."
    )
    assert found.nearest == ServerOptions("kf-alice", "cpu", 4, 2 * GIB, 0)
    assert Capacity(None, full).find(found.nearest, OFFERS).fits


def test_who_uses_a_quota_is_told() -> None:
    taken = make_taken(memory="6Gi", cpu="1")
    taken["metadata"] |= {
        "labels": {"component": "singleuser-server"},
        "annotations": {"hub.jupyter.org/username": "bob"},
    }
    use = read_use(taken)
    assert use
    full = make_quota({"requests.memory": ("8Gi", "6Gi"), "limits.cpu": ("4", "1")})
    capacity = Capacity(None, quotas(kf_alice=full), {"kf-alice": {"server-bob": use}})

    assert "6Gi of 8Gi in use by bob's server; 2Gi would fit" in capacity.find(CPU, OFFERS).why
    assert capacity.users("kf-alice", "requests.cpu") == {"bob's server": 1}
    assert capacity.users("kf-alice", "limits.cpu") == {}


def test_another_profile_is_proposed_where_the_quota_is_used_up() -> None:
    full = quotas(kf_alice=make_quota({"requests.nvidia.com/gpu": ("2", "2")}))

    found = Capacity(None, full).find(GPU, OFFERS)

    assert found.nearest == ServerOptions("vision", "gpu", 2, 4 * GIB, 2)


@pytest.mark.parametrize("resource", ["pods", "count/pods"])
def test_a_profile_that_may_have_no_more_pods_is_left(resource: str) -> None:
    full = quotas(kf_alice=make_quota({resource: ("5", "5")}))

    found = Capacity(None, full).find(CPU, OFFERS)

    assert found.nearest
    assert found.nearest.profile == "vision"


def test_limits_have_quotas_too() -> None:
    full = quotas(kf_alice=make_quota({"limits.cpu": ("8", "6500m")}))

    found = Capacity(None, full).find(CPU, OFFERS)

    assert found.nearest == ServerOptions("kf-alice", "cpu", 1.5, 8 * GIB, 0)


def test_less_than_is_offered_is_not_proposed() -> None:
    full = make_quota({"requests.memory": ("1Gi", "800Mi")})

    found = Capacity(None, quotas(kf_alice=full, vision=full)).find(CPU, OFFERS)

    assert not found.fits
    assert found.nearest is None


def test_a_quota_for_some_pods_only_is_not_foreseen() -> None:
    some = make_quota({"requests.memory": ("1Gi", "1Gi")})
    some["spec"]["scopes"] = ["BestEffort"]

    assert Capacity(None, quotas(kf_alice=some)).find(CPU, OFFERS).fits
    assert Capacity(None, quotas(kf_alice=some)).left("kf-alice") == {}


def test_where_servers_may_go_besides_counts() -> None:
    capacity = Capacity(rooms(make_node(labels={"zone": "b"})))

    assert not capacity.find(CPU, OFFERS, Placement({"zone": "a"})).fits
    assert capacity.find(CPU, OFFERS, Placement({"zone": "b"})).fits


def test_what_is_left_in_words() -> None:
    quota = make_quota(
        {
            "requests.cpu": ("16", "2500m"),
            "requests.memory": ("64Gi", "4Gi"),
            "requests.nvidia.com/gpu": ("1", "0"),
            "requests.storage": ("50Gi", "10Gi"),
            "pods": ("50", "1"),
        }
    )
    capacity = Capacity(None, {"vision": (quota,)})

    assert show_left(capacity.left("vision")) == "13.5 cores, 60G of memory, 1 GPU"
    assert show_left(capacity.left("elsewhere")) == ""


def test_what_is_free_in_words() -> None:
    found = rooms(make_node(gpus=2), make_node("b", gpus=2), pods=(make_taken(gpus="1"),))

    assert show_free(PROFILES["gpu"], found) == "3 of 4 GPUs free now"
    assert show_free(PROFILES["cpu"], found) == "4 cores and 16G of memory free on one node"
    assert show_free(PROFILES["cpu"], []) == "No node for it now"


def test_a_server_in_words() -> None:
    assert describe_options(CPU, PROFILES["cpu"]) == "4 cores and 8G"
    assert describe_options(GPU, PROFILES["gpu"]) == "2 cores, 4G and 2 GPUs"
