"""``python -m tests.bench [part …]``: what kfspawner adds, over the same without it.

Each measure and its floor take turns, in one go and on one server, so that a
busy machine slows both. Ends with status 1 if a bound does not hold.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from kubernetes import client, config

from deploy.demo import NOTEBOOK
from deploy.errors import DeployError
from deploy.person import Person
from tests.bench.burst import ROUNDS, measure_bursts, report_bursts
from tests.bench.homes import measure_homes, report_homes
from tests.bench.listing import measure_lists, report_lists
from tests.bench.measures import run_pairs, time_packaging
from tests.bench.page import measure_pages, report_pages
from tests.bench.profiles import measure_profiles, report_profiles
from tests.bench.report import Verdict, bounded, compare, describe
from tests.bench.spawns import TURNS as SPAWNS
from tests.bench.spawns import measure_spawns, report_spawns
from tests.bench.start import TURNS as STARTS
from tests.bench.start import measure_starts, report_starts
from tests.bench.watch import measure_watch, report_watch
from tests.cluster.cluster import Cluster
from tests.cluster.people import Hub

PACKAGING_BOUND = 2.0
RUN_BOUND = 3.0
TURNS = 5
# How often all parts take turns; for a try of the benchmark itself.
_ASKED = int(os.environ.get("TURNS", "0"))


@dataclass(frozen=True)
class Scene:
    """A person with a server, their hub, its cluster, and how often to take turns."""

    person: Person
    hub: Hub
    cluster: Cluster
    n: int = _ASKED or TURNS


def append(scene: Scene) -> Iterator[Verdict]:
    """Append the example's layer."""
    seconds = time_packaging(scene.person, NOTEBOOK, scene.n)
    yield Verdict(describe("append the example's layer and push it", seconds))
    yield Verdict(f"    at most {PACKAGING_BOUND:g} s", median(seconds) <= PACKAGING_BOUND)


def run(scene: Scene) -> Iterator[Verdict]:
    """Start runs."""
    runs = run_pairs(scene.person, scene.cluster, scene.n)
    yield Verdict(describe("%%kf run to the first log line", runs.ours))
    yield Verdict(describe("the same Job created directly, to its first line", runs.floor))
    yield from compare(runs)
    yield bounded(runs, RUN_BOUND)


def spawn(scene: Scene) -> Iterator[Verdict]:
    """Start servers."""
    yield from report_spawns(measure_spawns(scene.person, scene.cluster, _ASKED or SPAWNS))


def start(scene: Scene) -> Iterator[Verdict]:
    """Start the process of a server."""
    yield from report_starts(*measure_starts(scene.person, scene.cluster, _ASKED or STARTS))


def burst(scene: Scene) -> Iterator[Verdict]:
    """Start many servers at once."""
    rounds = _ASKED or ROUNDS
    yield from report_bursts(measure_bursts(scene.person, scene.hub, scene.cluster, rounds))


PARTS: Mapping[str, Callable[[Scene], Iterable[Verdict]]] = {
    "append": append,
    "run": run,
    "spawn": spawn,
    "burst": burst,
    "homes": lambda it: report_homes(measure_homes(it.person, it.cluster, it.n)),
    "lists": lambda it: report_lists(measure_lists(it.person, it.cluster)),
    "page": lambda it: report_pages(measure_pages(it.hub, it.cluster)),
    "profiles": lambda it: report_profiles(measure_profiles(it.cluster)),
    "start": start,
    "watch": lambda it: report_watch(measure_watch(it.person, it.cluster)),
}


def measure(hub: Hub, cluster: Cluster, parts: Sequence[str]) -> list[Verdict]:
    """Measure `parts` as a person who is gone afterwards, and print how it went."""
    name = f"bench-{secrets.token_hex(2)}"
    lines: list[Verdict] = []
    with ExitStack() as stack:
        stack.callback(cluster.sweep)
        stack.callback(hub.forget, name)
        person = stack.enter_context(Person(hub.url, name))
        person.sign_in(hub.password)
        person.spawn({"image_profile": "cpu"})
        print("medians of what took turns with its floor (from the least to the most)\n")
        for part in parts:
            for line in PARTS[part](Scene(person, hub, cluster)):
                print(line, flush=True)
                lines.append(line)
            print(flush=True)
    return lines


def main(words: Sequence[str]) -> int:
    """Measure and report; return the exit status."""
    unknown = [word for word in words if word not in PARTS]
    if unknown:
        print(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    config.load_kube_config()
    with client.ApiClient() as api:
        cluster = Cluster(api)
        with Hub(
            os.environ["KFSPAWNER_HUB_URL"],
            os.environ["KFSPAWNER_PASSWORD"],
            os.environ["KFSPAWNER_ADMIN_TOKEN"],
            cluster,
        ) as hub:
            lines = measure(hub, cluster, words or list(PARTS))
    return 1 if any(line.holds is False for line in lines) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DeployError as error:
        sys.exit(f"\n{error}")
    except KeyError as error:
        sys.exit(f"{error} not in the environment; use `make bench`")
