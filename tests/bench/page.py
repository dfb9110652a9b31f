"""200 people who ask for the spawn page at the same moment, and what the API server has of it.

Looks at what is free are counted by the API server itself, as lists of nodes,
of pods and of quotas, whoever lists them.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from deploy.node.layout import HUB_NODE_PORT, NODE_ADDRESS
from deploy.person import Person
from kfspawner.names import namespace_name
from tests.bench.listing import read_lists
from tests.bench.report import Verdict, describe
from tests.cluster.cluster import Cluster, until
from tests.cluster.people import Hub

USERS = 200
BURSTS = 5
P99_BOUND = 1.0
_KINDS = ("nodes", "pods", "resourcequotas")
_THREADS = 4
_PAGE = "/hub/spawn"
# Seconds for all to have their connections, and between two bursts.
_CONNECT = 2.0
_PAUSE = 3.0


@dataclass
class Pages:
    """What was measured.

    Attributes
    ----------
    bursts
        The seconds of each page, burst by burst.
    looks
        How often the most listed of nodes, pods and quotas was listed meanwhile.
    seconds
        How long all of it took.
    """

    bursts: list[list[float]] = field(default_factory=list)
    looks: int = 0
    seconds: float = 0.0


def measure_pages(hub: Hub, cluster: Cluster) -> Pages:
    """Have 200 people ask at once, several times over; they are gone afterwards."""
    stem = f"bench-page-{secrets.token_hex(2)}"
    names = [f"{stem}-{number}" for number in range(USERS)]
    pages = Pages()
    with ThreadPoolExecutor(_THREADS) as threads, ExitStack() as stack:
        stack.callback(lambda: list(threads.map(lambda name: _forget(hub, cluster, name), names)))
        cookies = list(threads.map(lambda name: _sign_in(hub, name), names))
        until(lambda: _are_ready(cluster, names), "all have a profile", 300)
        before, begun = read_lists(cluster.metrics()), time.monotonic()
        for _ in range(BURSTS):
            pages.bursts.append(asyncio.run(_burst(_find(hub), cookies)))
            time.sleep(_PAUSE)
        after, pages.seconds = read_lists(cluster.metrics()), time.monotonic() - begun
        pages.looks = max(after[kind] - before[kind] for kind in _KINDS)
    return pages


def report_pages(pages: Pages) -> Iterator[Verdict]:
    """Yield the lines of the report."""
    all_of_them = [seconds for burst in pages.bursts for seconds in burst]
    worst = [_p99(burst) for burst in pages.bursts]
    yield Verdict(describe(f"the spawn page, {USERS} users at once, n={len(worst)}", all_of_them))
    yield Verdict(
        f"page p99 at {USERS} users: {_p99(all_of_them):.2f} s "
        f"(by burst {', '.join(f'{it:.2f}' for it in worst)}; at most {P99_BOUND:g})",
        _p99(all_of_them) <= P99_BOUND,
    )
    rate = pages.looks / pages.seconds
    yield Verdict(f"page capacity look-ups per second: {rate:.2f} (at most 1)", rate <= 1)


def _p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[round(len(seconds) * 0.99) - 1]


def _sign_in(hub: Hub, name: str) -> str:
    """Sign a person in, look at the page once, and return the cookies of the browser."""
    with Person(hub.url, name) as person:
        person.sign_in(hub.password)
        person.send("GET", _PAGE, f"opening the spawn page as {name}")
        return person.cookie(_PAGE)


def _are_ready(cluster: Cluster, names: Sequence[str]) -> bool:
    found = cluster.core.list_namespace().items
    return {namespace_name(name) for name in names} <= {it.metadata.name for it in found}


def _forget(hub: Hub, cluster: Cluster, name: str) -> None:
    hub.call("DELETE", f"users/{name}")
    cluster.delete_profile(namespace_name(name))


def _find(hub: Hub) -> tuple[str, int]:
    """Return where the hub's proxy listens.

    On the local node that is its port there: what forwards the machine's own
    to it starts a process for each connection, and is no part of a hub.
    """
    if not os.environ.get("CONTEXT"):
        return NODE_ADDRESS, HUB_NODE_PORT
    address = urlsplit(hub.url)
    return str(address.hostname), address.port or 80


async def _burst(address: tuple[str, int], cookies: Sequence[str]) -> list[float]:
    """Return the seconds until each has the whole page, all asked for at once."""
    gate = asyncio.Event()
    asking = [asyncio.create_task(_ask(address, cookie, gate)) for cookie in cookies]
    await asyncio.sleep(_CONNECT)
    gate.set()
    return await asyncio.gather(*asking)


async def _ask(address: tuple[str, int], cookie: str, gate: asyncio.Event) -> float:
    host, port = address
    reader, writer = await asyncio.open_connection(host, port)
    await gate.wait()
    begun = time.monotonic()
    lines = (
        f"GET {_PAGE} HTTP/1.1",
        f"Host: {host}:{port}",
        f"Cookie: {cookie}",
        "Connection: close",
    )
    writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
    answer = await reader.read(-1)
    seconds = time.monotonic() - begun
    writer.close()
    if b" 200 " not in answer[:20] or b'id="kf-form"' not in answer:
        raise AssertionError(f"the spawn page is not there: {answer[:200]!r}")
    return seconds
