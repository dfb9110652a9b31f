"""Why a pod never starts, from what Kubernetes says of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kfspawner.servers.failures import why_never

NOW = datetime(2024, 5, 4, 12, 0, tzinfo=UTC)


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "jupyter-alice", "uid": "u1"}, "status": status}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": "notebook", "image": "registry.example/cpu:1", "state": state, **more}


def ended(code: int, message: str = "", when: str = "state", **more: Any) -> dict[str, Any]:
    terminated = {"exitCode": code, "message": message, **more}
    return {"name": "notebook", "image": "x", when: {"terminated": terminated}}


@pytest.mark.parametrize(
    "alive",
    [
        pod(),
        pod(phase="Pending"),
        pod(phase="Pending", containerStatuses=[waiting("ContainerCreating")]),
        # The first failed pull may be a hiccup; the back-off after it is not waited for.
        pod(phase="Pending", containerStatuses=[waiting("ErrImagePull", "timeout")]),
        pod(phase="Running", containerStatuses=[{"name": "notebook", "state": {"running": {}}}]),
        # One that waits for something may try until that is there.
        pod(initContainerStatuses=[ended(1)]),
        pod(initContainerStatuses=[ended(0)]),
        pod(containerStatuses=[{**ended(0), "name": "beside"}]),
    ],
)
def test_a_pod_that_may_start_is_left_alone(alive: dict[str, Any]) -> None:
    assert why_never(alive, [], NOW) is None


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
        # The first time is enough, whether or not kubelet has begun the next.
        (pod(containerStatuses=[ended(1, "no module")]), "with exit code 1 no module; "),
        (pod(phase="Failed", containerStatuses=[ended(2)]), "with exit code 2; "),
        (pod(containerStatuses=[ended(0)]), "with exit code 0; "),
        (pod(containerStatuses=[ended(3, when="lastState")]), "with exit code 3; "),
        (pod(containerStatuses=[ended(137, reason="OOMKilled")]), "choose more memory"),
        (pod(containerStatuses=[{**ended(1), "name": "beside"}]), "with exit code 1; "),
        (
            pod(containerStatuses=[waiting("ErrImagePull", "x: unauthorized")]),
            "cannot be fetched: x: unauthorized",
        ),
        (
            pod(containerStatuses=[waiting("ErrImagePull", "manifest unknown: x")]),
            "cannot be fetched: manifest unknown",
        ),
    ],
)
def test_a_pod_that_cannot_start_says_why(dead: dict[str, Any], said: str) -> None:
    error = why_never(dead, [], NOW)

    assert error is not None
    assert str(error).startswith("starting server jupyter-alice: ")
    assert said in str(error)
    assert "\n" not in str(error)


def test_the_end_of_its_log_is_told() -> None:
    lines = [f"line {number}" for number in range(50)]

    error = why_never(pod(containerStatuses=[ended(1, "\n".join(lines))]), [], NOW)

    assert error is not None
    told = str(error).split("; its last words:\n")[1].splitlines()
    assert told[:-1] == lines[-20:]
    assert told[-1].startswith("; if you changed files")


# What does not mount.


def failed(seconds: int, uid: str = "u1", reason: str = "FailedMount") -> dict[str, Any]:
    """Return what kubelet first said of a pod's volumes some seconds ago."""
    return {
        "reason": reason,
        "message": "mount failed: nfs.example:/homes/vision/bob does not answer",
        "firstTimestamp": (NOW - timedelta(seconds=seconds)).isoformat(),
        "involvedObject": {"uid": uid},
    }


POD = {"metadata": {"name": "server-bob", "uid": "u1"}}


def test_files_that_cannot_be_mounted_for_a_while_end_the_start() -> None:
    error = why_never(POD, [failed(11), failed(2)], NOW)

    assert str(error) == (
        "starting server server-bob: its files cannot be mounted: mount failed: "
        "nfs.example:/homes/vision/bob does not answer; show this to the administrator, who may "
        "look whether the server of the files runs; nothing in them was touched"
    )


