"""How soon Profiles are Ready, how soon what is undone is done again, and what that takes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median

from kubernetes.client import ApiException

from kfspawner.labels import DELETE_FILES_ANNOTATION
from kfspawner.profiles.profile import is_ready
from tests.bench.measures import each
from tests.bench.report import Verdict
from tests.cluster.cluster import Cluster, Object
from tests.cluster.process import memory_of

MANY = 200
READY_BOUND = 60.0
MEMORY_BOUND = 150.0
REPAIR_BOUND = 2.0

_OBJECTS = ("kubeflow.org", "v1", "profiles")
_QUOTA = {"hard": {"requests.cpu": "4", "requests.memory": "16Gi", "pods": "20"}}
_REPAIRS = 25
_PERIOD = 0.5
_PATIENCE = 600.0


@dataclass
class Figures:
    """What was measured; memory in MiB.

    Attributes
    ----------
    ready, gone
        Seconds from the first of many Profiles to the last one Ready, and from
        the first that is deleted to the last one gone.
    memory, peak
        What the controller's process holds with all of them, and has held.
    repairs
        Seconds from a deletion to the object being there again.
    """

    ready: float = 0.0
    gone: float = 0.0
    memory: float = 0.0
    peak: float = 0.0
    repairs: list[float] = field(default_factory=list)


def measure_profiles(cluster: Cluster) -> Figures:
    """Make many Profiles at once, undo some of what stands in them, and delete them all."""
    stem = f"bench-{secrets.token_hex(2)}"
    names = [f"{stem}-{number:03}" for number in range(MANY)]
    figures = Figures()
    try:
        figures.ready = _time(partial(_make, cluster, names))
        figures.repairs = [_time(partial(_undo, cluster, name)) for name in names[:_REPAIRS]]
        figures.memory, figures.peak = memory_of(cluster, "controller")
    finally:
        figures.gone = _time(partial(_delete, cluster, names))
    return figures


def report_profiles(figures: Figures) -> Iterator[Verdict]:
    """Yield the lines of the report."""
    yield Verdict(f"{f'{MANY} Profiles at once, to the last one Ready':<52}{figures.ready:6.1f} s")
    yield Verdict(f"    at most {READY_BOUND:g} s", figures.ready <= READY_BOUND)
    peak = f"{figures.memory:6.0f} MiB   (at most so far {figures.peak:.0f})"
    yield Verdict(f"{'the controller with them':<52}{peak}")
    yield Verdict(f"    less than {MEMORY_BOUND:g} MiB", figures.peak < MEMORY_BOUND)
    repairs = figures.repairs
    spread = f"{median(repairs):6.2f} s   ({min(repairs):.2f} to {max(repairs):.2f})"
    yield Verdict(f"{'a deleted object, to there again':<52}{spread}")
    yield Verdict(f"    at most {REPAIR_BOUND:g} s", median(repairs) <= REPAIR_BOUND)
    yield Verdict(f"{'the same Profiles deleted, to the last one gone':<52}{figures.gone:6.1f} s")


def _time(action: Callable[[], object]) -> float:
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def _make(cluster: Cluster, names: Sequence[str]) -> None:
    each(names, lambda name: _create(cluster, name))
    _wait(lambda: sum(map(is_ready, _found(cluster, names))) == len(names), "all are Ready")


def _create(cluster: Cluster, name: str) -> None:
    profile = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Profile",
        "metadata": {"name": name},
        "spec": {"owner": {"kind": "User", "name": "bench"}, "resourceQuotaSpec": _QUOTA},
    }
    cluster.custom.create_cluster_custom_object(*_OBJECTS, profile)


def _undo(cluster: Cluster, namespace: str) -> None:
    """Delete a wall and wait until it is there again."""
    policy = ("openings", namespace)
    before = cluster.network.read_namespaced_network_policy(*policy).metadata.uid
    cluster.network.delete_namespaced_network_policy(*policy)

    def is_back() -> bool:
        try:
            found = cluster.network.read_namespaced_network_policy(*policy)
        except ApiException as error:
            if error.status != 404:
                raise
            return False
        return bool(found.metadata.uid != before)

    _wait(is_back, f"{namespace} has its wall again", 0.01)


def _delete(cluster: Cluster, names: Sequence[str]) -> None:
    there = [it["metadata"]["name"] for it in _found(cluster, names)]
    each(there, lambda name: _let_go(cluster, name))
    _wait(lambda: not _found(cluster, names), "all are gone")


def _let_go(cluster: Cluster, name: str) -> None:
    cluster.patch_profile(name, {"metadata": {"annotations": {DELETE_FILES_ANNOTATION: name}}})
    cluster.custom.delete_cluster_custom_object(*_OBJECTS, name)


def _found(cluster: Cluster, names: Sequence[str]) -> list[Object]:
    found = cluster.custom.list_cluster_custom_object(*_OBJECTS)["items"]
    wanted = set(names)
    return [it for it in found if it["metadata"]["name"] in wanted]


def _wait(condition: Callable[[], bool], what: str, period: float = _PERIOD) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_PATIENCE:g} s: {what}")
        time.sleep(period)
