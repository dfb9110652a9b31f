"""Directories of the node's NFS server, as volumes of pods."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.node import layout as at
from deploy.node.layout import Layout
from tests.cluster.cluster import Cluster, until

# Who pods are.
UID, GID = 1000, 100


class Share:
    """One directory of the export, and a namespace whose pods have it as ``/data``.

    Parameters
    ----------
    cluster, name
        What the directory, its volume, its claim and the namespace are called.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self.name = name
        self.directory = Layout.from_env().exported / name
        self.source = f"{at.NFS_SERVER}:{at.NFS_EXPORT}/{name}"

    def make(self, *options: str) -> None:
        """Make all of it, mounted with `options`."""
        self.directory.mkdir(mode=0o700)
        os.chown(self.directory, UID, GID)
        self._cluster.make_namespace(self.name)
        size = {"storage": "1Gi"}
        modes = ["ReadWriteMany"]
        volume = {
            "metadata": {"name": self.name},
            "spec": {
                "capacity": size,
                "accessModes": modes,
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
                "claimRef": {"namespace": self.name, "name": self.name},
                "mountOptions": ["nolock", *options],
                "nfs": {"server": at.NFS_SERVER, "path": f"{at.NFS_EXPORT}/{self.name}"},
            },
        }
        claim = {
            "metadata": {"name": self.name},
            "spec": {
                "accessModes": modes,
                "storageClassName": "",
                "volumeName": self.name,
                "resources": {"requests": size},
            },
        }
        self._cluster.core.create_persistent_volume(volume)
        self._cluster.core.create_namespaced_persistent_volume_claim(self.name, claim)

    def remove(self) -> None:
        """Remove all of it."""
        for pod in self._cluster.pods(self.name):
            self._cluster.delete_pod(self.name, pod["metadata"]["name"])
        self._cluster.delete_namespace(self.name)
        until(lambda: not self._cluster.pods(self.name), "the pods of the share have ended", 120)
        self._cluster.core.delete_persistent_volume(self.name)
        shutil.rmtree(self.directory)

    def start(self, pod: str, program: str, *arguments: str) -> None:
        """Start a pod that runs a Python program."""
        command = ["python3", "-u", "-c", program, *arguments]
        image = self._cluster.images()["hub"]
        data = {"persistentVolumeClaim": {"claimName": self.name}}
        self._cluster.run_pod(self.name, pod, image, command, volumes={"/data": data})

    def lines(self, pod: str) -> list[str]:
        """Return what a pod has printed so far."""
        return self._cluster.log(self.name, pod).splitlines()

    def last(self, pod: str) -> str:
        """Return the last line that a pod has printed, nothing if there is none to be had."""
        return (self.lines(pod) or [""])[-1]

    def phase(self, pod: str) -> str:
        """Return how far a pod is."""
        return str(self._cluster.pod(self.name, pod)["status"]["phase"])

    def ended(self, pod: str, seconds: float = 120) -> list[str]:
        """Return what a pod has printed, once it has ended well."""
        until(lambda: self.phase(pod) in ("Succeeded", "Failed"), f"pod {pod} has ended", seconds)
        lines = self.lines(pod)
        assert self.phase(pod) == "Succeeded", lines
        return lines

    def path(self, name: str) -> Path:
        """Return where a file of it is on this machine."""
        return self.directory / name


@contextmanager
def shared(cluster: Cluster, *options: str) -> Iterator[Share]:
    """Make a share whose name no other test has, and remove it in the end."""
    share = Share(cluster, f"test-nfs-{secrets.token_hex(3)}")
    share.make(*options)
    try:
        yield share
    finally:
        share.remove()
