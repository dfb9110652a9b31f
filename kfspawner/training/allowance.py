"""What a profile's quota says to a run: before it is made, and as soon as it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kfspawner.cluster import Cluster
from kfspawner.errors import ClusterDenied, ClusterError
from kfspawner.labels import RUN_LABEL
from kfspawner.quota import QuotaExcess
from kfspawner.training.derive import refused_pod
from kfspawner.training.reasons import creating_failed
from kfspawner.training.status import events_about, own_pods

Manifest = Mapping[str, Any]

# The cluster makes a run's pod, or says why it does not, well within a second.
_PATIENCE = 3.0
_PAUSE = 0.1


def check_quota(job: Manifest, cluster: Cluster) -> None:
    """Refuse a run whose pod would be over the quota.

    Raises
    ------
    ClusterDenied
        If it would; who uses what is in the message.
    ClusterError
        If the cluster cannot be asked.
    """
    try:
        quotas = cluster.list_quotas()
    except ClusterDenied:
        # This account may not look. The cluster itself will refuse the run.
        return
    pod_spec = job["spec"]["template"]["spec"]
    for quota in quotas:
        if excess := QuotaExcess.foresee(quota, pod_spec):
            raise _denied(job["metadata"]["name"], excess, cluster)


def check_started(name: str, cluster: Cluster) -> None:
    """Wait until a run that was just made has its pod; remove it if the cluster refuses that.

    Quotas fill up meanwhile, and what else a namespace refuses shows only now.
    A cluster that takes its time is not waited for.

    Raises
    ------
    ClusterDenied
        If the pod is refused.
    """
    try:
        refusal = _await_refusal(name, cluster)
    except ClusterError:
        # It is there; that it cannot be looked at is no reason to stop it.
        return
    except KeyboardInterrupt:
        _remove(name, cluster)
        raise
    if refusal:
        _remove(name, cluster)
        raise refusal


def _await_refusal(name: str, cluster: Cluster) -> ClusterDenied | None:
    """Return why the cluster will not make a run's pod, or None where it does or may yet."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        job = cluster.get_job(name)
        pods = own_pods(job, cluster.list_pods(f"{RUN_LABEL}={name}"))
        if pods or job["spec"].get("suspend"):
            break
        message = refused_pod(events_about([job], cluster.list_events("Job", name)))
        if excess := QuotaExcess.parse(message):
            return _denied(name, excess, cluster)
        if message and (verdict := creating_failed(message)).stuck:
            return ClusterDenied(f"creating run {name}", verdict.reason, "ask the administrator")
        time.sleep(_PAUSE)
    return None


def _denied(name: str, excess: QuotaExcess, cluster: Cluster) -> ClusterDenied:
    pods = []
    # Without them it says everything but who.
    with suppress(ClusterError):
        pods = cluster.list_pods("")
    return ClusterDenied(
        f"creating run {name}",
        excess.describe(cluster.namespace, pods),
        "ask for less, stop a server or a run that you no longer need, or ask the administrator "
        "for more",
    )


def _remove(name: str, cluster: Cluster) -> None:
    with suppress(ClusterError):
        cluster.delete_job(name)
