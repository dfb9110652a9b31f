"""What homes on NFS cost: a claim until it is bound, a start, and every byte.

Each beside its floor: a volume that is there already, an emptyDir, the NFS
server's own directory.
"""

from __future__ import annotations

import copy
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from deploy.node import mounts
from deploy.person import Person
from kfspawner.names import home_claim_name, namespace_name
from tests.bench.door import Door
from tests.bench.floor import time_pod, wait_gone
from tests.bench.measures import each
from tests.bench.report import Pairs, Verdict, bounded, compare, describe
from tests.cluster.claims import make_claim, volume_of
from tests.cluster.cluster import LAYOUT, Cluster, Object, directory_of, until

CLAIM_BOUND = 1.0
START_BOUND = 1.0
MANY = 100
_TURNS_OF_MANY = 3
_PERIOD = 0.02
_MEBIBYTES = 512
_BYTES = f"""
import os, time

def measure(path):
    block = os.urandom(1 << 20)
    begun = time.monotonic()
    with open(path, "wb", buffering=0) as file:
        for _ in range({_MEBIBYTES}):
            file.write(block)
        os.fsync(file.fileno())
    written = time.monotonic() - begun
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        begun = time.monotonic()
        while file.read(1 << 20):
            pass
    read = time.monotonic() - begun
    os.unlink(path)
    return {_MEBIBYTES} / written, {_MEBIBYTES} / read
"""


@dataclass
class Figures:
    """What was measured; speeds are in MiB/s, written and read."""

    one: Pairs = field(default_factory=Pairs)
    many: Pairs = field(default_factory=Pairs)
    starts: Pairs = field(default_factory=Pairs)
    ours: list[tuple[float, float]] = field(default_factory=list)
    server: list[tuple[float, float]] = field(default_factory=list)


def measure_homes(person: Person, cluster: Cluster, n: int) -> Figures:
    """Measure everything; `person` has a server on NFS."""
    figures = Figures()
    for count, pairs, turns in ((1, figures.one, n), (MANY, figures.many, _TURNS_OF_MANY)):
        for turn in range(turns):
            ways = [
                partial(_time_claims, cluster, count, pairs.ours, static=False),
                partial(_time_claims, cluster, count, pairs.floor, static=True),
            ]
            # Who goes first changes, so that neither has the better place.
            for way in ways if turn % 2 else reversed(ways):
                way()
    _measure_bytes(person, cluster, figures, n)
    _measure_starts(person, cluster, figures.starts, n)
    return figures


def _time_claims(cluster: Cluster, count: int, into: list[float], *, static: bool) -> None:
    """Note how long it takes from so many claims at once until the last is bound."""
    name = f"bench-{secrets.token_hex(3)}"
    people = [f"p{number}" for number in range(count)]
    with ExitStack() as stack:
        cluster.make_profile(name, "somebody")
        stack.callback(cluster.delete_profile, name)
        claims = [home_claim_name(person) for person in people]
        if static:
            for claim in claims:
                cluster.core.create_persistent_volume(_static(name, claim))
                stack.callback(cluster.core.delete_persistent_volume, f"{name}-{claim}")
            until(partial(_are_available, cluster, name, count), "the volumes are there")
            make = partial(_claim_static, cluster, name)
        else:
            make = partial(_claim_ours, cluster, name)
        begun = time.monotonic()
        each(people, make)
        _wait_bound(cluster, name, count)
        into.append(time.monotonic() - begun)


def _claim_ours(cluster: Cluster, namespace: str, person: str) -> None:
    make_claim(cluster, namespace, home_claim_name(person), "1000:100", person)


def _claim_static(cluster: Cluster, namespace: str, person: str) -> None:
    claim = home_claim_name(person)
    spec = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "",
        "volumeName": f"{namespace}-{claim}",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    body = {"metadata": {"name": claim}, "spec": spec}
    cluster.core.create_namespaced_persistent_volume_claim(namespace, body)


def _static(namespace: str, claim: str) -> Object:
    """Return a volume that a claim may name; nobody mounts it."""
    return {
        "metadata": {"name": f"{namespace}-{claim}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "nfs": {"server": "192.0.2.1", "path": "/nowhere"},
        },
    }


