"""``python -m tests.bench [n]``: what kfspawner adds, over the same without it.

Each measure and its floor take turns, in one go and on one server, so that a
busy machine slows both. Ends with status 1 if a bound does not hold.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from kubernetes import client, config

from deploy.demo import NOTEBOOK
from deploy.errors import DeployError
from deploy.person import Person
from tests.bench.listing import measure_lists, report_lists
from tests.bench.measures import Pairs, run_pairs, spawn_pairs, time_packaging
from tests.bench.profiles import measure_profiles, report_profiles
from tests.cluster.cluster import Cluster
from tests.cluster.people import Hub

PACKAGING_BOUND = 2.0
RUN_BOUND = 3.0


@dataclass(frozen=True)
class Verdict:
    """One line of the report; `holds` is None where there is no bound."""

    text: str
    holds: bool | None = None

    def __str__(self) -> str:
        if self.holds is None:
            return self.text
        return f"{self.text}: {'holds' if self.holds else 'DOES NOT HOLD'}"


def describe(label: str, seconds: Sequence[float]) -> str:
    """Return a line with the median of `seconds`, and from where to where they go."""
    return f"{label:<52}{median(seconds):6.2f} s   ({min(seconds):.2f} to {max(seconds):.2f})"


def compare(pairs: Pairs) -> list[Verdict]:
    """Return difference and ratio of pairs that took turns."""
    differences = [ours - floor for ours, floor in zip(pairs.ours, pairs.floor, strict=True)]
    ratios = [ours / floor for ours, floor in zip(pairs.ours, pairs.floor, strict=True)]
    return [
        Verdict(describe("    difference", differences)),
        Verdict(f"{'    ratio':<52}{median(ratios):6.2f}"),
    ]


def report(packaging: Sequence[float], runs: Pairs, spawns: Pairs) -> list[Verdict]:
    """Return the lines of the report."""
    added = median(ours - floor for ours, floor in zip(runs.ours, runs.floor, strict=True))
    return [
        Verdict(describe("append the example's layer and push it", packaging)),
        Verdict(f"    at most {PACKAGING_BOUND:g} s", median(packaging) <= PACKAGING_BOUND),
        Verdict(""),
        Verdict(describe("%%kf run to the first log line", runs.ours)),
        Verdict(describe("the same Job created directly, to its first line", runs.floor)),
        *compare(runs),
        Verdict(f"    at most +{RUN_BOUND:g} s", added <= RUN_BOUND),
        Verdict(""),
        Verdict(describe("a server, from POST to ready", spawns.ours)),
        Verdict(describe("the same pod created directly, to its first answer", spawns.floor)),
        *compare(spawns),
    ]


def measure(hub: Hub, cluster: Cluster, n: int) -> list[Verdict]:
    """Measure everything, as a person who is gone afterwards."""
    name = f"bench-{secrets.token_hex(2)}"
    with ExitStack() as stack:
        stack.callback(hub.forget, name)
        person = stack.enter_context(Person(hub.url, name))
        person.sign_in(hub.password)
        person.spawn({"image_profile": "cpu"})
        print("packaging …", flush=True)
        packaging = time_packaging(person, NOTEBOOK, n)
        print("runs …", flush=True)
        runs = run_pairs(person, cluster, n)
        print("servers …", flush=True)
        spawns = spawn_pairs(person, cluster, n)
        print("lists …", flush=True)
        lists = measure_lists(person, cluster)
        print("profiles …", flush=True)
        profiles = measure_profiles(cluster)
    lines = report(packaging, runs, spawns)
    for more in (report_lists(lists), report_profiles(profiles)):
        lines += [Verdict(""), *(Verdict(*line) for line in more)]
    return lines


def main(words: Sequence[str]) -> int:
    """Measure and report; return the exit status."""
    n = int(words[0]) if words else 5
    config.load_kube_config()
    with client.ApiClient() as api:
        cluster = Cluster(api)
        with Hub(
            os.environ["KFSPAWNER_HUB_URL"],
            os.environ["KFSPAWNER_PASSWORD"],
            os.environ["KFSPAWNER_ADMIN_TOKEN"],
            cluster,
        ) as hub:
            lines = measure(hub, cluster, n)
    print(f"\nmedians of n={n}, each turn beside its floor (from the least to the most)\n")
    print("\n".join(map(str, lines)))
    return 1 if any(line.holds is False for line in lines) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DeployError as error:
        sys.exit(f"\n{error}")
    except KeyError as error:
        sys.exit(f"{error} not in the environment; use `make bench`")
