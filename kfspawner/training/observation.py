"""Looking at a run: what the cluster holds of it at one moment, and giving it up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kfspawner.cluster import Cluster
from kfspawner.errors import ClusterUnreachable
from kfspawner.labels import RUN_LABEL
from kfspawner.training.derive import container_status, newest
from kfspawner.training.status import FAILED_ANNOTATION, RunStatus, own_pods, read_status

Object = Mapping[str, Any]

# Seconds between two looks: at first, and once a run takes its time.
_SOON, _LATER = 0.2, 2.0
# For how many seconds the API may be away while a run is followed.
_OUTAGE = 60.0
# For how many seconds a cause that keeps a run from starting must last.
_GRACE = 3.0


@dataclass(frozen=True)
class Observation:
    """A run at one moment.

    Attributes
    ----------
    job, pod
        What the cluster holds; the pod is empty where there is none.
    status
        What that means.
    """

    job: Object
    pod: Object
    status: RunStatus

    @property
    def has_log(self) -> bool:
        """Whether its container runs, or ran."""
        state = container_status(self.pod).get("state") or {}
        return "running" in state or "terminated" in state

    @property
    def suspended(self) -> bool:
        """Whether the cluster is not to start it."""
        return bool(self.job["spec"].get("suspend"))


def observe(cluster: Cluster, name: str) -> Observation:
    """Return the run called `name` as it is now.

    Raises
    ------
    ClusterError
        If the cluster refuses; ObjectMissing if there is no such run.
    """
    job = cluster.get_job(name)
    pods = own_pods(job, cluster.list_pods(f"{RUN_LABEL}={name}"))
    pod = newest(pods)
    now = Observation(job, pod, read_status(job, pods))
    if now.status.ended or now.status.started or now.suspended:
        return now
    # Why it waits is in the events, of the pod or else of the Job.
    kind, about = ("Pod", pod["metadata"]["name"]) if pod else ("Job", name)
    return replace(now, status=read_status(job, pods, cluster.list_events(kind, about)))


def give_up(cluster: Cluster, name: str, reason: str) -> None:
    """Keep a run that cannot start from being tried again; it stays Failed for `reason`."""
    annotations = {FAILED_ANNOTATION: reason}
    cluster.patch_job(name, {"metadata": {"annotations": annotations}, "spec": {"suspend": True}})


def observations(cluster: Cluster, name: str) -> Iterator[Observation]:
    """Yield a run as it is, again and again; the last one that is yielded has ended.

    A run that cannot start is given up after some seconds, and ends then. An
    API that is away for less than a minute is waited for.
    """
    pause = _SOON
    away_since: float | None = None
    stuck_since: float | None = None
    while True:
        try:
            now = observe(cluster, name)
        except ClusterUnreachable:
            away_since = time.monotonic() if away_since is None else away_since
            if time.monotonic() - away_since >= _OUTAGE:
                raise
            time.sleep(_LATER / 2)
            continue
        away_since = None
        if not now.status.stuck or now.suspended:
            stuck_since = None
            yield now
            if now.status.ended:
                return
        else:
            stuck_since = time.monotonic() if stuck_since is None else stuck_since
            if time.monotonic() - stuck_since >= _GRACE:
                give_up(cluster, name, now.status.reason)
                yield now
                return
        time.sleep(pause)
        pause = min(pause * 1.1, _LATER)
