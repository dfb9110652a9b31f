"""P2: 50 starts at once, of servers that nothing runs: what they cost a hub, and who waits.

KWOK says that a server's pod runs, 1 to 3 seconds after it has a node, and one
stub answers for all of them: the hubs are what is measured, not the kubelet.
The peer is stock KubeSpawner that gives each person a namespace and a claim
too, by `enable_user_namespaces` and `storage_pvc_ensure`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median, quantiles
from typing import Any

import httpx

from deploy.person import Person
from kfspawner.names import namespace_name
from tests.bench import stockhub
from tests.bench.measures import each
from tests.bench.played import ADDRESS, LABEL, RUN_AT_ADDRESS, TAINT, played_node
from tests.bench.report import Verdict
from tests.cluster.cluster import Cluster, Object, until
from tests.cluster.people import Hub
from tests.cluster.process import processor_seconds
from tests.cluster.settings import NAMESPACE, configured, hub_pod

SPAWNS = 50
ROUNDS = 3
CPU_BOUND = 0.7
ANSWER_BOUND = 1.0
NODE = "bench-burst"
# For so many seconds from the first request on it is asked for something else, at such a pace.
_SECONDS = 20.0
_PERIOD = 0.1
_ASKING = 16
_PATIENCE = 120.0
# How often all are started until each has been once: stock KubeSpawner refuses
# some whose namespace was just made.
_TRIES = 4
# One of those that our hub may reach outside the namespaces of Profiles.
_PORT = 6443
_PLACE: Object = {
    "node_selector": {LABEL: NODE},
    "tolerations": [{**TAINT, "operator": "Exists"}],
}
_STUB = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", "{version}")
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
ThreadingHTTPServer(("", {port}), Server).serve_forever()
"""


@dataclass
class Side:
    """One of the hubs, its pod, as what its servers are asked for, and its people's tokens."""

    hub: Hub
    namespace: str
    pod: str
    options: Mapping[str, object]
    tokens: Mapping[str, str] = field(default_factory=dict)

    def call(self, person: str, method: str, path: str, **request: Any) -> httpx.Response:
        """Call the hub's API as one of its people."""
        headers = {"Authorization": f"token {self.tokens[person]}"}
        return self.hub.call(method, path, headers=headers, **request)


@dataclass
class Bursts:
    """What was seen of one hub, burst by burst: seconds each.

    Attributes
    ----------
    cpu
        Of a processor, for each start.
    ready
        From the first request to the last server that was ready.
    count
        How many were.
    answers
        From when something else was to be asked to the answer, all bursts together.
    """

    cpu: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    count: list[int] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)


@dataclass
class Figures:
    """What was measured."""

    ours: Bursts = field(default_factory=Bursts)
    stock: Bursts = field(default_factory=Bursts)


def measure_bursts(person: Person, hub: Hub, cluster: Cluster, rounds: int) -> Figures:
    """Measure it; `person` has a server, then and afterwards, and nobody else starts one."""
    model = cluster.server_pod(namespace_name(person.name))
    image = cluster.images()["cpu"]
    names = [f"{person.name}-{number:02}" for number in range(SPAWNS)]
    figures = Figures()
    person.stop()
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(played_node(cluster, NODE, RUN_AT_ADDRESS))
        address = enter(_stub(cluster, image, str(hub.call("GET", "").json()["version"])))
        other = enter(stockhub.stock_hub(cluster, make_stock_settings(model, address)))
        enter(configured(cluster, hub, make_config(image, address)))
        ours = Side(hub, NAMESPACE, hub_pod(cluster), {"image_profile": "stub"})
        stock = Side(other, stockhub.NAMESPACE, stockhub.POD, {})
        sides = [(figures.ours, ours), (figures.stock, stock)]
        stack.callback(each, names, lambda it: cluster.delete_profile(namespace_name(it)))
        for _, side in sides:
            enter(_people(side, cluster, names))
            _warm_up(side, cluster)
        for turn in range(rounds):
            for asking in (False, True):
                # Who goes first changes, so that none has the better place.
                for bursts, side in sides if turn % 2 else reversed(sides):
                    _burst(side, cluster, bursts, asking=asking)
    person.spawn({"image_profile": "cpu"})
    return figures


def make_config(image: str, address: str) -> str:
    """Return the lines of our hub's config: one image profile for the node that is played."""
    profile = {
        "image": image,
        "cpu": {"min": 0.1, "max": 0.1},
        "memory": {"min": "64M", "max": "64M"},
        **_PLACE,
    }
    return (
        f"c.KfSpawner.image_profiles['stub'] = {profile!r}\n"
        f"c.KfSpawner.extra_annotations = {{{ADDRESS!r}: {address!r}}}\n"
        f"c.KfSpawner.port = {_PORT}\n"
    )


def make_stock_settings(model: Object, address: str) -> Object:
    """Return the same for stock KubeSpawner, with servers like our `model`."""
    return {
        **stockhub.like(model),
        **_PLACE,
        "extra_annotations": {ADDRESS: address},
        "port": _PORT,
        "enable_user_namespaces": True,
        # A class that there is not: nobody mounts these claims.
        "storage_pvc_ensure": True,
        "storage_capacity": "2Gi",
        "storage_class": NODE,
    }


