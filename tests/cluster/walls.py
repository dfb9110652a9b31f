"""Pods that listen, pods that keep asking who lets them in, and holes in walls."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.cluster.cluster import Cluster, Object, until

FLOWS = "flows"
BLOCKED = "blocked"

# What a server's pod bears, so that policies take a pod for one.
SERVER = {"component": "singleuser-server"}

_LISTEN = """
import socketserver, sys, threading

# The last one who listened here has just gone.
socketserver.TCPServer.allow_reuse_address = True
for port in sys.argv[1:]:
    server = socketserver.ThreadingTCPServer(("", int(port)), socketserver.BaseRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("listening", flush=True)
"""
# Both listen on the ports they are given: one for ever, and one until its
# standard input ends, for what would outlive its starter.
LISTEN = f"{_LISTEN}threading.Event().wait()\n"
LISTEN_WHILE_HELD = f"{_LISTEN}sys.stdin.read()\n"

# Asks all of its targets at once, again and again, and prints a line for each round.
_ASK = """
import concurrent.futures, json, socket, sys, time

def ask(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except socket.gaierror:
        return "no such name"
    except OSError:
        return "blocked"
    return "flows"

targets = sys.argv[1:]
with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
    while True:
        print(json.dumps(dict(zip(targets, pool.map(ask, targets)))), flush=True)
        time.sleep(0.2)
"""


class Asker:
    """A pod that keeps asking each of its targets for a connection.

    Parameters
    ----------
    cluster, namespace
        Where it runs, under the name ``asker``.
    targets
        What the target is called here -> ``host:port``.
    """

    def __init__(self, cluster: Cluster, namespace: str, targets: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._targets = dict(targets)
        command = ["python3", "-c", _ASK, *self._targets.values()]
        # The hub lets in nobody but servers.
        image = cluster.images()["hub"]
        cluster.run_pod(namespace, "asker", image, command, labels=SERVER)
        until(self._lines, "the asking pod asks")

    def sees(self, expected: Mapping[str, str], seconds: float = 20) -> None:
        """Return once two rounds in a row, begun after this call, went as `expected`."""
        begun = len(self._lines()) + 1
        deadline = time.monotonic() + seconds
        while True:
            rounds = [json.loads(line) for line in self._lines()[begun:][-2:]]
            differing = {
                name: answers[self._targets[name]]
                for answers in rounds
                for name in expected
                if answers[self._targets[name]] != expected[name]
            }
            if len(rounds) == 2 and not differing:
                return
            assert time.monotonic() < deadline, (
                f"seen from {self._namespace}, not as expected: {differing or 'no two rounds'}"
            )
            time.sleep(0.2)

    def _lines(self) -> list[str]:
        """Return the whole lines of its log."""
        whole, _, _ = self._cluster.log(self._namespace, "asker").rpartition("\n")
        return whole.splitlines()


def listen(
    cluster: Cluster, namespace: str, name: str, *ports: int, labels: Mapping[str, str]
) -> str:
    """Start a pod that listens on `ports`, and return its address."""
    command = ["python3", "-c", LISTEN, *map(str, ports)]
    cluster.run_pod(namespace, name, cluster.images()["hub"], command, labels=labels)
    until(lambda: "listening" in cluster.log(namespace, name), f"pod {name} listens")

    def address() -> str:
        # kubelet tells it some time after the pod began.
        return str(cluster.pod(namespace, name)["status"].get("podIP", ""))

    return str(until(address, f"pod {name} has an address"))


@contextmanager
def opened(cluster: Cluster, namespace: str, **spec: object) -> Iterator[None]:
    """Make a hole in the walls of `namespace`: policies add up to what any of them lets through."""
    kinds = [kind.title() for kind in ("ingress", "egress") if kind in spec]
    policy: Object = {
        "metadata": {"generateName": "test-hole-"},
        "spec": {"podSelector": {}, "policyTypes": kinds, **spec},
    }
    made = cluster.network.create_namespaced_network_policy(namespace, policy)
    try:
        yield
    finally:
        cluster.network.delete_namespaced_network_policy(made.metadata.name, namespace)
