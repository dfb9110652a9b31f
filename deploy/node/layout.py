"""Where everything of the node is: its directories, addresses and names.

There is one node per machine, whatever checkout asks for it, so nothing here
depends on where this file is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

KUBERNETES_VERSION = "v1.34.4"
NODE_NAME = "kfspawner"
# The directory of /sys/fs/cgroup that all its pods are in.
CGROUP = "kfspawner"

# TEST-NET-2 of RFC 5737: addresses that no real network uses.
HOST_ADDRESS = "198.51.100.1"
NODE_ADDRESS = "198.51.100.2"
NODE_NETWORK = "198.51.100.0/30"
HOST_LINK = "kfspawner0"
POD_NETWORK = "10.244.0.0/16"
POD_RANGE = "10.244.0.0/24"
SERVICE_NETWORK = "10.96.0.0/16"
DNS_ADDRESS = "10.96.0.10"

REGISTRY_NAME = "registry.kfspawner.test"
REGISTRY_PORT = 5000
REGISTRY = f"{REGISTRY_NAME}:{REGISTRY_PORT}"

# The server of people's files, and the directory that its clients mount.
NFS_SERVER = NODE_ADDRESS
NFS_EXPORT = "/homes"
NFS_PORT = 2049
MOUNTD_PORT = 20048

# Where the machine's own loopback answers for the hub, and the node's port behind it.
HUB_PORT = int(os.environ.get("KFSPAWNER_PORT", "8000"))
HUB_NODE_PORT = 30080


@dataclass(frozen=True)
class Layout:
    """The directories and files below one state directory."""

    root: Path

    @classmethod
    def from_env(cls) -> Layout:
        """Return the layout below ``KFSPAWNER_STATE``, ``/var/lib/kfspawner`` by default."""
        return cls(Path(os.environ.get("KFSPAWNER_STATE", "/var/lib/kfspawner")).absolute())

    @property
    def lock(self) -> Path:
        """What two commands of this directory cannot hold at once."""
        return self.root / "lock"

    @property
    def cache(self) -> Path:
        """Downloads and compiler output: slow to make again, never missed."""
        return self.root / "cache"

    @property
    def builds(self) -> Path:
        """Compiled programs, each in a directory named after what it was made from."""
        return self.root / "builds"

    @property
    def debian(self) -> Path:
        """Debian packages unpacked here instead of installed, so that no service starts."""
        return self.root / "debian"

    @property
    def venv(self) -> Path:
        """The Python environment of the node's supervisor."""
        return self.root / "venv"

    @property
    def bin(self) -> Path:
        """The node's PATH."""
        return self.root / "bin"

    @property
    def sbin(self) -> Path:
        """What the node finds in /sbin besides the machine's own programs."""
        return self.root / "sbin"

    @property
    def pki(self) -> Path:
        """Certificates, as kubeadm lays them out."""
        return self.root / "pki"

    @property
    def etc(self) -> Path:
        """Generated configuration and the kubeconfig of each part."""
        return self.root / "etc"

    @property
    def logs(self) -> Path:
        """One log per part."""
        return self.root / "logs"

    @property
    def data(self) -> Path:
        """What ``down`` keeps: etcd, images, the registry, people's files."""
        return self.root / "data"

    @property
    def nfs(self) -> Path:
        """The NFS server's directories; what it exports is the one called like the export."""
        return self.data / "nfs"

    @property
    def exported(self) -> Path:
        """What clients see as `NFS_EXPORT`."""
        return self.nfs / NFS_EXPORT.lstrip("/")

    @property
    def run(self) -> Path:
        """What only a running node has: process ids and sockets."""
        return self.root / "run"

    @property
    def init_pid(self) -> Path:
        """The process id of the node's first process, as the machine counts."""
        return self.run / "init.pid"

    @property
    def supervisor_socket(self) -> Path:
        """Where the supervisor takes orders."""
        return self.run / "supervisor.sock"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, usable on this machine."""
        return self.root / "kubeconfig"
