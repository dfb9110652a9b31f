"""What the first process of a container says of itself, read inside it."""

from __future__ import annotations

import os
import re
from typing import Any

from kubernetes.stream import stream

from tests.cluster.cluster import Cluster


def processor_seconds(cluster: Cluster, namespace: str, pod: str) -> float:
    """Return for how many seconds the process has had a processor so far."""
    return read_seconds(_read(cluster, namespace, pod, "stat"))


def memory_of(cluster: Cluster, part: str) -> tuple[float, float]:
    """Return what the process of `hub` or `controller` holds now, and has held at most, in MiB."""
    (pod,) = cluster.pods("kfspawner", f"app.kubernetes.io/name={part}")
    return read_memory(_read(cluster, "kfspawner", pod["metadata"]["name"], "status"))


def read_seconds(stat: str) -> float:
    """Return the seconds in user and system mode that ``/proc/<pid>/stat`` tells."""
    # proc(5): fields 14 and 15, counted after the command's closing parenthesis.
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def read_memory(status: str) -> tuple[float, float]:
    """Return the MiB that ``/proc/<pid>/status`` tells: held now, and held at most."""
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
    return int(found["VmRSS"]) / 1024, int(found["VmHWM"]) / 1024


def _read(cluster: Cluster, namespace: str, pod: str, name: str) -> str:
    running: Any = stream(
        cluster.core.connect_get_namespaced_pod_exec,
        pod,
        namespace,
        command=["cat", f"/proc/1/{name}"],
        stdout=True,
        stderr=True,
        _preload_content=False,
    )
    try:
        running.run_forever(timeout=60)
        return str(running.read_all())
    finally:
        # Its own close() leaves the socket to the collector once the other end has closed.
        running.sock.shutdown()
