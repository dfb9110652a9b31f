"""What is free on nodes, and where a pod would find a place."""

from __future__ import annotations

from typing import Any

import pytest

from kfspawner.servers.capacity import (
    Fit,
    Request,
    Room,
    find_rooms,
    is_device,
    look_for_room,
    read_node,
    read_request,
    read_use,
    show_amount,
    stays_shut,
)
from tests.fakes.nodes import GPU, make_node, make_taken

GIB = 2**30


def rooms(*nodes: dict[str, Any], pods: tuple[dict[str, Any], ...] = ()) -> list[Room]:
    uses = [use for use in map(read_use, pods) if use]
    return find_rooms(map(read_node, nodes), uses)


def ask(cpu: float = 1, memory: int = GIB, gpus: int = 0, **where: Any) -> Request:
    amounts = {"pods": 1, "cpu": int(cpu * 1000), "memory": memory, GPU: gpus}
    return Request(amounts, **where)


def test_what_pods_ask_for_is_not_free() -> None:
    pods = (make_taken("a", cpu="500m", memory="1Gi"), make_taken("b", cpu="1", gpus="1"))

    (room,) = rooms(make_node(gpus=2), pods=pods)

    assert room.free == {"cpu": 2500, "memory": 15 * GIB, "pods": 108, GPU: 1}


@pytest.mark.parametrize(
    ("change", "free"),
    [
        ({"status": {"phase": "Succeeded"}}, 2),
        ({"status": {"phase": "Failed"}}, 2),
        ({"status": {"phase": "Pending"}}, 1),
        ({"spec": {"containers": make_taken(gpus="1")["spec"]["containers"]}}, 2),
    ],
)
def test_only_pods_on_it_that_have_not_ended_count(change: dict[str, Any], free: int) -> None:
    (room,) = rooms(make_node(gpus=2), pods=({**make_taken(gpus="1"), **change},))

    assert room.free[GPU] == free


def test_a_node_that_holds_more_than_it_should_has_nothing_free() -> None:
    (room,) = rooms(make_node(), pods=(make_taken(cpu="6"),))

    assert room.free["cpu"] == 0


@pytest.mark.parametrize(
    ("nodes", "pods", "asked", "fit"),
    [
        ([make_node()], [], ask(), Fit(now=True, ever=True)),
        ([make_node(gpus=1)], [], ask(gpus=1), Fit(now=True, ever=True)),
        (
            [make_node("a"), make_node("b", gpus=1)],
            [make_taken("p", "b", gpus="1")],
            ask(gpus=1),
            Fit(now=False, ever=True, why="the only GPU is in use"),
        ),
        (
            [make_node("a", gpus=2), make_node("b", gpus=2)],
            [make_taken("p", "a", gpus="2"), make_taken("q", "b", gpus="2")],
            ask(gpus=1),
            Fit(now=False, ever=True, why="all 4 GPUs are in use"),
        ),
        (
            [make_node("a", gpus=2), make_node("b", gpus=2)],
            [make_taken("p", "a", gpus="1"), make_taken("q", "b", gpus="1")],
            ask(gpus=2),
            Fit(now=False, ever=True, why="at most 1 GPU free on one node"),
        ),
        (
            [make_node(gpus=2)],
            [],
            ask(gpus=3),
            Fit(now=False, ever=False, why="the largest node for it has 2 GPUs"),
        ),
        (
            [make_node()],
            [],
            ask(cpu=6),
            Fit(now=False, ever=False, why="the largest node for it has 4 cores"),
        ),
        (
            [make_node()],
            [make_taken(cpu="2500m")],
            ask(cpu=2),
            Fit(now=False, ever=True, why="at most 1.5 cores free on one node"),
        ),
        (
            [make_node()],
            [make_taken(memory="10Gi")],
            ask(memory=8 * GIB),
            Fit(now=False, ever=True, why="at most 6G of memory free on one node"),
        ),
        (
            [make_node("a"), make_node("b")],
            [make_taken("p", "a", cpu="3"), make_taken("q", "b", memory="15Gi")],
            ask(cpu=2, memory=2 * GIB),
            Fit(now=False, ever=True, why="no node has all of that free at once"),
        ),
        (
            [make_node(ready=False)],
            [],
            ask(),
            Fit(now=False, ever=True, why="the nodes that could hold it are not ready"),
        ),
        (
            [],
            [],
            ask(),
            Fit(now=False, ever=False, why="no node of the kind that it needs takes servers now"),
        ),
    ],
)
def test_a_place_is_found_or_it_is_said_why_not(
    nodes: list[dict[str, Any]], pods: list[dict[str, Any]], asked: Request, fit: Fit
) -> None:
    assert look_for_room(asked, rooms(*nodes, pods=tuple(pods))) == fit


