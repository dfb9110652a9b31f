"""A node that does not exist: KWOK, `sigs.k8s.io/kwok`, plays its kubelet."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from kubernetes import client

from deploy.node.programs import Program, build, built
from deploy.steps import Progress
from tests.cluster.cluster import LAYOUT, Cluster, Object, until

LABEL = "kfspawner.test/played"
# Nothing comes to such a node but what is sent there, or tolerates this.
TAINT = {"key": LABEL, "effect": "NoSchedule"}
# How pods come to run: each at once, with an address that nothing answers at.
RUN_AT_ONCE = "pod-ready.yaml"
# Each after as many seconds as a small image takes, at the address that it is
# given as annotation; and gone as soon as it is deleted.
RUN_AT_ADDRESS = Path(__file__).parent / "server-stages.yaml"
ADDRESS = "kfspawner.test/address"

_NODE_STAGES = ("node-initialize.yaml", "node-heartbeat.yaml")
_KWOK = Program(
    "kwok",
    links=(),
    resources=(
        "sigs.k8s.io/kwok",
        f"kustomize/stage/pod/fast/{RUN_AT_ONCE}",
        "kustomize/stage/node/fast/node-initialize.yaml",
        "kustomize/stage/node/heartbeat/node-heartbeat.yaml",
    ),
    home=Path(__file__).parent,
)


@contextmanager
def played_node(cluster: Cluster, name: str, pods: str | Path) -> Iterator[None]:
    """Have a node of that name, whose `pods` run as one of the ways above says."""
    remove_node(cluster, name)
    try:
        cluster.core.create_node(_node(name))
        with _kwok(name, pods):
            until(lambda: _is_ready(cluster, name), f"node {name} is ready")
            yield
    finally:
        remove_node(cluster, name)


def remove_node(cluster: Cluster, name: str) -> None:
    """Remove such a node, if it is there."""
    with suppress(client.ApiException):
        cluster.core.delete_node(name)


def _node(name: str) -> Object:
    much: Mapping[str, str] = {"pods": "50000", "cpu": "10000", "memory": "100Ti"}
    return {
        "metadata": {"name": name, "labels": {LABEL: name, "type": "kwok"}},
        "spec": {"taints": [TAINT]},
        "status": {"allocatable": much, "capacity": much},
    }


def _is_ready(cluster: Cluster, name: str) -> bool:
    conditions = cluster.core.read_node(name).status.conditions or []
    return any(it.type == "Ready" and it.status == "True" for it in conditions)


@contextmanager
def _kwok(node: str, pods: str | Path) -> Iterator[None]:
    """Have KWOK play the kubelet of a node, built at the first call."""
    build(LAYOUT, _KWOK, Progress())
    where = built(LAYOUT, _KWOK)
    stages = where / f"{node}.stages"
    stages.write_text("---\n".join((where / it).read_text() for it in (*_NODE_STAGES, pods)))
    command = [os.fspath(where / _KWOK.name), "--config", os.fspath(stages)]
    command += ["--manage-single-node", node, "--kubeconfig", os.environ["KUBECONFIG"]]
    log = LAYOUT.logs / "kwok.log"
    # Not in this terminal's group: what is interrupted here still cleans up.
    with (
        log.open("wb") as told,
        subprocess.Popen(command, stdout=told, stderr=told, start_new_session=True) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