@pytest.mark.parametrize(
    "events",
    [[], [failed(3)], [failed(60, uid="of an earlier pod")], [failed(60, reason="Pulling")]],
    ids=["nothing", "a moment", "another pod", "another reason"],
)
def test_a_mount_may_take_its_time(events: list[dict[str, Any]]) -> None:
    assert why_never(POD, events, NOW) is None


# What no node holds.

_NO_VICTIMS = "1 No preemption victims found for incoming pod"
_NO_HELP = "Preemption is not helpful for scheduling"


def unplaced(said: str, nodes: int = 1, preemption: str = "") -> dict[str, Any]:
    words = preemption or f"{nodes} {_NO_HELP}"
    message = (
        f"0/{nodes} nodes are available: {said}. no new claims to deallocate, "
        f"preemption: 0/{nodes} nodes are available: {words}."
    )
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    return pod(phase="Pending", conditions=[condition])


@pytest.mark.parametrize(
    "hopeless",
    [
        unplaced("1 Insufficient cpu"),
        unplaced("1 Insufficient nvidia.com/gpu, 2 Insufficient memory", nodes=3),
        unplaced("1 node(s) didn't match Pod's node affinity/selector"),
        unplaced(
            "1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector", nodes=2
        ),
    ],
)
def test_what_no_node_could_hold_is_not_waited_for(hopeless: dict[str, Any]) -> None:
    error = why_never(hopeless, [], NOW)

    assert error is not None
    assert "no node of the cluster is large enough for it, or of the kind it needs" in str(error)
    assert error.way_out.startswith("choose a smaller size or another image profile")


@pytest.mark.parametrize(
    "hopeful",
    [
        # Another pod has it, and will end.
        unplaced("1 Insufficient nvidia.com/gpu", preemption=_NO_VICTIMS),
        unplaced("2 Insufficient cpu", nodes=2, preemption=f"1 {_NO_HELP}, {_NO_VICTIMS}"),
        # A node that is restarting, cordoned, or new bears a taint.
        unplaced("1 node(s) had untolerated taint(s)"),
        unplaced("1 Insufficient cpu, 1 node(s) were unschedulable", nodes=2),
        unplaced("pod has unbound immediate PersistentVolumeClaims"),
        unplaced('persistentvolumeclaim "home-a" not found'),
        pod(
            conditions=[
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "message": "no nodes available to schedule pods",
                }
            ]
        ),
        pod(conditions=[{"type": "PodScheduled", "status": "True"}]),
    ],
)
def test_what_may_yet_find_a_place_waits(hopeful: dict[str, Any]) -> None:
    assert why_never(hopeful, [], NOW) is None


@pytest.mark.parametrize("said", ["1 node(s) had untolerated taint(s)", "1 Insufficient cpu"])
def test_taints_that_stay_are_for_good(said: str) -> None:
    both = unplaced(f"{said}, 1 node(s) had untolerated taint {{gpu: yes}}", nodes=2)

    assert why_never(both, [], NOW) is None
    assert why_never(both, [], NOW, shut=True) is not None


@pytest.mark.parametrize(
    ("reasons", "autoscaled", "waits"),
    [
        ([], False, False),
        ([], True, True),
        (["TriggeredScaleUp"], False, True),
        (["NotTriggerScaleUp"], True, False),
        (["NotTriggerScaleUp", "TriggeredScaleUp"], True, True),
    ],
)
def test_a_node_that_is_added_is_waited_for(
    reasons: list[str], *, autoscaled: bool, waits: bool
) -> None:
    events = [{"reason": it, "involvedObject": {"uid": "u1"}} for it in reasons]
    others = [{"reason": "TriggeredScaleUp", "involvedObject": {"uid": "u2"}}]

    error = why_never(
        unplaced("1 Insufficient cpu"), [*events, *others], NOW, autoscaled=autoscaled
    )

    assert (error is None) is waits
