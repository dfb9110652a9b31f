"""Whether this cluster enforces NetworkPolicy: what the isolation of people stands on."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, until

PORT = 8080
# Asks five times a second, and says each time whether there was an answer.
CLIENT = f"""
import socket, sys, time
while True:
    try:
        socket.create_connection((sys.argv[1], {PORT}), timeout=0.5).close()
        print("flows", flush=True)
    except OSError:
        print("blocked", flush=True)
    time.sleep(0.2)
"""


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace with a server and a client that keeps asking it."""
    name = f"test-network-{secrets.token_hex(2)}"
    cluster.make_namespace(name)
    try:
        yield name
    finally:
        cluster.delete_namespace(name)


def test_a_policy_blocks_and_reopens(namespace: str, cluster: Cluster) -> None:
    image = cluster.images()["hub"]
    serve = ["python3", "-m", "http.server", str(PORT)]
    cluster.run_pod(namespace, "server", image, serve)

    def address() -> str:
        (pod,) = cluster.pods(namespace, "app=server")
        return str(pod["status"].get("podIP", ""))

    asked = until(address, "the server has an address")
    cluster.run_pod(namespace, "client", image, ["python3", "-c", CLIENT, asked])

    def lately() -> list[str]:
        (pod,) = cluster.pods(namespace, "app=client")
        if pod["status"]["phase"] != "Running":
            return []
        return cluster.log(namespace, "client").splitlines()[-3:]

    until(lambda: lately() == ["flows"] * 3, "traffic flows without a policy")
    policy = {
        "metadata": {"name": "closed"},
        "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]},
    }
    cluster.network.create_namespaced_network_policy(namespace, policy)
    until(lambda: lately() == ["blocked"] * 3, "a policy that allows nothing blocks", 15)
    cluster.network.delete_namespaced_network_policy("closed", namespace)
    until(lambda: lately() == ["flows"] * 3, "traffic flows again without the policy", 15)


def test_only_the_selected_client_is_let_in(namespace: str, cluster: Cluster) -> None:
    image = cluster.images()["hub"]
    cluster.run_pod(namespace, "server", image, ["python3", "-m", "http.server", str(PORT)])
    allowed = {"podSelector": {"matchLabels": {"app": "friend"}}}
    policy = {
        "metadata": {"name": "friends"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "server"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [allowed], "ports": [{"port": PORT}]}],
        },
    }
    cluster.network.create_namespaced_network_policy(namespace, policy)

    def address() -> str:
        (pod,) = cluster.pods(namespace, "app=server")
        return str(pod["status"].get("podIP", ""))

    asked = until(address, "the server has an address")
    for name in ("friend", "stranger"):
        cluster.run_pod(namespace, name, image, ["python3", "-c", CLIENT, asked])

    def lately(name: str) -> list[str]:
        (pod,) = cluster.pods(namespace, f"app={name}")
        if pod["status"]["phase"] != "Running":
            return []
        return cluster.log(namespace, name).splitlines()[-3:]

    until(lambda: lately("friend") == ["flows"] * 3, "the friend gets in")
    until(lambda: lately("stranger") == ["blocked"] * 3, "the stranger does not")
