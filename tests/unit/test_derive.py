"""A run's status, from what the cluster holds of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kfspawner.training.derive import derive_status
from kfspawner.training.state import RunState, RunStatus

NAME = "digits-x7k2p"
IMAGE = f"registry.example/kf-alice/runs@sha256:{'ab' * 32}"
MADE, STARTED, FINISHED = (f"2024-05-04T12:00:{second:02}Z" for second in (0, 5, 17))
GPU_SHORT = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


def make_job(
    *conditions: str, stopped: bool = False, deleted: bool = False, suspend: bool = False
) -> dict[str, Any]:
    """Return a Job with conditions of these types, as the API tells it."""
    return {
        "metadata": {
            "name": NAME,
            "labels": {"kfspawner.io/run": NAME},
            "creationTimestamp": MADE,
            **({"annotations": {"kfspawner.io/stopped": "true"}} if stopped else {}),
            **({"deletionTimestamp": FINISHED} if deleted else {}),
        },
        "spec": {
            "suspend": suspend,
            "template": {"spec": {"containers": [{"name": "run", "image": IMAGE}]}},
        },
        "status": {
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": FINISHED}
                for kind in conditions
            ]
        },
    }


def make_pod(
    phase: str = "Pending",
    *,
    scheduled: bool | None = True,
    message: str = "",
    deleted: bool = False,
    **state: Any,
) -> dict[str, Any]:
    """Return the Job's pod with its container in `state`."""
    status: dict[str, Any] = {"phase": phase}
    if scheduled is not None:
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": str(scheduled),
                "reason": "" if scheduled else "Unschedulable",
                "message": message,
            }
        ]
    if state:
        status["containerStatuses"] = [{"name": "run", "state": state}]
    metadata = {"name": f"{NAME}-abcde", "creationTimestamp": MADE}
    if deleted:
        metadata["deletionTimestamp"] = FINISHED
    return {"metadata": metadata, "spec": {"containers": [{"name": "run"}]}, "status": status}


def terminated(code: int, **more: str) -> dict[str, Any]:
    return {"exitCode": code, "startedAt": STARTED, "finishedAt": FINISHED, **more}


def make_event(reason: str, message: str, time: str = MADE) -> dict[str, Any]:
    return {"metadata": {}, "reason": reason, "message": message, "lastTimestamp": time}


RUNNING = {"startedAt": STARTED}
CREATING = {"reason": "ContainerCreating"}
PULL_FAILED = {"reason": "ImagePullBackOff", "message": "not found"}
FORBIDDEN = make_event("FailedCreate", 'pods "x" is forbidden: violates PodSecurity')
UNMOUNTED = make_event("FailedMount", 'configmap "kfspawner-ca" not found')

Case = tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]], str, str]

