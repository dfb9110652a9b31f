"""A server's process, from its container's start to its first answer, beside stock's.

The person's own pod is made again by hand, its server started now by
`kfspawner-singleuser` and now by the unmodified `jupyterhub-singleuser` of the same
image. A second container, which sees the processes of the first, knocks every 10 ms and
tells how long after its process began the server answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from deploy.person import Person
from kfspawner.names import namespace_name
from tests.bench.floor import make_floor, wait_gone
from tests.bench.report import Bound, Verdict, over, spread
from tests.cluster.cluster import Cluster, Object, until

TURNS = 20
OVER_STOCK = Bound(0.45, p95=0.45)
_OURS = "kfspawner-singleuser"
_STOCK = "jupyterhub-singleuser"
_PATIENCE = 120
# The kernel counts the start of a process in ticks since its own.
_CLOCK = """
import glob, http.client, json, os, sys, time

program, path = sys.argv[1:]

def arguments(process):
    try:
        with open(f"{process}/cmdline") as file:
            return file.read().split("\\0")
    except OSError:
        return []

def answers():
    door = http.client.HTTPConnection("127.0.0.1", 8888, timeout=5)
    try:
        door.request("GET", path)
        return door.getresponse().status == 200
    except OSError:
        return False
    finally:
        door.close()

while not answers():
    time.sleep(0.01)
answered = time.clock_gettime(time.CLOCK_BOOTTIME)
(server,) = [it for it in glob.glob("/proc/[0-9]*") if program in arguments(it)[1:2]]
with open(f"{server}/stat") as file:
    begun = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
with open(f"{server}/status") as file:
    kibibytes = next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
print(json.dumps([answered - begun, kibibytes / 1024]), flush=True)
"""


@dataclass
class Starts:
    """Seconds to the first answer, and the mebibytes that the process has then."""

    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def measure_starts(person: Person, cluster: Cluster, n: int) -> tuple[Starts, Starts]:
    """Start servers by both commands in turns, and return ours and stock's."""
    namespace = namespace_name(person.name)
    model = cluster.server_pod(namespace)
    ours, stock = Starts(), Starts()
    ways = [(ours, _OURS), (stock, _STOCK)]
    for _, command in ways:
        # The first of each reads its files from the disk.
        _start(cluster, namespace, make_pod(model, command, person.server_path))
    for turn in range(n):
        # Who goes first changes, so that neither has the better place.
        for starts, command in ways if turn % 2 else reversed(ways):
            manifest = make_pod(model, command, person.server_path)
            seconds, memory = _start(cluster, namespace, manifest)
            starts.seconds.append(seconds)
            starts.memory.append(memory)
    return ours, stock


def report_starts(ours: Starts, stock: Starts) -> Iterator[Verdict]:
    """Yield the lines of the report."""
    for command, starts in ((_OURS, ours), (_STOCK, stock)):
        yield Verdict(spread(f"{command}, to its first answer", starts.seconds))
        yield Verdict(f"{'    its memory then':<52}{median(starts.memory):6.0f} MiB")
    yield over("P1 start over stock", ours.seconds, stock.seconds, OVER_STOCK)


def make_pod(model: Object, command: str, path: str) -> Object:
    """Return the manifest of a pod like `model` that tells how its server starts.

    Parameters
    ----------
    model
        The pod of a server, as the API tells it.
    command
        What starts the server.
    path
        Where it answers.
    """
    manifest = make_floor(model)
    spec = manifest["spec"]
    (server,) = spec["containers"]
    server["args"] = [command]
    clock = {
        "name": "clock",
        "image": server["image"],
        "command": ["python", "-c", _CLOCK, f"/opt/venv/bin/{command}", f"{path}api"],
        "securityContext": server["securityContext"],
        "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}},
    }
    # Containers start in their order: the clock is there first.
    spec |= {
        "containers": [clock, server],
        "shareProcessNamespace": True,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
    }
    return manifest


def _start(cluster: Cluster, namespace: str, manifest: Object) -> tuple[float, float]:
    """Return the seconds and the mebibytes of one start; its pod is gone afterwards."""
    name = manifest["metadata"]["name"]
    cluster.core.create_namespaced_pod(namespace, manifest)

    def told() -> str:
        states = cluster.pod(namespace, name)["status"].get("containerStatuses", [])
        if not any(it["name"] == "clock" and "terminated" in it["state"] for it in states):
            return ""
        return str(cluster.core.read_namespaced_pod_log(name, namespace, container="clock"))

    seconds, memory = json.loads(until(told, "the server answers", _PATIENCE))
    cluster.core.delete_namespaced_pod(name, namespace)
    wait_gone(cluster, namespace, "floor=server")
    return seconds, memory
