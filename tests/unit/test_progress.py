"""Kubernetes' words, and what a person reads instead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from kfspawner.servers.progress import Step, describe, interleave, waits_for


@pytest.mark.parametrize(
    ("reason", "message", "said"),
    [
        (
            "FailedScheduling",
            "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes",
            "Waiting for a GPU: all are in use.",
        ),
        (
            "FailedScheduling",
            "0/2 nodes are available: 2 Insufficient example.com/fpga.",
            "Waiting for example.com/fpga: all",
        ),
        (
            "FailedScheduling",
            "0/1 nodes are available: 1 Insufficient memory.",
            "Waiting for memory",
        ),
        ("FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.", "Waiting for CPU"),
        (
            "FailedScheduling",
            "0/2 nodes are available: 1 Insufficient cpu, 1 Insufficient nvidia.com/gpu.",
            "Waiting for a GPU",
        ),
        (
            "FailedScheduling",
            '0/1 nodes are available: persistentvolumeclaim "home-a" not found.',
            "Waiting for your home volume",
        ),
        (
            "FailedScheduling",
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
            "Waiting for your home volume",
        ),
        (
            "FailedScheduling",
            "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: }.",
            "No node takes this kind of server",
        ),
        (
            "FailedScheduling",
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
            "No node fits this kind of server",
        ),
        ("FailedScheduling", "no nodes available", "Waiting for a place in the cluster"),
        ("Scheduled", "Successfully assigned kf-a/jupyter-a to node", "A node was found"),
        ("Pulling", 'Pulling image "x"', "Fetching the image"),
        ("Started", "Started container notebook", "The server is starting"),
    ],
)
def test_events_become_sentences(reason: str, message: str, said: str) -> None:
    sentence = describe({"reason": reason, "message": message})

    assert sentence.startswith(said)
    assert f"({reason}: {message})" in sentence


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"reason": "Odd", "message": "never\n seen"}, "Odd: never seen"),
        ({"reason": "Odd", "message": None}, "Odd"),
        ({}, ""),
    ],
)
def test_an_unknown_event_keeps_its_words(event: dict[str, Any], said: str) -> None:
    assert describe(event) == said


def test_the_size_of_an_image_that_is_fetched_is_told() -> None:
    event = {"reason": "Pulling", "message": 'Pulling image "{x}"'}

    assert describe(event, size="1.2 GiB in 9 layers").startswith(
        "Fetching the image, 1.2 GiB in 9 layers; the first time"
    )
    assert describe(event).startswith("Fetching the image; the first time")


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "jupyter-alice"}, "status": status}


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        (None, ""),
        ([], ""),
        ([{"type": "PodScheduled", "status": "True"}], ""),
        ([{"type": "Ready", "status": "False", "message": "not yet"}], ""),
        (
            [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
                }
            ],
            "Waiting for a GPU",
        ),
    ],
)
def test_the_condition_tells_what_is_missed(conditions: Any, said: str) -> None:
    sentence = waits_for(pod(conditions=conditions))

    assert sentence.startswith(said)
    assert bool(sentence) == bool(said)
    assert waits_for(None) == ""


@pytest.mark.parametrize(
    ("queue", "said"),
    [
        (" by bob's server", "Waiting for a GPU: all are in use by bob's server. The"),
        ("", "Waiting for a GPU: all are in use. The server starts"),
    ],
)
def test_who_is_in_the_way_is_named(queue: str, said: str) -> None:
    asked: list[str] = []

    def ask(device: str) -> str:
        asked.append(device)
        return queue

    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "message": message}

    sentence = waits_for(pod(conditions=[condition]), ask)

    assert sentence.startswith(said)
    assert asked == ["nvidia.com/gpu"]


async def test_steps_and_looks_are_told_in_turn_and_once() -> None:
    closed = False
    seen = iter(["", "no volume", "no volume", "no GPU"])
    latest = ""

    def look() -> str:
        nonlocal latest
        latest = next(seen, latest)
        return latest

    async def steps() -> AsyncGenerator[Step, None]:
        nonlocal closed
        try:
            yield {"message": "a", "progress": 1}
            yield {"message": "no volume", "progress": 2}
            yield {"message": "b", "progress": 3}
            await asyncio.sleep(0.05)
            yield {"message": "b", "progress": 4}
        finally:
            closed = True

    told = [step["message"] async for step in interleave(steps(), look, every=0.01)]

    assert told == ["a", "no volume", "b", "no GPU", "b"]
    assert closed


async def test_whoever_stops_listening_ends_the_steps() -> None:
    closed = False

    async def steps() -> AsyncGenerator[Step, None]:
        nonlocal closed
        try:
            yield {"message": "a"}
            await asyncio.sleep(3600)
            yield {"message": "never"}
        finally:
            closed = True

    told = interleave(steps(), lambda: "")
    assert (await anext(told))["message"] == "a"
    await told.aclose()

    assert closed