def _are_available(cluster: Cluster, stem: str, count: int) -> bool:
    """Say whether the cluster knows so many volumes, and that they wait for their claims."""
    found = cluster.core.list_persistent_volume().items
    ready = [it for it in found if it.status.phase == "Available"]
    return bool(sum(it.metadata.name.startswith(f"{stem}-") for it in ready) == count)


def _wait_bound(cluster: Cluster, namespace: str, count: int) -> None:
    deadline = time.monotonic() + 120
    while True:
        found = cluster.core.list_namespaced_persistent_volume_claim(namespace).items
        if sum(it.status.phase == "Bound" for it in found) == count:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"not all of {count} claims were bound")
        time.sleep(_PERIOD)


def _measure_bytes(person: Person, cluster: Cluster, figures: Figures, n: int) -> None:
    """Write and read a file through the pod's mount, and in the server's own directory."""
    home = directory_of(volume_of(cluster, person.name, namespace_name(person.name)))
    here: dict[str, object] = {}
    exec(compile(_BYTES, "bytes", "exec"), here)
    with person.kernel() as kernel:
        for code in (_BYTES, "measure('/home/jovyan/bench.bin')"):
            assert not kernel.execute(code).error
        for _ in range(n):
            execution = kernel.execute("print(*measure('/home/jovyan/bench.bin'))")
            assert not execution.error, execution.text
            written, read = map(float, execution.text.split())
            figures.ours.append((written, read))
            figures.server.append(_beside(home, here))


def _beside(home: Path, here: dict[str, object]) -> tuple[float, float]:
    measure = here["measure"]
    assert callable(measure)
    path = home / "bench-floor.bin"
    speeds: tuple[float, float] = measure(os.fspath(path))
    return speeds


def _measure_starts(person: Person, cluster: Cluster, pairs: Pairs, n: int) -> None:
    """Time the server's pod with its home, and the same with an emptyDir in its place."""
    namespace = namespace_name(person.name)
    model = cluster.server_pod(namespace)
    empty = copy.deepcopy(model)
    for volume in empty["spec"]["volumes"]:
        if volume.pop("persistentVolumeClaim", None):
            volume["emptyDir"] = {}
    person.stop()
    wait_gone(cluster, namespace, "component=singleuser-server")
    with Door(LAYOUT) as door:
        for turn in range(n):
            ways = [(pairs.ours, model), (pairs.floor, empty)]
            for seconds, pod in ways if turn % 2 else reversed(ways):
                seconds.append(time_pod(cluster, door, namespace, pod, person.server_path))
    person.spawn({"image_profile": "cpu"})


def report_homes(figures: Figures) -> Iterator[Verdict]:
    """Yield the lines of the report."""
    for count, pairs in ((1, figures.one), (MANY, figures.many)):
        claims = "a claim" if count == 1 else f"{count} claims at once"
        yield Verdict(describe(f"{claims}, to bound by our provisioner", pairs.ours))
        yield Verdict(describe("the same to volumes that are there already", pairs.floor))
        yield from compare(pairs)
        yield bounded(pairs, CLAIM_BOUND)
    yield Verdict(
        describe("a server's pod with its home, to the first answer", figures.starts.ours)
    )
    yield Verdict(describe("the same with an emptyDir in its place", figures.starts.floor))
    yield from compare(figures.starts)
    yield bounded(figures.starts, START_BOUND)
    helper = mounts.mount_helper()
    for index, did in enumerate(("written and synced", "read")):
        ours = _speeds(figures.ours, index)
        server = _speeds(figures.server, index)
        ratios = [there / beside for there, beside in zip(ours, server, strict=True)]
        yield Verdict(describe(f"{did} from a pod ({helper})", ours, "MiB/s"))
        yield Verdict(describe(f"{did} in the server's own directory", server, "MiB/s"))
        yield Verdict(describe("    ratio", ratios, ""))


def _speeds(pairs: Sequence[tuple[float, float]], index: int) -> list[float]:
    return [it[index] for it in pairs]