@pytest.mark.parametrize(
    ("node", "where", "lets_in"),
    [
        ({"labels": {"pool": "gpu"}}, {"node_selector": {"pool": "gpu"}}, True),
        ({"labels": {"pool": "cpu"}}, {"node_selector": {"pool": "gpu"}}, False),
        ({}, {"node_selector": {"nvidia.com/gpu.product": "A100"}}, False),
        ({"unschedulable": True}, {}, False),
        ({"taints": [{"key": "gpu", "effect": "NoSchedule"}]}, {}, False),
        ({"taints": [{"key": "gpu", "effect": "NoExecute"}]}, {}, False),
        ({"taints": [{"key": "gpu", "effect": "PreferNoSchedule"}]}, {}, True),
        (
            {"taints": [{"key": "gpu", "effect": "NoSchedule"}]},
            {"tolerations": [{"key": "gpu", "operator": "Exists"}]},
            True,
        ),
        (
            {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]},
            {"tolerations": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]},
            True,
        ),
        (
            {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]},
            {"tolerations": [{"key": "gpu", "value": "no"}]},
            False,
        ),
        (
            {"taints": [{"key": "gpu", "effect": "NoExecute"}]},
            {"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]},
            False,
        ),
        (
            {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}]},
            {"tolerations": [{"operator": "Exists"}]},
            True,
        ),
    ],
)
def test_selectors_taints_and_cordons_are_honoured(
    node: dict[str, Any],
    where: dict[str, Any],
    lets_in: bool,  # noqa: FBT001
) -> None:
    assert look_for_room(ask(**where), rooms(make_node(**node))).now is lets_in


def test_any_extended_resource_counts() -> None:
    node = make_node()
    node["status"]["allocatable"] |= {"nvidia.com/mig-1g.5gb": "2", "amd.com/gpu": "1"}
    slices = Request({"nvidia.com/mig-1g.5gb": 3})

    assert look_for_room(Request({"amd.com/gpu": 1}), rooms(node)).now
    assert look_for_room(slices, rooms(node)).why == "the largest node for it has 2 mig-1g.5gb"


def test_a_pods_spec_is_its_request() -> None:
    spec = {
        **make_taken(cpu="1500m", gpus="1")["spec"],
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"operator": "Exists"}],
    }

    asked = read_request(spec)

    assert asked.amounts == {"pods": 1, "cpu": 1500, GPU: 1}
    assert asked.node_selector == {"pool": "gpu"}
    assert asked.tolerations == ({"operator": "Exists"},)


def test_who_holds_a_device_is_told() -> None:
    pod = make_taken(gpus="1")
    pod["metadata"] |= {
        "labels": {"component": "singleuser-server"},
        "annotations": {"hub.jupyter.org/username": "bob"},
    }
    with_device, without = read_use(pod), read_use(make_taken(cpu="1"))

    assert with_device
    assert with_device.owner == "bob's server"
    assert without
    assert without.owner == "pod pod"


def test_pods_that_ask_for_the_same_share_what_is_kept() -> None:
    first, second = read_use(make_taken("a", cpu="1")), read_use(make_taken("b", cpu="1"))

    assert first
    assert second
    assert first.amounts is second.amounts


@pytest.mark.parametrize(
    ("resource", "amount", "shown"),
    [
        ("cpu", 1000, "1 core"),
        ("cpu", 1999, "1.99 cores"),
        ("memory", 15 * GIB + GIB // 2 - 1, "15.4G of memory"),
        ("nvidia.com/gpu", 1, "1 GPU"),
        ("amd.com/gpu", 2, "2 GPUs"),
        ("nvidia.com/mig-1g.5gb", 2, "2 mig-1g.5gb"),
    ],
)
def test_amounts_in_words(resource: str, amount: int, shown: str) -> None:
    assert show_amount(resource, amount) == shown


def test_what_a_device_is() -> None:
    named = ["nvidia.com/gpu", "cpu", "kubernetes.io/batch", "hugepages-2Mi", "pods"]

    assert [it for it in named if is_device(it)] == ["nvidia.com/gpu"]


_GPU_POOL = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
_RESTARTING = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}
_LEAVING = {"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("taints", "tolerations", "shut"),
    [
        ([], [], False),
        ([[]], [], False),
        ([[_GPU_POOL]], [], True),
        ([[_GPU_POOL], []], [], True),
        ([[_GPU_POOL]], [{"key": "gpu", "operator": "Exists"}], False),
        ([[_RESTARTING]], [], False),
        ([[_LEAVING], [_GPU_POOL]], [], False),
        ([[_RESTARTING, _GPU_POOL]], [], True),
        ([[_RESTARTING, _GPU_POOL]], [{"key": "gpu", "value": "yes"}], False),
    ],
)
def test_a_taint_of_the_nodes_state_passes(
    taints: list[list[dict[str, str]]], tolerations: list[dict[str, str]], *, shut: bool
) -> None:
    nodes = [read_node(make_node(f"n{at}", taints=its)) for at, its in enumerate(taints)]

    assert stays_shut(nodes, tolerations) is shut
