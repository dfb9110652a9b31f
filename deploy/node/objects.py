"""What a fresh cluster needs before anything can run on it: network, storage, DNS, GPUs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from string import Template

from deploy.commands import call
from deploy.errors import DeployError
from deploy.node import layout as at
from deploy.node import programs
from deploy.node.archives import make_archive
from deploy.node.layout import Layout

_MANIFESTS = Path(__file__).parent / "manifests"
_GPU = "nvidia.com/gpu"
_READY_SECONDS = 120


def kubectl(layout: Layout, *words: str, stdin: str = "") -> str:
    """Run kubectl as the administrator and return what it prints.

    Raises
    ------
    DeployError
        With kubectl's own words.
    """
    command: list[str | Path] = [
        layout.bin / "kubectl",
        *words,
        f"--kubeconfig={layout.kubeconfig}",
    ]
    return call(command, "see `make status` for what the node does", stdin=stdin)


def wait_for_api(layout: Layout) -> None:
    """Return once the API server says that it is ready."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            kubectl(layout, "get", "--raw", "/readyz", "--request-timeout=2s")
        except DeployError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)
        else:
            return


def load_images(layout: Layout, run_in_node: list[str]) -> str:
    """Give containerd the images that no registry has; return the name of the DNS image.

    Parameters
    ----------
    layout
        The node's directories.
    run_in_node
        The command prefix that enters the node.
    """
    ctr = [*run_in_node, str(layout.bin / "ctr"), "--namespace=k8s.io"]
    ctr += [f"--address={layout.run}/private/containerd/containerd.sock", "images"]
    dns_image = f"localhost/coredns:{programs.COREDNS.key()}"
    images = {
        "localhost/pause:1": (layout.debian / "usr" / "bin" / "catatonit", ("-P",)),
        dns_image: (programs.built(layout, programs.COREDNS) / "coredns", ()),
    }
    way_out = f"read {layout.logs}/containerd.log"
    there = call([*ctr, "ls", "-q"], way_out)
    for name, (program, arguments) in images.items():
        if name not in there.split():
            call([*ctr, "import", "-"], way_out, stdin=make_archive(name, program, arguments))
    return dns_image


def apply(layout: Layout, dns_image: str) -> None:
    """Apply the objects that make it a cluster; what is there already stays."""
    definitions = programs.built(layout, programs.CALICO)
    kubectl(layout, "apply", "--server-side", "--force-conflicts", "-f", str(definitions))
    values = {
        "pod_network": at.POD_NETWORK,
        "node_address": at.NODE_ADDRESS,
        "registry_name": at.REGISTRY_NAME,
        "dns_address": at.DNS_ADDRESS,
        "dns_image": dns_image,
    }
    kubectl(layout, "wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    for manifest in ("rights", "network", "storage", "dns"):
        text = Template((_MANIFESTS / f"{manifest}.yaml").read_text()).substitute(values)
        kubectl(layout, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)


def set_up_node(layout: Layout) -> None:
    """Wait until the node is there; tell Calico its address, and the scheduler its GPUs."""
    deadline = time.monotonic() + _READY_SECONDS
    node = f"node/{at.NODE_NAME}"
    while not kubectl(layout, "get", node, "--ignore-not-found", "-o", "name"):
        if time.monotonic() > deadline:
            raise DeployError(
                "starting the node",
                f"kubelet did not register within {_READY_SECONDS} s",
                f"read {layout.logs}/kubelet.log",
            )
        time.sleep(0.3)
    simulated = gpus()
    metadata = {
        "annotations": {"projectcalico.org/IPv4Address": f"{at.NODE_ADDRESS}/30"},
        "labels": {"kfspawner.io/simulated-gpus": str(simulated)},
    }
    kubectl(layout, "patch", node, "--type=merge", "-p", json.dumps({"metadata": metadata}))
    # Extended resources are advertised by a patch of the status:
    # https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/
    capacity = {"status": {"capacity": {_GPU: str(simulated)}}}
    patch = ("patch", node, "--subresource=status", "--type=merge", "-p", json.dumps(capacity))
    kubectl(layout, *patch)
    kubectl(layout, "wait", "--for=condition=Ready", "--timeout=60s", node)


def wait_for_dns(layout: Layout) -> None:
    """Return once names are answered."""
    rollout = ("rollout", "status", "--timeout=90s", "deployment/coredns")
    kubectl(layout, "--namespace=kube-system", *rollout)


def gpus() -> int:
    """Return how many GPUs to simulate: ``GPUS``, or 2 where the machine has none of its own."""
    given = os.environ.get("GPUS", "")
    if given:
        if not given.isdecimal():
            raise DeployError("reading GPUS", f"{given!r} is no number", "set GPUS=2, say")
        return int(given)
    return 0 if Path("/dev/nvidiactl").exists() else 2
