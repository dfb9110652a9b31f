"""What of the node itself a profile's pods reach: the API and the registry, and nothing else.

Only where the node is this machine's own: the NFS server of people's files, and
what stands in for a cloud's metadata, listen on the node and are no pods.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from deploy.node import layout as at
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import Profiles
from tests.cluster.walls import BLOCKED, FLOWS, LISTEN_WHILE_HELD, Asker, opened

API_PORT = 6443
RPCBIND_PORT = 111
METADATA = "169.254.169.254"
METADATA_PORT = 80
# Between two columns of /proc/net/tcp: what listens, and on which addresses it is alone.
LISTENS = "0A"
LOOPBACK = ("0100007F", "00000000000000000000000001000000")


def in_node(*words: str) -> list[str]:
    """Return the command that runs `words` in the node's namespaces."""
    return [sys.executable, "-m", "deploy.node", "exec", "--", *words]


def call(*words: str) -> str:
    """Run `words` in the node's namespaces, and return what they print."""
    done = subprocess.run(in_node(*words), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def listening(*ports: int) -> Iterator[None]:
    """Listen on ports of the node."""
    command = in_node("python3", "-c", LISTEN_WHILE_HELD, *map(str, ports))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        # Leaving the context closes its standard input, and that ends it.
        assert running.stdout is not None
        assert running.stdout.readline() == "listening\n"
        yield


@contextmanager
def address(name: str, of: str) -> Iterator[None]:
    """Give the node the address `of`, on a link called `name`."""
    # A bridge without ports: not every kernel has dummy links.
    call("ip", "link", "add", name, "type", "bridge")
    try:
        call("ip", "address", "add", f"{of}/32", "dev", name)
        call("ip", "link", "set", name, "up")
        yield
    finally:
        call("ip", "link", "delete", name)


def listening_ports() -> set[int]:
    """Return the ports on which the node's own processes listen for others."""
    found = set()
    for line in call("cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines():
        local, state = line.split()[1:4:2]
        host, _, port = local.partition(":")
        if state == LISTENS and host not in LOOPBACK:
            found.add(int(port, 16))
    return found


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, str]]:
    """All that there is to reach on the node: what it is called here -> where it is."""
    with listening(METADATA_PORT), address("test-metadata", METADATA):
        ports = listening_ports()
        nfs = {at.NFS_PORT, at.MOUNTD_PORT, RPCBIND_PORT}
        assert {*nfs, METADATA_PORT, API_PORT, at.REGISTRY_PORT, 10250} <= ports
        # What kube-proxy sends on to the hub's proxy.
        ports.add(at.HUB_NODE_PORT)
        found = {str(port): f"{at.NODE_ADDRESS}:{port}" for port in sorted(ports)}
        yield {**found, "metadata": f"{METADATA}:{METADATA_PORT}"}


def test_a_pod_reaches_the_api_and_the_registry_of_the_node_and_nothing_else(
    targets: dict[str, str], cluster: Cluster, profiles: Profiles
) -> None:
    ours = profiles.new("test-node-walls")
    unwalled = f"{ours}-control"
    open_ = {str(API_PORT): FLOWS, str(at.REGISTRY_PORT): FLOWS}
    with ExitStack() as stack:
        stack.callback(cluster.delete_namespace, unwalled)
        cluster.make_namespace(unwalled)
        inside, control = (Asker(cluster, it, targets) for it in (ours, unwalled))
        control.sees(dict.fromkeys(targets, FLOWS))
        inside.sees({**dict.fromkeys(targets, BLOCKED), **open_})
        # It is the wall: with a hole in it, the same pod gets everywhere.
        with opened(cluster, ours, egress=[{}]):
            inside.sees(dict.fromkeys(targets, FLOWS))
        inside.sees({**dict.fromkeys(targets, BLOCKED), **open_})
