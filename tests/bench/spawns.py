"""P1: a start, beside the same pod created directly, and beside a hub of stock KubeSpawner."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from deploy.person import Person
from kfspawner.names import namespace_name
from tests.bench import stockhub
from tests.bench.door import Door
from tests.bench.floor import time_pod, wait_gone
from tests.bench.report import Bound, Verdict, over, spread
from tests.cluster.cluster import LAYOUT, Cluster

TURNS = 20
OVER_FLOOR = Bound(1.15, p95=1.25)
OVER_STOCK = Bound(0.45, p95=0.45)
_SERVERS = "component=singleuser-server"


@dataclass
class Spawns:
    """Seconds of what took turns."""

    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    stock: list[float] = field(default_factory=list)


def measure_spawns(person: Person, cluster: Cluster, n: int) -> Spawns:
    """Time starts from POST to ready; `person` has a server, then and afterwards."""
    namespace = namespace_name(person.name)
    model = cluster.server_pod(namespace)
    spawns = Spawns()
    with ExitStack() as stack:
        door = stack.enter_context(Door(LAYOUT))
        stock = stack.enter_context(stockhub.stock_hub(cluster, stockhub.like(model)))
        other = stack.enter_context(Person(stock.url, person.name))
        other.sign_in(stock.password)
        _stop(person, cluster, namespace)
        start = partial(_time_start, cluster=cluster)
        ours = partial(start, person, namespace, {"image_profile": "cpu"})
        theirs = partial(start, other, stockhub.NAMESPACE, {})
        floor = partial(time_pod, cluster, door, namespace, model, person.server_path)
        theirs()
        ways = [(spawns.ours, ours), (spawns.floor, floor), (spawns.stock, theirs)]
        for turn in range(n):
            # Who goes first changes, so that none has the better place.
            first = turn % len(ways)
            for seconds, way in ways[first:] + ways[:first]:
                seconds.append(way())
    person.spawn({"image_profile": "cpu"})
    return spawns


def report_spawns(spawns: Spawns) -> Iterator[Verdict]:
    """Yield the lines of the report."""
    yield Verdict(spread("a server, from POST to ready", spawns.ours))
    yield Verdict(spread("the same pod created directly, to its first answer", spawns.floor))
    yield Verdict(spread("stock KubeSpawner, jupyterhub-singleuser", spawns.stock))
    yield over("P1 spawn over floor", spawns.ours, spawns.floor, OVER_FLOOR)
    yield over("P1 spawn over stock", spawns.ours, spawns.stock, OVER_STOCK)


def _time_start(
    person: Person, namespace: str, options: Mapping[str, object], *, cluster: Cluster
) -> float:
    """Return the seconds from POST to ready; the server is gone afterwards."""
    begun = time.monotonic()
    person.start(options)
    events = list(person.progress())
    taken = time.monotonic() - begun
    if not events[-1].ready:
        raise AssertionError(events[-1].message)
    _stop(person, cluster, namespace)
    return taken


def _stop(person: Person, cluster: Cluster, namespace: str) -> None:
    person.stop()
    wait_gone(cluster, namespace, _SERVERS)
