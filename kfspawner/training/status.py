"""What a run is to be called, from what the cluster holds of it: one pure function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kfspawner.training.derive import derive_status, parse_time
from kfspawner.training.state import RunState, RunStatus

__all__ = ["FAILED_ANNOTATION", "RunState", "RunStatus", "events_about", "own_pods", "read_status"]

Object = Mapping[str, Any]

# Why a run that could not start was given up; its Job is suspended then.
FAILED_ANNOTATION = "kfspawner.io/failed"


def read_status(job: Object, pods: Sequence[Object], events: Sequence[Object] = ()) -> RunStatus:
    """Return the status of the run that `job` is.

    Pods and events that belong to an earlier Job of the same name do not count.

    Parameters
    ----------
    job
        Its batch/v1 Job.
    pods
        Pods that bear its label, in any order.
    events
        What was reported about the Job and its pods, in any order.
    """
    own = own_pods(job, pods)
    status = derive_status(job, own, list(events_about([job, *own], events)))
    given_up = (job["metadata"].get("annotations") or {}).get(FAILED_ANNOTATION)
    if not given_up or status.state is RunState.SUCCEEDED or not job["spec"].get("suspend"):
        return status
    return replace(
        status,
        state=RunState.FAILED,
        reason=given_up,
        stuck=True,
        finished=status.finished or _suspended_at(job),
    )


def own_pods(job: Object, pods: Iterable[Object]) -> list[Object]:
    """Return those of `pods` that `job` made."""
    uid = job["metadata"].get("uid")
    return [
        pod
        for pod in pods
        if any(owner.get("uid") == uid for owner in pod["metadata"].get("ownerReferences") or [{}])
        or uid is None
    ]


def events_about(objects: Iterable[Object], events: Iterable[Object]) -> Iterable[Object]:
    """Yield those of `events` that are about `objects`, and not about others of their names."""
    uids = {thing["metadata"].get("uid") for thing in objects}
    for event in events:
        uid = (event.get("involvedObject") or {}).get("uid")
        if uid is None or uid in uids:
            yield event


def _suspended_at(job: Object) -> Any:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Suspended" and condition.get("status") == "True":
            return parse_time(condition.get("lastTransitionTime"))
    return None
