"""What is free, in the words of the spawn page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from kfspawner.servers.capacity import CORE, Room, call_device, is_device, show_amount
from kfspawner.servers.images import ImageProfile

_REQUESTS = "requests."


def show_left(left: Mapping[str, Fraction]) -> str:
    """Return what a profile's quota leaves: ``14 cores, 60G of memory, 1 GPU``.

    Parameters
    ----------
    left
        By resource, as quotas call them. What is no resource of a server is
        left out.
    """
    amounts: dict[str, Fraction] = {}
    for name, amount in left.items():
        resource = name.removeprefix(_REQUESTS)
        if resource in ("cpu", "memory") or (name != resource and is_device(resource)):
            amounts[resource] = min(amount, amounts.get(resource, amount))
    shown = []
    for resource in sorted(amounts, key=lambda it: (it not in ("cpu", "memory"), it)):
        unit = CORE if resource == "cpu" else 1
        shown.append(show_amount(resource, math.floor(amounts[resource] * unit)))
    return ", ".join(shown)


def show_free(profile: ImageProfile, rooms: Sequence[Room]) -> str:
    """Return what is free on the nodes for an image profile: ``2 of 4 GPUs free now``.

    Parameters
    ----------
    profile
        The image profile.
    rooms
        The nodes where its servers may go.
    """
    if profile.gpu:
        resource = profile.gpu_resource
        total = sum(it.node.allocatable.get(resource, 0) for it in rooms)
        free = sum(it.free.get(resource, 0) for it in rooms)
        called = "" if profile.gpu_called else f" {call_device(resource, total)}"
        return f"{free} of {total}{called} free now"
    if not rooms:
        return "No node for it now"
    most = max(rooms, key=lambda it: (it.free.get("cpu", 0), it.free.get("memory", 0)))
    cores = show_amount("cpu", most.free.get("cpu", 0))
    return f"{cores} and {show_amount('memory', most.free.get('memory', 0))} free on one node"