CASES: dict[str, Case] = {
    "just made": (make_job(), [], [], "Created", ""),
    "pod refused": (make_job(), [], [FORBIDDEN], "Failed", "pod security refuses it"),
    "held back": (make_job(suspend=True), [], [], "Queued", "holds it back"),
    "not looked at": (make_job(), [make_pod(scheduled=None)], [], "Created", ""),
    "no GPU free": (
        make_job(),
        [make_pod(scheduled=False, message=GPU_SHORT)],
        [],
        "Queued",
        "waits for a GPU: 0 of 1 nodes have nvidia.com/gpu free",
    ),
    "placed": (make_job(), [make_pod(waiting=CREATING)], [], "Queued", "fetching the image"),
    "not mounted": (
        make_job(),
        [make_pod(waiting=CREATING)],
        [UNMOUNTED],
        "Queued",
        'could not be mounted yet, and are tried again (configmap "kfspawner-ca"',
    ),
    "cannot start": (make_job(), [make_pod(waiting=PULL_FAILED)], [], "Failed", "cannot be pulled"),
    "runs": (make_job(), [make_pod("Running", running=RUNNING)], [], "Running", ""),
    "old refusal": (
        make_job(),
        [make_pod("Running", running=RUNNING)],
        [FORBIDDEN],
        "Running",
        "",
    ),
    "runs its last": (
        make_job(),
        [make_pod("Running", deleted=True, running=RUNNING)],
        [],
        "Running",
        "its pod is being deleted",
    ),
    "container ahead": (
        make_job(),
        [make_pod("Running", terminated=terminated(0))],
        [],
        "Succeeded",
        "",
    ),
    "pod ahead": (
        make_job(),
        [make_pod("Succeeded", terminated=terminated(0))],
        [],
        "Succeeded",
        "",
    ),
    "complete": (make_job("Complete"), [], [], "Succeeded", ""),
    "ended badly": (
        make_job(),
        [make_pod("Running", terminated=terminated(7))],
        [],
        "Failed",
        "exit code 7",
    ),
    "failed": (
        make_job("Failed"),
        [make_pod("Failed", terminated=terminated(137, reason="OOMKilled"))],
        [],
        "Failed",
        "out of memory",
    ),
    "pod lost": (make_job("Failed"), [], [], "Failed", "its pod was deleted or lost"),
    "stopped": (
        make_job("Suspended", stopped=True, suspend=True),
        [],
        [],
        "Stopped",
        "its owner stopped it",
    ),
    "being stopped": (
        make_job(stopped=True, suspend=True),
        [make_pod("Failed", deleted=True, terminated=terminated(143))],
        [],
        "Stopped",
        "its owner stopped it",
    ),
    "stopped too late": (
        make_job("Complete", stopped=True),
        [make_pod("Succeeded", terminated=terminated(0))],
        [],
        "Succeeded",
        "",
    ),
    "removed": (
        make_job(deleted=True),
        [make_pod("Running", deleted=True, running=RUNNING)],
        [],
        "Stopped",
        "it is being removed",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_state_and_reason(case: str) -> None:
    job, pods, events, state, reason = CASES[case]
    status = derive_status(job, pods, events)
    assert status.state == state
    assert reason in status.reason if reason else status.reason == ""
    assert (status.name, status.image) == (NAME, IMAGE)


def test_only_a_run_that_never_started_is_stuck() -> None:
    stuck = {
        case
        for case, (job, pods, events, *_) in CASES.items()
        if derive_status(job, pods, events).stuck
    }
    assert stuck == {"pod refused", "cannot start"}


def test_times_and_exit_code() -> None:
    pod = make_pod("Failed", terminated=terminated(7))
    status = derive_status(make_job("Failed"), [pod], [])
    assert status == RunStatus(
        name=NAME,
        state=RunState.FAILED,
        reason="exit code 7",
        exit_code=7,
        image=IMAGE,
        created=datetime(2024, 5, 4, 12, 0, 0, tzinfo=UTC),
        started=datetime(2024, 5, 4, 12, 0, 5, tzinfo=UTC),
        finished=datetime(2024, 5, 4, 12, 0, 17, tzinfo=UTC),
    )
    assert status.duration() == 12.0


def test_duration_goes_on_while_it_runs() -> None:
    status = derive_status(make_job(), [make_pod("Running", running=RUNNING)], [])
    assert status.duration(datetime(2024, 5, 4, 12, 1, 5, tzinfo=UTC)) == 60.0
    assert derive_status(make_job(), [], []).duration() is None


def test_newest_pod_and_latest_event_count() -> None:
    old = make_pod("Failed", terminated=terminated(1))
    new = make_pod("Running", running=RUNNING)
    new["metadata"]["creationTimestamp"] = FINISHED
    assert derive_status(make_job(), [new, old], []).state == RunState.RUNNING

    later = make_event("FailedCreate", "Internal error occurred: no answer", FINISHED)
    for events in ([FORBIDDEN, later], [later, FORBIDDEN]):
        assert "no answer" in derive_status(make_job(), [], events).reason
