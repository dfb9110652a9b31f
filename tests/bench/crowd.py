"""Many pods of servers that nothing runs, on a node of their own."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from kubernetes import client

from tests.bench.played import RUN_AT_ONCE, played_node, remove_node
from tests.cluster.cluster import Cluster, Object, until

NODE = "bench-crowd"
_LABEL = "kfspawner.test/crowd"
_THREADS = 8
# Longer than this, the machine is too small for it.
_PATIENCE = 600.0


@dataclass
class Crowd:
    """Pods that stand; how many, and the seconds from the first to the last that runs."""

    namespaces: Sequence[str]
    each: int
    seconds: float = field(default=0.0)

    @property
    def pods(self) -> int:
        """How many there are."""
        return len(self.namespaces) * self.each


@contextmanager
def crowd(cluster: Cluster, model: Object, namespaces: int, each: int) -> Iterator[Crowd]:
    """Have so many pods like `model` run in each of so many namespaces; all go afterwards.

    Whatever an earlier one left behind goes first.
    """
    _sweep(cluster)
    made = Crowd([f"{NODE}-{number:02}" for number in range(namespaces)], each)
    with ExitStack() as stack:
        stack.callback(_sweep, cluster)
        stack.enter_context(played_node(cluster, NODE, RUN_AT_ONCE))
        for name in made.namespaces:
            metadata = {"name": name, "labels": {_LABEL: "true"}}
            cluster.core.create_namespace({"metadata": metadata})
        for name in made.namespaces:
            until(partial(_has_account, cluster, name), f"{name} has its account")
        begun = time.monotonic()
        names = [(where, number) for number in range(each) for where in made.namespaces]
        manifest = _pod(model)
        _all_at_once([partial(_create, cluster, manifest, *it) for it in names])
        until(partial(_all_run, cluster), "all pods run", _PATIENCE)
        made.seconds = time.monotonic() - begun
        yield made


def _pod(model: Object) -> Object:
    """Return what `model` was made of, for the node that does not exist."""
    spec = copy.deepcopy(model["spec"])
    for name in ("schedulerName", "priority", "preemptionPolicy", "tolerations"):
        spec.pop(name, None)
    spec |= {
        "nodeName": NODE,
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "terminationGracePeriodSeconds": 0,
    }
    metadata = {name: model["metadata"].get(name) for name in ("labels", "annotations")}
    return {"metadata": metadata, "spec": spec}


def _create(cluster: Cluster, manifest: Object, namespace: str, number: int) -> None:
    metadata = {**manifest["metadata"], "name": f"server-person-{number:04}"}
    body = {**manifest, "metadata": metadata}
    cluster.core.create_namespaced_pod(namespace, body, _preload_content=False).read()


def _all_at_once(actions: Sequence[Callable[[], object]]) -> None:
    """Do all, several at once; what has not begun when one is interrupted never does."""
    threads = ThreadPoolExecutor(_THREADS)
    try:
        for done in [threads.submit(it) for it in actions]:
            done.result()
    finally:
        threads.shutdown(cancel_futures=True)


def _has_account(cluster: Cluster, namespace: str) -> bool:
    return bool(cluster.core.list_namespaced_service_account(namespace).items)


def _all_run(cluster: Cluster) -> bool:
    pending = f"spec.nodeName={NODE},status.phase=Pending"
    time.sleep(2)
    found = cluster.core.list_pod_for_all_namespaces(field_selector=pending, limit=1)
    return not found.items


def _sweep(cluster: Cluster) -> None:
    """Delete the pods at once, then their namespaces and the node."""
    found = cluster.core.list_namespace(label_selector=_LABEL).items
    names = [it.metadata.name for it in found]
    _all_at_once([partial(_empty, cluster, name) for name in names])
    for name in names:
        with suppress(client.ApiException):
            cluster.core.delete_namespace(name)
    remove_node(cluster, NODE)
    until(
        lambda: not cluster.core.list_namespace(label_selector=_LABEL).items,
        "the crowd's namespaces are gone",
        _PATIENCE,
    )


def _empty(cluster: Cluster, namespace: str) -> None:
    until(partial(_deletes_pods, cluster, namespace), f"{namespace} is empty", _PATIENCE)


def _deletes_pods(cluster: Cluster, namespace: str) -> bool:
    """Delete all pods of a namespace; False if the API server gave up on the way."""
    pods = cluster.core.delete_collection_namespaced_pod
    try:
        pods(namespace, grace_period_seconds=0, _preload_content=False).read()
    except client.ApiException as error:
        if error.status != 504:
            raise
        return False
    return True