def report_bursts(figures: Figures) -> Iterator[Verdict]:
    """Yield the lines of the report."""
    ours, stock = figures.ours, figures.stock
    for called, bursts in (("our hub", ours), ("stock KubeSpawner's", stock)):
        cpu = ", ".join(f"{it * 1000:.0f}" for it in bursts.cpu)
        yield Verdict(
            f"{called}: {SPAWNS} starts at once, ready after {median(bursts.ready):.1f} s, "
            f"{cpu} ms of a processor each; it answers meanwhile in {median(bursts.answers):.3f} s "
            f"(p99 {p99(bursts.answers):.2f}, n={len(bursts.answers)})"
        )
    cpu_ratio = median(ours.cpu) / median(stock.cpu)
    yield Verdict(
        f"P2 hub CPU a start over stock: {cpu_ratio:.2f} ({median(ours.cpu) * 1000:.0f} of "
        f"{median(stock.cpu) * 1000:.0f} ms), at most {CPU_BOUND:g}",
        cpu_ratio <= CPU_BOUND,
    )
    answer = p99(ours.answers)
    yield Verdict(
        f"P2 API p99 of the hub: {answer:.2f} s (stock {p99(stock.answers):.2f} s), "
        f"at most {ANSWER_BOUND:g} s",
        answer <= ANSWER_BOUND,
    )
    ready, all_ = sum(ours.count), SPAWNS * len(ours.count)
    yield Verdict(f"P2 servers ready: {ready} of {all_}", ready == all_)


def p99(seconds: Sequence[float]) -> float:
    """Return what 99 of 100 do not exceed."""
    return quantiles(seconds, n=100, method="inclusive")[-1]


@contextmanager
def _stub(cluster: Cluster, image: str, version: str) -> Iterator[str]:
    """Have what answers for all servers, and yield its address."""
    cluster.make_namespace(NODE)
    try:
        command = [
            "python3",
            "-c",
            _STUB.replace("{version}", version).replace("{port}", str(_PORT)),
        ]
        cluster.run_pod(NODE, "stub", image, command)
        yield until(
            lambda: cluster.pod(NODE, "stub")["status"].get("podIP"), "the stub has an address"
        )
    finally:
        cluster.delete_namespace(NODE)


@contextmanager
def _people(side: Side, cluster: Cluster, names: Sequence[str]) -> Iterator[None]:
    """Have people whom the hub knows; they are gone afterwards with all that they had."""
    side.hub.call("POST", "users", json={"usernames": list(names)}).raise_for_status()
    made = {name: side.hub.call("POST", f"users/{name}/tokens").json() for name in names}
    side.tokens = {name: token["token"] for name, token in made.items()}
    try:
        yield
    finally:
        _stop(side, cluster)
        each(names, lambda name: side.hub.call("DELETE", f"users/{name}").raise_for_status())


def _warm_up(side: Side, cluster: Cluster) -> None:
    """Have everybody start once: what comes with their first start is not of every day."""
    for _ in range(_TRIES):
        seen = Bursts()
        _burst(side, cluster, seen, asking=False)
        if seen.count == [len(side.tokens)]:
            return


def _burst(side: Side, cluster: Cluster, into: Bursts, *, asking: bool) -> None:
    """Start everybody's server at once, and note what that took; all are stopped afterwards.

    Asking something else takes a processor too: either that is noted, or what a start takes.
    """
    names = list(side.tokens)
    before = processor_seconds(cluster, side.namespace, side.pod)
    with ThreadPoolExecutor(SPAWNS + _ASKING) as threads:
        begun = time.monotonic()
        starts = [threads.submit(_start, side, name) for name in names]
        if asking:
            due = [begun + number * _PERIOD for number in range(round(_SECONDS / _PERIOD))]
            into.answers += threads.map(partial(_ask, side, names[0]), due)
        ready = [at for it in starts if (at := it.result())]
    if not asking:
        taken = processor_seconds(cluster, side.namespace, side.pod) - before
        into.cpu.append(taken / len(names))
    into.ready.append(max(ready, default=begun) - begun)
    into.count.append(len(ready))
    _stop(side, cluster)


def _start(side: Side, name: str) -> float | None:
    """Start a server, and return when it was ready; None if it does not start."""
    where = f"users/{name}/server"
    answer = side.call(name, "POST", where, json={"user_options": dict(side.options)})
    while answer.status_code == 202:
        # The hub answers after 10 seconds, whatever has become of it.
        time.sleep(1)
        server = side.call(name, "GET", f"users/{name}").json()["servers"].get("", {})
        if server.get("ready"):
            return time.monotonic()
        if not server.get("pending"):
            return None
    return time.monotonic() if answer.status_code == 201 else None


def _ask(side: Side, name: str, due: float) -> float:
    """Ask the hub something at a time, and return how long after it the answer came."""
    time.sleep(max(0.0, due - time.monotonic()))
    side.call(name, "GET", f"users/{name}").raise_for_status()
    return time.monotonic() - due


def _stop(side: Side, cluster: Cluster) -> None:
    each([*side.tokens], lambda name: side.call(name, "DELETE", f"users/{name}/server"))
    placed = f"spec.nodeName={NODE}"
    until(
        lambda: not cluster.core.list_pod_for_all_namespaces(field_selector=placed).items,
        "all servers have stopped",
        _PATIENCE,
    )
    until(lambda: not _active(side), "the hub knows of it", _PATIENCE)


def _active(side: Side) -> list[str]:
    known = side.hub.call("GET", "users", params={"state": "active", "limit": 200}).json()
    return [it["name"] for it in known if it["name"] in side.tokens]
