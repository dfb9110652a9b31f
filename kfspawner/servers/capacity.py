"""What is free on the nodes, as the scheduler counts it: where a pod would fit, and why not.

Pure: nodes and pods come in as the API's dicts. Amounts are whole numbers by
resource: thousandths of a core for ``cpu``, bytes for ``memory``, devices and
``pods`` by the piece.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any

from kfspawner.quantity import read_quantity
from kfspawner.quota import pod_owner, pod_total
from kfspawner.servers.amounts import show_cores

Object = Mapping[str, Any]
Amounts = Mapping[str, int]
Taint = tuple[str, str, str]

CORE = 1000
_GIB = 2**30
# What is told of a shortage first.
_FIRST = ("pods", "cpu", "memory", "ephemeral-storage")
# Kubernetes' own mark on a node that takes no new pods.
_CORDON = "node.kubernetes.io/unschedulable"
# Whose taints come and go with the state of a node.
_PASSING = (
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    "karpenter.sh/",
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
)
_ENDED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the scheduler looks at it.

    Attributes
    ----------
    taints
        Key, value and effect of those that keep pods away.
    allocatable
        What there is for pods.
    ready
        Whether its kubelet says that it runs pods.
    """

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Taint]
    allocatable: Amounts
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Use:
    """What one pod takes, or waits for.

    Attributes
    ----------
    node
        The node that it is bound to; empty while it waits for one.
    amounts
        What it asks for.
    owner
        What it is to people: ``bob's server``.
    since
        When it was made, as the API tells times.
    """

    namespace: str
    node: str
    amounts: Amounts
    owner: str = ""
    since: str = ""


@dataclass(frozen=True)
class Request:
    """What a pod asks the scheduler for."""

    amounts: Amounts
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Object] = ()


@dataclass(frozen=True, slots=True)
class Room:
    """A node and what is left of it."""

    node: Node
    free: Amounts


@dataclass(frozen=True)
class Fit:
    """Whether a pod finds a place.

    Attributes
    ----------
    now
        Whether one is free.
    ever
        Whether one would be, if nothing else ran on the nodes that there are.
    why
        Why none is free, in one clause; empty if one is.
    """

    now: bool
    ever: bool
    why: str = ""


def read_node(it: Object) -> Node:
    """Return a Node object as the scheduler looks at it."""
    spec, status = it.get("spec") or {}, it.get("status") or {}
    taints = [
        (str(taint["key"]), str(taint.get("value") or ""), str(taint["effect"]))
        for taint in spec.get("taints") or ()
        if taint["effect"] != "PreferNoSchedule"
    ]
    if spec.get("unschedulable") and not any(key == _CORDON for key, _, _ in taints):
        taints.append((_CORDON, "", "NoSchedule"))
    ready = (told["status"] for told in status.get("conditions") or () if told["type"] == "Ready")
    amounts = {name: read_quantity(it) for name, it in (status.get("allocatable") or {}).items()}
    return Node(
        name=str(it["metadata"]["name"]),
        labels=dict(it["metadata"].get("labels") or {}),
        taints=tuple(taints),
        allocatable=_whole(amounts),
        ready=next(ready, "True") == "True",
    )


def read_use(pod: Object) -> Use | None:
    """Return what a Pod object takes or waits for; None once it has ended."""
    if (pod.get("status") or {}).get("phase") in _ENDED:
        return None
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    return Use(
        sys.intern(str(metadata.get("namespace") or "")),
        sys.intern(str(spec.get("nodeName") or "")),
        _amounts_of(spec),
        pod_owner(pod),
        str(metadata.get("creationTimestamp") or ""),
    )


def read_request(spec: Object) -> Request:
    """Return what a pod of this ``spec`` asks the scheduler for."""
    return Request(
        _amounts_of(spec),
        dict(spec.get("nodeSelector") or {}),
        tuple(spec.get("tolerations") or ()),
    )


def find_rooms(nodes: Iterable[Node], uses: Iterable[Use]) -> list[Room]:
    """Return what is left of each node."""
    taken: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for use in uses:
        if use.node:
            sums = taken[use.node]
            for resource, amount in use.amounts.items():
                sums[resource] += amount
    return [
        Room(
            node,
            {it: max(0, most - taken[node.name][it]) for it, most in node.allocatable.items()},
        )
        for node in nodes
    ]


def admits(node: Node, request: Request) -> bool:
    """Say whether a node is of the kind that a pod asks for, and lets it in."""
    chosen = all(node.labels.get(key) == it for key, it in request.node_selector.items())
    return chosen and all(_passes(taint, request.tolerations) for taint in node.taints)


def stays_shut(nodes: Iterable[Node], tolerations: Sequence[Object]) -> bool:
    """Say whether each node with a taint that is not tolerated has one that is there to stay."""
    refusing = [
        [key for key, _, _ in taints]
        for node in nodes
        if (taints := [it for it in node.taints if not _passes(it, tolerations)])
    ]
    return bool(refusing) and all(
        any(not key.startswith(_PASSING) for key in keys) for keys in refusing
    )


def look_for_room(request: Request, rooms: Iterable[Room]) -> Fit:
    """Return whether a pod fits on one of the nodes, and why not."""
    kind = [it for it in rooms if admits(it.node, request)]
    if any(it.node.ready and holds(it.free, request.amounts) for it in kind):
        return Fit(now=True, ever=True)
    if not kind:
        return Fit(now=False, ever=False, why="no node of the kind that it needs takes servers now")
    able = [it for it in kind if holds(it.node.allocatable, request.amounts)]
    if not able:
        return Fit(now=False, ever=False, why=_too_large(request.amounts, kind))
    ready = [it for it in able if it.node.ready]
    if not ready:
        return Fit(now=False, ever=True, why="the nodes that could hold it are not ready")
    return Fit(now=False, ever=True, why=_in_use(request.amounts, ready))


def holds(have: Amounts, asked: Amounts) -> bool:
    """Say whether `have` is enough of everything that is asked for."""
    return all(have.get(resource, 0) >= amount for resource, amount in asked.items() if amount)


def is_device(resource: str) -> bool:
    """Say whether a resource is an extended one: a GPU, a slice of one, or another device."""
    return "/" in resource and "kubernetes.io/" not in resource


def show_amount(resource: str, amount: int) -> str:
    """Return an amount in words: ``1.5 cores``, ``6.2G of memory``, ``2 GPUs``."""
    if resource == "cpu":
        cores = show_cores(math.floor(amount / CORE * 100) / 100)
        return f"{cores} {'core' if cores == '1' else 'cores'}"
    if resource == "memory":
        return f"{math.floor(amount / _GIB * 10) / 10:g}G of memory"
    return f"{amount} {call_device(resource, amount)}"


def call_device(resource: str, amount: int = 1) -> str:
    """Return what people call a device, so many of them: ``GPUs``, ``mig-1g.5gb``."""
    name = resource.rpartition("/")[2]
    if name == "gpu":
        return "GPU" if amount == 1 else "GPUs"
    return name


def _too_large(asked: Amounts, kind: Sequence[Room]) -> str:
    for resource in _in_order(asked):
        most = max(it.node.allocatable.get(resource, 0) for it in kind)
        if most < asked[resource]:
            return f"the largest node for it has {show_amount(resource, most)}"
    return "no node has all of that at once"


def _in_use(asked: Amounts, able: Sequence[Room]) -> str:
    for resource in _in_order(asked):
        most = max(it.free.get(resource, 0) for it in able)
        if most >= asked[resource]:
            continue
        if is_device(resource) and not most:
            total = sum(it.node.allocatable.get(resource, 0) for it in able)
            one = f"the only {call_device(resource)} is in use"
            return one if total == 1 else f"all {show_amount(resource, total)} are in use"
        if resource == "pods":
            return "its nodes run as many pods as they may"
        return f"at most {show_amount(resource, most)} free on one node"
    return "no node has all of that free at once"


def _in_order(asked: Amounts) -> list[str]:
    """Return the resources that are asked for: devices first, of which there are fewest."""
    rank = {resource: number for number, resource in enumerate(_FIRST)}
    return sorted((it for it in asked if asked[it]), key=lambda it: (rank.get(it, -1), it))


def _passes(taint: Taint, tolerations: Iterable[Object]) -> bool:
    return any(_tolerates(it, taint) for it in tolerations)


def _tolerates(toleration: Object, taint: Taint) -> bool:
    key, value, effect = taint
    if toleration.get("effect") not in (None, "", effect):
        return False
    wanted = toleration.get("key") or ""
    if toleration.get("operator", "Equal") == "Exists":
        return wanted in ("", key)
    return bool(wanted == key and (toleration.get("value") or "") == value)


def _amounts_of(spec: Object) -> Amounts:
    total = {**pod_total(spec, "requests"), "pods": Fraction(1)}
    return _shared(tuple(sorted(_whole(total).items())))


@lru_cache(4096)
def _shared(items: tuple[tuple[str, int], ...]) -> Amounts:
    """Return the same mapping to all who ask for the same."""
    return {sys.intern(resource): amount for resource, amount in items}


def _whole(amounts: Mapping[str, Fraction]) -> dict[str, int]:
    return {
        sys.intern(resource): math.ceil(amount * CORE if resource == "cpu" else amount)
        for resource, amount in amounts.items()
    }
