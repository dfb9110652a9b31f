"""Who holds what a server waits for, and who asked before it."""

from __future__ import annotations

import pytest

from kfspawner.servers.capacity import Use
from kfspawner.servers.queueing import describe_queue

GPU = "nvidia.com/gpu"


def use(owner: str, *, gpus: int = 1, node: str = "", at: str = "10:00") -> Use:
    return Use("kf-team", node, {GPU: gpus, "cpu": 100}, owner, f"2026-01-01T{at}:00Z")


ME = use("my server", at="10:30")


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], ""),
        ([use("bob's server", node="n")], " by bob's server"),
        (
            [use("bob's server", node="n"), use("ana's run digits", node="n", gpus=2)],
            " by ana's run digits and bob's server",
        ),
        (
            [use("bob's server", node="n"), use("cleo's server", at="10:29")],
            " by bob's server; cleo's server asked before you",
        ),
        ([use("cleo's server", at="10:29")], "; cleo's server asked before you"),
        ([use("late's server", at="10:31")], ""),
        ([use("frugal's server", gpus=0, node="n")], ""),
        ([use(f"p{it}'s server", node="n") for it in range(7)], None),
    ],
)
def test_who_is_in_the_way_is_told(others: list[Use], said: str | None) -> None:
    told = describe_queue(GPU, ME.since, [*others, ME])

    if said is None:
        assert told.endswith("p4's server and 2 more")
    else:
        assert told == said


def test_another_device_is_not_theirs() -> None:
    assert describe_queue("amd.com/gpu", ME.since, [use("bob's server", node="n")]) == ""
