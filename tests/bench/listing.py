"""How often the hub lists, with one profile in use and with many, beside stock KubeSpawner.

Counted by the API server itself, in ``apiserver_request_total{verb="LIST"}``.
That tells resources apart and not clients, so the kinds that hubs list are
counted, whoever lists them, our controller included; and what a stock
KubeSpawner adds is the difference between a minute with it and one without.
"""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import mean

from deploy.errors import DeployError
from deploy.person import Person
from tests.bench.report import Verdict
from tests.bench.stock import NAMESPACE_EACH, USER_NAMESPACES
from tests.cluster.cluster import Cluster, until

MANY = 100
# What a hub looks at: its servers' pods and events, and who may use which profile.
KINDS = ("pods", "events", "profiles", "rolebindings")
# A profile in which nothing can be made: a start of a server there goes all the
# way to the cluster, watches included, and costs a machine nothing.
_EMPTY = {"hard": {"pods": "0", "persistentvolumeclaims": "0"}}
_LIST = re.compile(
    r'apiserver_request_total\{(?=[^}]*,verb="LIST")[^}]*,resource="(\w*)"[^}]*\} ([0-9.e+]+)'
)
_SETTLE = 15.0
_BEGIN = 5.0
# A window may catch one turn more of each of the two lists that come round.
_CHANCE = 2.0
_WAYS = {USER_NAMESPACES: "enable_user_namespaces", NAMESPACE_EACH: "a namespace by profile"}


@dataclass
class Lists:
    """Lists per minute, in windows that took turns.

    Attributes
    ----------
    profiles
        How many profiles were in use.
    ours
        With our hub alone: each window's, and by kind.
    stock
        What stock KubeSpawner adds, by its way.
    """

    profiles: int
    ours: list[float] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    stock: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Lists per minute of our hub."""
        return mean(self.ours)

    def __str__(self) -> str:
        windows = len(self.ours)
        kinds = (f"{kind} {self.kinds[kind] / windows:.1f}" for kind in KINDS)
        return f"{self.rate:7.1f}   ({', '.join(kinds)}; windows {self.ours})"


def measure_lists(person: Person, cluster: Cluster, seconds: float = 60) -> list[Lists]:
    """Return the lists with one profile, with many, and with one again.

    Parameters
    ----------
    person
        Signed in; the owner of all of the profiles.
    cluster
        Where nobody else does anything meanwhile.
    seconds
        How long a window is.
    """
    person.stop()
    stem = f"bench-lists-{secrets.token_hex(2)}"
    names = [f"{stem}-{number}" for number in range(MANY)]
    measured = []
    with _used_profiles(names[:1], person, cluster):
        measured.append(_windows(names[:1], cluster, seconds))
        with _used_profiles(names[1:], person, cluster):
            measured.append(_windows(names, cluster, seconds))
        measured.append(_alone(Lists(1), cluster, seconds))
    return measured


def report_lists(measured: Sequence[Lists]) -> Iterator[Verdict]:
    """Yield the lines of the report."""
    one, many, again = measured
    yield Verdict("lists per minute that the API server counts, profiles in use:")
    for lists in measured:
        yield Verdict(f"{f'    our hub and controller, {lists.profiles}':<52}{lists}")
    held = many.rate <= max(one.rate, again.rate) + _CHANCE
    yield Verdict(f"    no more with {many.profiles}", held)
    for way, called in _WAYS.items():
        added = ", ".join(f"{it.profiles}: {it.stock[way]:+.1f}" for it in measured if it.stock)
        yield Verdict(f"{f'    stock KubeSpawner, {called}':<52}{added}")


@contextmanager
def _used_profiles(names: Sequence[str], person: Person, cluster: Cluster) -> Iterator[None]:
    """Make profiles and have a server started in each; all are gone afterwards."""
    with ExitStack() as stack:
        for name in names:
            stack.callback(_wait_gone, cluster, name)
        for name in names:
            stack.callback(cluster.delete_profile, name)
            cluster.make_profile(name, person.name, resourceQuotaSpec=_EMPTY)
        for name in names:
            _start_server(person, name)
        yield


def _start_server(person: Person, profile: str) -> None:
    """Start a server where the quota refuses it, in the end."""
    try:
        person.spawn({"profile": profile, "image_profile": "cpu"})
    except DeployError as error:
        if "the quota of profile" not in str(error):
            raise
        return
    raise AssertionError(f"profile {profile} has room for a server")


def _wait_gone(cluster: Cluster, profile: str) -> None:
    until(lambda: cluster.profile(profile) is None, f"profile {profile} is gone", 600)


def _windows(names: Sequence[str], cluster: Cluster, seconds: float) -> Lists:
    """Count alone, beside each way of stock KubeSpawner, and alone again."""
    lists = _alone(Lists(len(names)), cluster, seconds)
    beside = {}
    for way in _WAYS:
        with _stock(way, names):
            beside[way] = _per_minute(cluster, seconds).total()
    _alone(lists, cluster, seconds)
    lists.stock = {way: total - lists.rate for way, total in beside.items()}
    return lists


def _alone(lists: Lists, cluster: Cluster, seconds: float) -> Lists:
    time.sleep(_SETTLE)
    counted = _per_minute(cluster, seconds)
    lists.ours.append(counted.total())
    lists.kinds += counted
    return lists


@contextmanager
def _stock(way: str, names: Sequence[str]) -> Iterator[None]:
    """Have the watches of a hub of stock KubeSpawners beside ours."""
    command = [sys.executable, "-m", "tests.bench.stock", way, *names]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if not process.stdout.readline():
            raise AssertionError(f"stock KubeSpawner ({way}) did not start")
        # Each lists twice when it begins.
        time.sleep(_BEGIN)
        yield
        process.stdin.close()


def _per_minute(cluster: Cluster, seconds: float) -> Counter[str]:
    """Return how often each kind is listed in a minute, counted for `seconds` from now."""
    before, begun = read_lists(cluster.metrics()), time.monotonic()
    time.sleep(seconds)
    after, taken = read_lists(cluster.metrics()), time.monotonic() - begun
    return Counter({kind: round((after[kind] - before[kind]) * 60 / taken) for kind in KINDS})


def read_lists(metrics: str) -> Counter[str]:
    """Return how often each resource was listed, from what the API server counts."""
    lists: Counter[str] = Counter()
    for found in _LIST.finditer(metrics):
        lists[found[1]] += int(float(found[2]))
    return lists
