"""What a run's Job, pods and events say of it, as one pure function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from kfspawner.labels import RUN_LABEL
from kfspawner.training.kinds import CONTAINER, STOPPED_ANNOTATION
from kfspawner.training.reasons import (
    creating_failed,
    ended_reason,
    mounting_failed,
    unschedulable,
    waiting_reason,
)
from kfspawner.training.state import RunState, RunStatus, Verdict

Object = Mapping[str, Any]


def derive_status(job: Object, pods: Sequence[Object], events: Sequence[Object]) -> RunStatus:
    """Return the status of the run that `job` is.

    Parameters
    ----------
    job
        Its batch/v1 Job.
    pods
        The Job's pods, in any order.
    events
        What was reported about the Job and its pods, in any order.
    """
    pod = newest(pods)
    container = container_status(pod)
    terminated = (container.get("state") or {}).get("terminated") or {}
    running = (container.get("state") or {}).get("running") or {}
    verdict = _verdict(job, pod, events)
    status = job.get("status") or {}
    started = terminated.get("startedAt") or running.get("startedAt")
    finished = terminated.get("finishedAt") or status.get("completionTime")
    if verdict.state == RunState.FAILED and not verdict.stuck:
        finished = finished or _condition(job, "Failed").get("lastTransitionTime")
    if verdict.state == RunState.STOPPED:
        finished = finished or _condition(job, "Suspended").get("lastTransitionTime")
    return RunStatus(
        name=(job["metadata"].get("labels") or {}).get(RUN_LABEL, job["metadata"]["name"]),
        state=verdict.state,
        reason=verdict.reason,
        exit_code=terminated.get("exitCode"),
        image=job["spec"]["template"]["spec"]["containers"][0]["image"],
        created=parse_time(job["metadata"].get("creationTimestamp")),
        started=parse_time(started),
        finished=parse_time(finished),
        stuck=verdict.stuck,
    )


def newest(pods: Sequence[Object]) -> Object:
    """Return the pod that was created last, an empty one where there is none."""
    return max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default={})


def container_status(pod: Object) -> Object:
    """Return what kubelet says of a run's container, empty before it says anything."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((status for status in statuses if status.get("name") == CONTAINER), {})


def parse_time(text: str | None) -> datetime | None:
    """Return the moment that Kubernetes writes as `text`."""
    return datetime.fromisoformat(text) if text else None


def refused_pod(events: Iterable[Object]) -> str:
    """Return what the cluster said last when it refused a Job its pod, or nothing."""
    reports = [event for event in events if event.get("reason") == "FailedCreate"]
    return str(max(reports, key=_event_time).get("message")) if reports else ""


def _verdict(job: Object, pod: Object, events: Sequence[Object]) -> Verdict:
    if verdict := _of_job(job, pod):
        return verdict
    if not pod:
        return _without_pod(job, events)
    return _of_container(pod) or _not_running(pod, events)


def _of_job(job: Object, pod: Object) -> Verdict | None:
    """Return what is decided for the run as a whole."""
    phase = (pod.get("status") or {}).get("phase")
    failure = _condition(job, "Failed")
    # A pod's phase is seconds ahead of its Job's condition.
    if _condition(job, "Complete") or phase == "Succeeded":
        return Verdict(RunState.SUCCEEDED)
    if (job["metadata"].get("annotations") or {}).get(STOPPED_ANNOTATION) == "true":
        return Verdict(RunState.STOPPED, "its owner stopped it")
    if failure or phase == "Failed":
        return Verdict(RunState.FAILED, ended_reason(pod, container_status(pod), failure))
    if job["metadata"].get("deletionTimestamp"):
        return Verdict(RunState.STOPPED, "it is being removed")
    return None


def _of_container(pod: Object) -> Verdict | None:
    """Return what a container that started tells."""
    container = container_status(pod)
    state = container.get("state") or {}
    # It is seconds ahead of its pod's phase.
    if ended := state.get("terminated"):
        if ended.get("exitCode") == 0:
            return Verdict(RunState.SUCCEEDED)
        return Verdict(RunState.FAILED, ended_reason(pod, container, {}))
    if "running" in state:
        return Verdict(RunState.RUNNING, "its pod is being deleted" if _is_going(pod) else "")
    return None


def _without_pod(job: Object, events: Sequence[Object]) -> Verdict:
    if job["spec"].get("suspend"):
        return Verdict(RunState.QUEUED, "the cluster holds it back until there is room")
    if message := refused_pod(events):
        return creating_failed(message, str(job["metadata"].get("namespace") or ""))
    return Verdict(RunState.CREATED)


def _not_running(pod: Object, events: Sequence[Object]) -> Verdict:
    if _is_going(pod):
        return Verdict(RunState.QUEUED, "its pod is being deleted")
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") != "SchedulingGated":
        return Verdict(RunState.QUEUED, unschedulable(str(scheduled.get("message", ""))))
    waiting = (container_status(pod).get("state") or {}).get("waiting") or {}
    if verdict := waiting_reason(waiting):
        return verdict
    mounts = [
        event for event in events if event.get("reason") in {"FailedMount", "FailedAttachVolume"}
    ]
    if mounts:
        return Verdict(
            RunState.QUEUED, mounting_failed(str(max(mounts, key=_event_time).get("message")))
        )
    if scheduled.get("status") == "True" or (pod.get("spec") or {}).get("nodeName"):
        return Verdict(RunState.QUEUED, "its node is fetching the image and starting it")
    return Verdict(RunState.CREATED)


def _is_going(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _condition(thing: Object, kind: str) -> Object:
    """Return a condition of a Job or pod; of a Job only while it holds."""
    for condition in (thing.get("status") or {}).get("conditions") or ():
        if condition.get("type") == kind and (
            condition.get("status") == "True" or kind == "PodScheduled"
        ):
            return dict(condition)
    return {}


def _event_time(event: Object) -> str:
    return str(
        event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )
