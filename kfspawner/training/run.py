"""A run, from the moment that its Job is made."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from kfspawner.cluster import Cluster
from kfspawner.context import ServerContext
from kfspawner.errors import ClusterError, ClusterUnreachable, ObjectMissing, RunError, RunFailed
from kfspawner.labels import RUN_LABEL
from kfspawner.names import check_run_name
from kfspawner.training.allowance import check_quota
from kfspawner.training.kinds import RUNS, STOPPED_ANNOTATION, RunRequest, make_job
from kfspawner.training.logs import follow_log, read_log
from kfspawner.training.observation import Observation, give_up, observations, observe
from kfspawner.training.results import read_result
from kfspawner.training.state import RunState, RunStatus
from kfspawner.training.status import read_status

__all__ = ["Run", "RunState", "RunStatus", "check_can_submit", "list_runs", "submit"]


class Run:
    """One run of a namespace, by its name. It goes on whether or not anything here does.

    Every method raises a ClusterError if the cluster refuses, ObjectMissing
    if the run is not there any more.

    Parameters
    ----------
    name
        What it is called.
    cluster
        The namespace that it is in.
    """

    def __init__(self, name: str, cluster: Cluster) -> None:
        self.name = name
        self._cluster = cluster

    @classmethod
    def attach(cls, name: str, cluster: Cluster | None = None) -> Run:
        """Return the run called `name`.

        Parameters
        ----------
        name
            What it is called.
        cluster
            The namespace that it is in; this server's own unless given.

        Raises
        ------
        NameRefused
            If no run can be called so.
        ObjectMissing
            If there is none.
        """
        check_run_name(name)
        if cluster is None:
            cluster = Cluster.in_namespace(ServerContext.from_env().namespace)
        job = cluster.get_job(name)
        if RUN_LABEL not in (job["metadata"].get("labels") or {}):
            raise ObjectMissing(
                f"looking up run {name}",
                "there is a Job of that name, but it is no run",
                "%kf ls shows the runs there are",
            )
        return cls(name, cluster)

    def __repr__(self) -> str:
        return f"<Run {self.name} in {self._cluster.namespace}>"

    def status(self) -> RunStatus:
        """Return what is known of it now."""
        return observe(self._cluster, self.name).status

    def logs(self, follow: bool = False) -> Iterator[str]:  # noqa: FBT001
        """Yield its log, line by line, without line ends.

        Yields nothing where its container never ran, or its pod is gone: a
        run that was stopped keeps no log.

        Parameters
        ----------
        follow
            Whether to wait for the run to start, and for more until it ends.
            A run that cannot start is given up, and ends as Failed.
        """
        if not follow:
            return read_log(self._cluster, observe(self._cluster, self.name))
        return follow_log(self._cluster, self._moments())

    def wait(self, timeout: float | None = None) -> RunStatus:
        """Return its status once it has ended.

        A run that cannot start is given up, and ends as Failed.

        Parameters
        ----------
        timeout
            The most seconds to wait; without end unless given.

        Raises
        ------
        RunError
            If it has not ended by then; it goes on.
        """
        return self._ended(timeout).status

    def result(self, timeout: float | None = None) -> Any:
        """Return what its function returned, once it has ended: of a run of a function only.

        The result comes as a pickle in the run's outputs, in the home of who
        started it. So it must be one that pickles, what it is made of must be
        importable or defined here, as it is in the run, and it can be read for
        as long as the run has not been deleted, in servers that have that home.
        It is loaded as a pickle is: whatever the run's code put there acts here.

        Parameters
        ----------
        timeout
            The most seconds to wait; without end unless given.

        Raises
        ------
        RunFailed
            If it ended without success.
        RunError
            If it has not ended by then, left no result, or one that cannot be
            loaded.
        ContextMissing
            Outside of a server.
        """
        now = self._ended(timeout)
        if now.status.state is not RunState.SUCCEEDED:
            raise RunFailed(
                f"reading the result of run {self.name}",
                f"it is {now.status.state}"
                + (f", {now.status.reason}" if now.status.reason else ""),
                f"%kf logs {self.name} shows its log",
            )
        outputs = Path(ServerContext.from_env().home) / "runs" / self.name
        return read_result(outputs, self.name, now.pod.get("metadata", {}).get("name", ""))

    def stop(self) -> None:
        """Stop it, keeping what it wrote to its outputs; nothing happens if it has ended."""
        now = observe(self._cluster, self.name)
        if now.status.stuck and not now.suspended:
            give_up(self._cluster, self.name, now.status.reason)
        elif not now.status.ended:
            annotations = {STOPPED_ANNOTATION: "true"}
            patch = {"metadata": {"annotations": annotations}, "spec": {"suspend": True}}
            self._cluster.patch_job(self.name, patch)

    def delete(self, force: bool = False) -> None:  # noqa: FBT001
        """Remove it and its log from the cluster; its outputs stay.

        Parameters
        ----------
        force
            Whether to remove it even if it has not ended.

        Raises
        ------
        RunError
            If it has not ended, without `force`.
        """
        if not force:
            state = self.status().state
            if not state.ended:
                raise RunError(
                    f"removing run {self.name}",
                    f"it is {state}",
                    f"%kf stop {self.name} first, or %kf rm --force {self.name}",
                )
        self._cluster.delete_job(self.name)

    def _ended(self, timeout: float | None) -> Observation:
        deadline = None if timeout is None else time.monotonic() + timeout
        for now in self._moments():
            status = now.status
            if status.ended:
                break
            if deadline is not None and time.monotonic() >= deadline:
                because = f", {status.reason}" if status.reason else ""
                raise RunError(
                    f"waiting for run {self.name}",
                    f"after {timeout:g} s it is {status.state}{because}",
                    f"wait longer, or %kf stop {self.name}",
                )
        return now

    def _moments(self) -> Iterator[Observation]:
        return observations(self._cluster, self.name)


def check_can_submit(request: RunRequest, cluster: Cluster) -> None:
    """Ask the cluster whether it would take `request`, without leaving anything there.

    Its image need not exist. Its pod is made later, so that what pod security
    says to that is not asked.

    Raises
    ------
    ObjectExists
        If there is a run of that name.
    ClusterDenied
        If the profile's quota leaves too little for it.
    ClusterError
        If the cluster refuses otherwise.
    """
    job = make_job(request)
    cluster.create_job(job, dry_run=True)
    check_quota(job, cluster)


def submit(request: RunRequest, cluster: Cluster) -> Run:
    """Make the Job of `request` and return its run.

    Raises
    ------
    ObjectExists
        If there is a run of that name.
    ClusterError
        If the cluster refuses otherwise.
    """
    manifest = make_job(request)
    try:
        cluster.create_job(manifest)
    except ClusterUnreachable:
        # The answer was lost; what was asked for may have been done.
        if not _is_there(manifest, cluster):
            raise
    except KeyboardInterrupt:
        with suppress(ClusterError):
            if _is_there(manifest, cluster):
                cluster.delete_job(request.name)
        raise
    return Run(request.name, cluster)


def list_runs(cluster: Cluster) -> list[RunStatus]:
    """Return the status of every run of a namespace, the newest first."""
    pods = defaultdict(list)
    for pod in cluster.list_pods(RUNS):
        pods[pod["metadata"]["labels"][RUN_LABEL]].append(pod)
    jobs = sorted(
        cluster.list_jobs(RUNS),
        key=lambda job: (job["metadata"].get("creationTimestamp") or "", job["metadata"]["name"]),
        reverse=True,
    )
    return [_summary(job, pods[job["metadata"]["name"]], cluster) for job in jobs]


def _summary(job: dict[str, Any], pods: list[dict[str, Any]], cluster: Cluster) -> RunStatus:
    status = read_status(job, pods)
    if pods or status.ended or job["spec"].get("suspend"):
        return status
    # Why there is no pod is nowhere else.
    return read_status(job, pods, cluster.list_events("Job", job["metadata"]["name"]))


def _is_there(manifest: dict[str, Any], cluster: Cluster) -> bool:
    """Return whether the Job is there that `manifest` describes, and not another of its name."""
    try:
        job = cluster.get_job(manifest["metadata"]["name"])
    except (ClusterUnreachable, ObjectMissing):
        return False
    found, wanted = (
        thing["spec"]["template"]["spec"]["containers"][0] for thing in (job, manifest)
    )
    return bool(found["image"] == wanted["image"] and found["args"] == wanted["args"])
