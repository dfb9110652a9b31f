"""The memory of a process of ours in the cluster."""

from __future__ import annotations

import re

from kubernetes.stream import stream

from tests.cluster.cluster import Cluster


def memory_of(cluster: Cluster, part: str) -> tuple[float, float]:
    """Return what the process of `hub` or `controller` holds now, and has held at most, in MiB."""
    (pod,) = cluster.pods("kfspawner", f"app.kubernetes.io/name={part}")
    told = stream(
        cluster.core.connect_get_namespaced_pod_exec,
        pod["metadata"]["name"],
        "kfspawner",
        command=["cat", "/proc/1/status"],
        stdout=True,
        stderr=True,
    )
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", str(told), re.MULTILINE))
    return int(found["VmRSS"]) / 1024, int(found["VmHWM"]) / 1024
