"""What is measured, each beside the floor under it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from kubernetes.client import ApiException

from deploy.kernel import Kernel, Output
from deploy.person import Person
from kfspawner.names import namespace_name
from tests.bench.floor import wait_gone
from tests.bench.report import Pairs
from tests.cluster.cluster import Cluster

# Seconds between two looks at a floor: more often, and looking would be what
# keeps a small machine busy.
_PERIOD = 0.1
_PATIENCE = 120.0
_THREADS = 8
_FIRST_LINE = "go"


def time_packaging(person: Person, notebook: str, n: int) -> list[float]:
    """Return how long it takes to append the layer of a notebook's run and to push it.

    In the person's own kernel; no two layers are the same, so none is there yet.
    """
    before: list[str] = []
    for cell in person.cells(notebook):
        if cell.startswith("%%kf"):
            break
        before.append(cell)
    else:
        raise ValueError(f"{notebook} has no cell that is a run")
    body = cell.partition("\n")[2]
    with person.kernel(notebook) as kernel:
        for code in before:
            _execute(kernel, code)
        _execute(kernel, _PACKAGING)
        text = _execute(kernel, f"print(json.dumps(_measure({body!r}, {n})))")
    seconds: list[float] = json.loads(text)
    return seconds


def run_pairs(person: Person, cluster: Cluster, n: int) -> Pairs:
    """Time %%kf run to its first log line, and its Job created directly to its own."""
    namespace = namespace_name(person.name)
    pairs = Pairs()
    with person.kernel() as kernel:
        _time_run(kernel, "warm-up")
        latest = "warm-up"
        for turn in range(n):
            name = f"pair-{turn}"
            # Who goes first changes, so that neither has the better place.
            if turn % 2:
                pairs.floor.append(_time_job(cluster, namespace, latest, name))
            pairs.ours.append(_time_run(kernel, name))
            if not turn % 2:
                pairs.floor.append(_time_job(cluster, namespace, name, name))
            latest = name
    return pairs


def _time_run(kernel: Kernel, name: str) -> float:
    arrived: list[float] = []

    def note(output: Output) -> None:
        if _FIRST_LINE in output.text.splitlines():
            arrived.append(time.monotonic())

    begun = time.monotonic()
    cell = f"%%kf run --name {name} --cpu 200m --memory 256Mi\n# {name}\nprint('{_FIRST_LINE}')"
    execution = kernel.execute(cell, note)
    if execution.error or not arrived:
        raise AssertionError(execution.text)
    return arrived[0] - begun


def _time_job(cluster: Cluster, namespace: str, like: str, name: str) -> float:
    """Create a Job with the pod of the run `like`, and return when its first line is there."""
    job = cluster.plain(cluster.batch.read_namespaced_job(like, namespace))
    spec = job["spec"]["template"]["spec"]
    name = f"floor-{name}"
    labels = {"floor": name}
    body = {
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
    begun = time.monotonic()
    cluster.batch.create_namespaced_job(namespace, body)

    def first_line() -> bool:
        pods = cluster.pods(namespace, f"floor={name}")
        if not pods or "startTime" not in pods[0]["status"]:
            return False
        try:
            return _FIRST_LINE in cluster.log(namespace, pods[0]["metadata"]["name"])
        except ApiException as error:
            # 400: its container is not there yet.
            if error.status not in (400, 404):
                raise
            return False

    _poll(first_line)
    taken = time.monotonic() - begun
    cluster.batch.delete_namespaced_job(name, namespace, propagation_policy="Background")
    wait_gone(cluster, namespace, f"floor={name}")
    return taken


def each(names: Sequence[str], action: Callable[[str], object]) -> None:
    """Do something about each name, several at once."""
    with ThreadPoolExecutor(_THREADS) as threads:
        for _ in threads.map(action, names):
            pass


def _poll(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"the floor did not answer within {_PATIENCE:.0f} s")
        time.sleep(_PERIOD)


def _execute(kernel: Kernel, code: str) -> str:
    execution = kernel.execute(code)
    if execution.error:
        raise AssertionError(execution.text)
    return execution.text


_PACKAGING = """
import json, time
from kfspawner.context import ServerContext
from kfspawner.packaging import cell_source, package

def _measure(code, n):
    context = ServerContext.from_env()
    seconds = []
    for turn in range(n):
        begun = time.monotonic()
        source = cell_source(f"{code}\\n# {turn} {time.time_ns()}", get_ipython().user_ns)
        package(
            source,
            context.image,
            context.repository,
            plain_http=context.registry_plain_http,
            tag=f"bench-{turn}",
        )
        seconds.append(time.monotonic() - begun)
    return seconds
"""
