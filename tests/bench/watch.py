"""What it takes to watch 20,000 servers: lists at the API server, and the hub's memory.

Three processes that have loaded a hub take turns: one watches as ours does, one
as stock KubeSpawner does with ``enable_user_namespaces``, one not at all. Lists
of pods and of events are counted by the API server; what is counted beside the
one that watches nothing is others', and is taken off.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from deploy.person import Person
from kfspawner.names import namespace_name
from tests.bench.crowd import crowd
from tests.bench.listing import read_lists
from tests.bench.report import Verdict
from tests.bench.views import NONE, OURS, STOCK
from tests.cluster.cluster import Cluster, until
from tests.cluster.process import read_memory

NAMESPACES, EACH = 20, 1000
LISTS_BOUND = 0.1
MEMORY_BOUND = 0.7
_ROUNDS = 2
_SECONDS = 40.0
# How long each may take until its first list is there, and how long after that
# the counting begins: what begins lists more than what goes on.
_SETTLE = 5.0
_WAYS = (NONE, OURS, STOCK)
_KINDS = ("pods", "events")


@dataclass
class Windows:
    """What was seen of one way, window by window; memory in MiB.

    Attributes
    ----------
    first
        Lists until all was known.
    seconds
        From the process's start until it knew all.
    lists
        Lists per minute after that.
    memory, peak
        Of the whole process: what it holds at the end, and has held at most.
    """

    first: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lists: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)


@dataclass
class Figures:
    """What was measured, by way."""

    pods: int
    made: float
    ways: dict[str, Windows]

    def added(self, way: str) -> float:
        """Lists per minute that a way adds."""
        return max(0.0, mean(self.ways[way].lists) - mean(self.ways[NONE].lists))


def measure_watch(person: Person, cluster: Cluster) -> Figures:
    """Measure it, with pods like the person's own server's."""
    model = cluster.server_pod(namespace_name(person.name))
    with crowd(cluster, model, NAMESPACES, EACH) as standing:
        figures = Figures(standing.pods, standing.seconds, {way: Windows() for way in _WAYS})
        for turn in range(_ROUNDS):
            # Who goes first changes, so that none has the better place.
            for way in _WAYS if turn % 2 else reversed(_WAYS):
                _look(cluster, way, figures.pods, figures.ways[way])
    return figures


def report_watch(figures: Figures) -> Iterator[Verdict]:
    """Yield the lines of the report."""
    yield Verdict(
        f"{figures.pods} pods of servers in {NAMESPACES} namespaces, by KWOK "
        f"(all ran after {figures.made:.0f} s); windows of {_SECONDS:.0f} s"
    )
    for way, windows in figures.ways.items():
        yield Verdict(
            f"    {way:<6}{mean(windows.lists):6.1f} lists/min {_rounded(windows.lists)}, "
            f"{_rounded(windows.first)} to begin with in {_rounded(windows.seconds)} s; "
            f"{mean(windows.memory):.0f} MiB, at most {max(windows.peak):.0f}"
        )
    ours, stock = (figures.ways[way] for way in (OURS, STOCK))
    stock_lists = figures.added(STOCK)
    lists = figures.added(OURS) / stock_lists if stock_lists else float("nan")
    yield Verdict(
        f"P3 lists over stock: {lists:.2f} ({figures.added(OURS):.1f} of {stock_lists:.1f} a "
        f"minute), at most {LISTS_BOUND:g}",
        lists <= LISTS_BOUND,
    )
    memory = mean(ours.memory) / mean(stock.memory)
    peak = max(ours.peak) / max(stock.peak)
    yield Verdict(
        f"P3 memory over stock: {memory:.2f} (peak {peak:.2f}), whole processes, at most "
        f"{MEMORY_BOUND:g}",
        max(memory, peak) <= MEMORY_BOUND,
    )


def _look(cluster: Cluster, way: str, pods: int, into: Windows) -> None:
    before, begun = _lists(cluster), time.monotonic()
    with _process(way, pods) as status:
        into.seconds.append(time.monotonic() - begun)
        time.sleep(_SETTLE)
        after, begun = _lists(cluster), time.monotonic()
        into.first.append(after - before)
        time.sleep(_SECONDS)
        into.lists.append((_lists(cluster) - after) * 60 / (time.monotonic() - begun))
        held, peak = read_memory(status.read_text())
        into.memory.append(held)
        into.peak.append(peak)


@contextmanager
def _process(way: str, pods: int) -> Iterator[Path]:
    """Have a process watch; yield the file that tells its memory once it knows all."""
    command = [sys.executable, "-m", "tests.bench.views", way]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            known = int(process.stdout.readline() or -1)
            assert known == 0 if way == NONE else known >= pods, f"{way} knows {known} pods"
            yield Path("/proc", str(process.pid), "status")
        finally:
            process.stdin.close()
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()


def _lists(cluster: Cluster) -> int:
    told = read_lists(until(cluster.metrics, "the API server tells what it counts"))
    return sum(told[kind] for kind in _KINDS)


def _rounded(numbers: list[float] | list[int]) -> str:
    return "[" + ", ".join(f"{it:.0f}" for it in numbers) + "]"
