"""How parts of the local node, and what runs on it, are broken, and mended after that."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from urllib3.exceptions import HTTPError

from deploy.node import layout as at
from deploy.node.layout import Layout
from deploy.node.lifecycle import init_pid
from tests.cluster.cluster import Cluster, Object, until
from tests.faults.proxy import ApiProxy

ROOT = Path(__file__).parents[2]
LAYOUT = Layout.from_env()
API = "10.96.0.1"
API_PORT = "443"
# setns(2) calls it CLONE_NEWNET.
_NETWORK = 0x40000000
HUB_PODS = "app.kubernetes.io/name=hub"
NAMESPACE = "kfspawner"
# Where pods' connections to the API go while a proxy stands between: a port that the
# hub may reach at any address, and that nothing of the node listens on.
_PROXY = (at.NODE_ADDRESS, 443)


def deploy(command: str) -> str:
    """Run one of the commands behind `make`, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def in_node(*words: str) -> str:
    """Run a command in the node, and return what it prints."""
    done = _try_in_node(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _try_in_node(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.node", "exec", "--", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def supervise(*words: str) -> None:
    """Tell the node's supervisor to start or stop a part."""
    ctl = [str(LAYOUT.venv / "bin" / "supervisorctl"), f"-c{LAYOUT.etc}/supervisord.conf"]
    subprocess.run([*ctl, *words], capture_output=True, timeout=60, check=True)


@contextmanager
def stopped_part(name: str) -> Iterator[None]:
    """Keep a part of the node from running."""
    supervise("stop", name)
    try:
        yield
    finally:
        supervise("start", name)


@contextmanager
def stopped_api(cluster: Cluster) -> Iterator[None]:
    """Keep the API server from running, and wait in the end until it answers again."""
    with stopped_part("kube-apiserver"):
        yield
    until(lambda: _is_ready(cluster), "the API server answers", 120)


def _is_ready(cluster: Cluster) -> bool:
    try:
        return cluster.status_of("/readyz") == 200
    except HTTPError:
        return False


# Packets.


@contextmanager
def rule(table: str, chain: str, *words: str) -> Iterator[None]:
    """Have a rule before all others of a chain, in the node."""
    iptables = ("iptables", "--wait", "--table", table)
    # One that outlived a test that was killed.
    while _try_in_node(*iptables, "--delete", chain, *words).returncode == 0:
        pass
    in_node(*iptables, "--insert", chain, *words)
    try:
        yield
    finally:
        in_node(*iptables, "--delete", chain, *words)


@contextmanager
def dropped_packets(cluster: Cluster) -> Iterator[None]:
    """Drop what goes between the hub and the API server, either way, and tell neither."""
    hub = hub_pod(cluster)["status"]["podIP"]
    there = ("--source", hub, "--protocol", "tcp", "--dport", API_PORT, "--jump", "DROP")
    back = ("--destination", hub, "--protocol", "tcp", "--sport", "6443", "--jump", "DROP")
    with rule("raw", "PREROUTING", *there), rule("raw", "OUTPUT", *back):
        yield


@contextmanager
def between(cluster: Cluster) -> Iterator[ApiProxy]:
    """Have a proxy between all pods and the API server, and all that the hub asks go by it."""
    proxy = ApiProxy(_listen(*_PROXY), f"https://{at.NODE_ADDRESS}:6443", LAYOUT.pki)
    aside = "{}:{}".format(*_PROXY)
    matched = ("--destination", API, "--protocol", "tcp", "--dport", API_PORT)
    words = ("--source", at.POD_NETWORK, *matched, "--jump", "DNAT", "--to-destination", aside)
    with proxy.running(), rule("nat", "PREROUTING", *words):
        # What was connected before would go on past it.
        hub = str(first_process(hub_pod(cluster), "hub"))
        ends = ("--target", hub, "--net", "ss", "--kill", "--tcp", "dst", API)
        done = subprocess.run(["nsenter", *ends], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        yield proxy


def _listen(host: str, port: int) -> socket.socket:
    """Return what listens in the node's network, for this process."""

    def listen() -> socket.socket:
        # For this thread alone, which ends with this.
        with Path(f"/proc/{init_pid(LAYOUT)}/ns/net").open() as network:
            assert ctypes.CDLL(None).setns(network.fileno(), _NETWORK) == 0
        return socket.create_server((host, port))

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(listen).result()


# Processes.


def hub_pod(cluster: Cluster) -> Object:
    """Return the hub's pod."""
    pods = cluster.pods(NAMESPACE, HUB_PODS)
    # One of before may take its time to end.
    (pod,) = [it for it in pods if "deletionTimestamp" not in it["metadata"]]
    return pod


def kill_container(pod: Object, name: str) -> None:
    """Kill the first process of a container, as -9 does."""
    os.kill(first_process(pod, name), signal.SIGKILL)


def first_process(pod: Object, name: str) -> int:
    """Return the id of a container's first process, as this machine counts."""
    (status,) = [it for it in pod["status"]["containerStatuses"] if it["name"] == name]
    container = status["containerID"].rpartition("/")[2]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            inside = container in (entry / "cgroup").read_text()
            told = (entry / "status").read_text()
        except OSError:
            continue
        ids = next(line for line in told.splitlines() if line.startswith("NSpid:"))
        if inside and ids.split()[-1] == "1":
            return int(entry.name)
    raise AssertionError(f"container {container} has no first process")


def kill_hub(cluster: Cluster) -> None:
    """Kill the hub as -9 does; another comes at once, and answers some seconds later."""
    pod = hub_pod(cluster)
    kill_container(pod, "hub")
    # One that is killed often is started later and later; a new pod is not.
    cluster.delete_pod(NAMESPACE, pod["metadata"]["name"])
    until(
        lambda: all(
            it["metadata"]["uid"] != pod["metadata"]["uid"]
            for it in cluster.pods(NAMESPACE, HUB_PODS)
        ),
        "the killed hub's pod is gone",
    )


def restarts(cluster: Cluster) -> tuple[str, int]:
    """Return which the hub's pod is, and how often it was started again."""
    pod = hub_pod(cluster)
    (container,) = pod["status"]["containerStatuses"]
    return pod["metadata"]["uid"], int(container["restartCount"])
