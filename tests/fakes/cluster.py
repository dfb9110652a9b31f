"""A namespace of Jobs, pods, events and logs in memory, behind the methods of `Cluster`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from kfspawner.cluster import Cluster
from kfspawner.errors import ClusterError, ObjectExists, ObjectMissing
from kfspawner.labels import RUN_LABEL

Object = dict[str, Any]

BEGIN = datetime(2024, 5, 4, 12, 0, 0, tzinfo=UTC)


def stamp(seconds: float) -> str:
    """Return the moment that is `seconds` after the beginning, as the API writes it."""
    return (BEGIN + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeCluster(Cluster):
    """What the API would keep and tell; nothing happens in it but by the test.

    Attributes
    ----------
    jobs, pods, events
        Its objects, by name where they have one.
    log
        What the container of any pod has written, each line after its time.
    drops
        After how many lines each connection to a log breaks off, in order.
    refusals
        What the next calls raise, in order, by the name of the method.
    on_look
        Called before each look at a Job: time passes.
    on_create
        Called with the name of each Job that is made: the cluster takes it up.
    quotas
        Its ResourceQuotas.
    """

    def __init__(self, namespace: str = "kf-alice") -> None:
        self.namespace = namespace
        self.jobs: dict[str, Object] = {}
        self.pods: dict[str, Object] = {}
        self.events: list[Object] = []
        self.log: list[str] = []
        self.drops: list[int] = []
        self.refusals: dict[str, list[ClusterError]] = {}
        self.calls: list[tuple[str, Any]] = []
        self.on_look: Callable[[], None] = lambda: None
        self.on_create: Callable[[str], object] = lambda _name: None
        self.quotas: list[Object] = []

    def create_job(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        self._note("create_job dry" if dry_run else "create_job", manifest)
        name = manifest["metadata"]["name"]
        if name in self.jobs:
            raise ObjectExists(f"creating run {name}", "there is one", "choose another")
        job = copy.deepcopy(dict(manifest))
        job["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": stamp(len(self.jobs))}
        job["status"] = {}
        if not dry_run:
            self.jobs[name] = job
            self.on_create(name)
        return job

    def get_job(self, name: str) -> Object:
        self.on_look()
        self._note("get_job", name)
        if name not in self.jobs:
            raise ObjectMissing(f"looking up run {name}", "there is none", "%kf ls")
        return self.jobs[name]

    def list_jobs(self, selector: str) -> list[Object]:
        self._note("list_jobs", selector)
        return [job for job in self.jobs.values() if _fits(job, selector)]

    def patch_job(self, name: str, patch: Mapping[str, Any]) -> Object:
        self._note("patch_job", patch)
        _merge(self.jobs[name], patch)
        return self.jobs[name]

    def delete_job(self, name: str) -> None:
        self._note("delete_job", name)
        if self.jobs.pop(name, None) is None:
            raise ObjectMissing(f"deleting run {name}", "there is none", "%kf ls")

    def list_pods(self, selector: str) -> list[Object]:
        self._note("list_pods", selector)
        return [pod for pod in self.pods.values() if _fits(pod, selector)]

    def get_pod(self, name: str) -> Object:
        self._note("get_pod", name)
        if name not in self.pods:
            raise ObjectMissing(f"looking up pod {name}", "there is none", "%kf ls")
        return self.pods[name]

    def list_quotas(self) -> list[Object]:
        self._note("list_quotas", None)
        return self.quotas

    def list_events(self, kind: str, name: str) -> list[Object]:
        self._note("list_events", (kind, name))
        about = {"kind": kind, "name": name}
        return [it for it in self.events if about.items() <= it["involvedObject"].items()]

    def stream_log(self, pod: str, *, follow: bool, since_time: str | None = None) -> Iterator[str]:
        self._note("stream_log", (pod, follow, since_time))
        since = (
            datetime.fromisoformat(since_time) if since_time else datetime.min.replace(tzinfo=UTC)
        )
        lines = [it for it in self.log if datetime.fromisoformat(it.partition(" ")[0]) >= since]
        yield from lines[: self.drops.pop(0) if self.drops else None]

    def put_pod(self, name: str, state: Mapping[str, Any] | None = None, **status: Any) -> Object:
        """Give the run called `name` its pod, with its container in `state`."""
        container = [{"name": "run", "state": dict(state)}] if state else []
        pod: Object = {
            "metadata": {
                "name": f"{name}-abcde",
                "uid": f"uid-{name}-abcde",
                "labels": {RUN_LABEL: name, "app.kubernetes.io/managed-by": "kfspawner"},
                "creationTimestamp": stamp(1),
                "ownerReferences": [{"kind": "Job", "name": name, "uid": f"uid-{name}"}],
            },
            "spec": {"nodeName": "node"},
            "status": {"phase": "Pending", "containerStatuses": container, **status},
        }
        self.pods[pod["metadata"]["name"]] = pod
        return pod

    def run_pod(self, name: str) -> Object:
        """Let the run called `name` run."""
        return self.put_pod(name, {"running": {"startedAt": stamp(5)}}, phase="Running")

    def end_pod(self, name: str, code: int = 0, **terminated: Any) -> Object:
        """Let the run called `name` end."""
        times = {"startedAt": stamp(5), "finishedAt": stamp(17)}
        state = {"terminated": {"exitCode": code, **times, **terminated}}
        return self.put_pod(name, state, phase="Failed" if code else "Succeeded")

    def hinder_pod(self, name: str, reason: str, message: str = "") -> Object:
        """Let the container of the run called `name` wait for `reason`."""
        return self.put_pod(name, {"waiting": {"reason": reason, "message": message}})

    def report(self, kind: str, name: str, reason: str, message: str) -> None:
        """Let the cluster report something about an object."""
        self.events.append(
            {
                "metadata": {"creationTimestamp": stamp(len(self.events))},
                "involvedObject": {"kind": kind, "name": name, "uid": f"uid-{name}"},
                "reason": reason,
                "message": message,
            }
        )

    def called(self, method: str) -> list[Any]:
        """Return what `method` was called with, in order."""
        return [given for name, given in self.calls if name == method]

    def _note(self, method: str, given: Any) -> None:
        self.calls.append((method, copy.deepcopy(given)))
        if self.refusals.get(method):
            raise self.refusals[method].pop(0)


def _fits(thing: Object, selector: str) -> bool:
    labels = thing["metadata"].get("labels") or {}
    for part in filter(None, selector.split(",")):
        name, _, value = part.partition("=")
        if name not in labels or (value and labels[name] != value):
            return False
    return True


def _merge(into: Object, patch: Mapping[str, Any]) -> None:
    for name, value in patch.items():
        if isinstance(value, Mapping):
            _merge(into.setdefault(name, {}), value)
        else:
            into[name] = value
