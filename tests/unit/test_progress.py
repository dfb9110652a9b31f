"""Kubernetes' words, and what a person reads instead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from kfspawner.servers.progress import Step, cannot_start, describe, interleave, waits_for


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


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "jupyter-alice"}, "status": status}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": "notebook", "image": "registry.example/cpu:1", "state": state, **more}


@pytest.mark.parametrize(
    "alive",
    [
        pod(),
        pod(phase="Pending"),
        pod(phase="Pending", containerStatuses=[waiting("ContainerCreating")]),
        # The first failed pull may be a hiccup; the back-off after it is not waited for.
        pod(phase="Pending", containerStatuses=[waiting("ErrImagePull", "timeout")]),
        pod(phase="Running", containerStatuses=[{"name": "notebook", "state": {"running": {}}}]),
    ],
)
def test_a_pod_that_may_start_is_left_alone(alive: dict[str, Any]) -> None:
    assert cannot_start(alive) is None


@pytest.mark.parametrize(
    ("dead", "said"),
    [
        (
            pod(containerStatuses=[waiting("ImagePullBackOff", "not\nfound")]),
            "its image registry.example/cpu:1 cannot be fetched: not found",
        ),
        (
            pod(
                containerStatuses=[
                    waiting(
                        "ImagePullBackOff",
                        'Back-off pulling image "registry.example/cpu:1": ErrImagePull: rpc error: '
                        'failed to pull image "registry.example/cpu:1": not found',
                    )
                ]
            ),
            'cannot be fetched: rpc error: failed to pull image "...": not found; choose another',
        ),
        (pod(containerStatuses=[waiting("InvalidImageName", "bad")]), "cannot be fetched: bad"),
        (
            pod(containerStatuses=[waiting("CreateContainerConfigError", "no secret x")]),
            "its container cannot be made: no secret x",
        ),
        (pod(initContainerStatuses=[waiting("ImagePullBackOff")]), "ImagePullBackOff"),
        (
            pod(
                containerStatuses=[
                    waiting("CrashLoopBackOff", lastState={"terminated": {"exitCode": 127}})
                ]
            ),
            "with exit code 127",
        ),
        (
            pod(
                containerStatuses=[
                    waiting(
                        "CrashLoopBackOff",
                        lastState={"terminated": {"exitCode": 128, "message": "exec: no such"}},
                    )
                ]
            ),
            "with exit code 128 exec: no such; ",
        ),
        (
            pod(
                containerStatuses=[
                    waiting("CrashLoopBackOff", lastState={"terminated": {"reason": "OOMKilled"}})
                ]
            ),
            "choose more memory",
        ),
        (pod(phase="Failed", reason="Evicted", message="disk full"), "the pod failed: disk full"),
    ],
)
def test_a_pod_that_cannot_start_says_why(dead: dict[str, Any], said: str) -> None:
    error = cannot_start(dead)

    assert error is not None
    assert str(error).startswith("starting server jupyter-alice: ")
    assert said in str(error)
    assert "\n" not in str(error)


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
