"""The memory of a process of ours in the cluster."""

from __future__ import annotations

import re
from typing import Any

from kubernetes.stream import stream

from tests.cluster.cluster import Cluster


def memory_of(cluster: Cluster, part: str) -> tuple[float, float]:
    """Return what the process of `hub` or `controller` holds now, and has held at most, in MiB."""
    (pod,) = cluster.pods("kfspawner", f"app.kubernetes.io/name={part}")
    running: Any = stream(
        cluster.core.connect_get_namespaced_pod_exec,
        pod["metadata"]["name"],
        "kfspawner",
        container=part,
        command=["cat", "/proc/1/status"],
        stdout=True,
        stderr=True,
        _preload_content=False,
    )
    try:
        running.run_forever(timeout=60)
        told = running.read_all()
    finally:
        # Its own close() leaves the socket to the collector once the other end has closed.
        running.sock.shutdown()
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", str(told), re.MULTILINE))
    return int(found["VmRSS"]) / 1024, int(found["VmHWM"]) / 1024
