"""Where kfspawner is deployed to: the local node, or a cluster that is there already."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from deploy.commands import call
from deploy.errors import DeployError
from deploy.node import layout as at
from deploy.node.layout import Layout

# Each made once per target: bytes of randomness, as hexadecimal digits.
_SECRETS = {
    "CONFIGPROXY_AUTH_TOKEN": 32,
    "JPY_COOKIE_SECRET": 32,
    "JUPYTERHUB_CRYPT_KEY": 32,
    "KFSPAWNER_ADMIN_TOKEN": 32,
    "KFSPAWNER_PASSWORD": 8,
}


@dataclass(frozen=True)
class Target:
    """One cluster, and what this machine keeps about it.

    Attributes
    ----------
    context
        The kubeconfig context, empty for the local node.
    directory
        Secrets and generated manifests of this target.
    kubeconfig
        A kubeconfig for this cluster alone.
    kubectl
        The kubectl that fits it.
    registry
        Where its images go: ``registry.example/prefix``.
    plain_http
        Whether that registry speaks HTTP without TLS.
    nfs
        The export for homes, ``server:/path``; empty for the default StorageClass.
    openings
        What people's pods may reach in private networks, ``CIDR:PORT`` each,
        with spaces between: that registry, for one.
    """

    context: str
    directory: Path
    kubeconfig: Path
    kubectl: Path
    registry: str
    plain_http: bool
    openings: str
    nfs: str = ""

    @classmethod
    def local(cls, layout: Layout) -> Target:
        """Return the node of this machine."""
        return cls(
            context="",
            directory=layout.data / "hub",
            kubeconfig=layout.kubeconfig,
            kubectl=layout.bin / "kubectl",
            registry=f"{at.REGISTRY}/kfspawner",
            plain_http=True,
            openings=f"{at.NODE_ADDRESS}/32:{at.REGISTRY_PORT}",
            nfs=f"{at.NFS_SERVER}:{at.NFS_EXPORT}",
        )

    @classmethod
    def existing(cls, layout: Layout, context: str, registry: str) -> Target:
        """Return the cluster that `context` of the kubeconfig names.

        Raises
        ------
        DeployError
            If there is no such context, no kubectl, or no registry was given.
        """
        kubectl = shutil.which("kubectl")
        if not kubectl:
            raise DeployError(
                f"using the cluster of context {context}", "no kubectl", "put it on the PATH"
            )
        if not registry:
            raise DeployError(
                f"using the cluster of context {context}",
                "its nodes need a registry to pull the images from",
                "set REGISTRY=<host/prefix>, one that you can push to",
            )
        directory = layout.root / "contexts" / re.sub(r"[^A-Za-z0-9.-]", "_", context)
        directory.mkdir(parents=True, exist_ok=True)
        view = ("config", "view", "--minify", "--flatten", f"--context={context}")
        kubeconfig = directory / "kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(call([kubectl, *view], "see `kubectl config get-contexts`"))
        plain = os.environ.get("REGISTRY_PLAIN_HTTP", "") == "1"
        return cls(
            context=context,
            directory=directory,
            kubeconfig=kubeconfig,
            kubectl=Path(kubectl),
            registry=registry.rstrip("/"),
            plain_http=plain,
            openings=os.environ.get("OPENINGS", ""),
            nfs=_read_nfs(os.environ.get("NFS", "")),
        )

    def secrets(self) -> dict[str, str]:
        """Return this target's secrets, made at random the first time."""
        path = self.directory / "secrets.json"
        if not path.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            made = {name: secrets.token_hex(length) for name, length in _SECRETS.items()}
            path.touch(mode=0o600)
            path.write_text(json.dumps(made, indent=1))
        kept: dict[str, str] = json.loads(path.read_text())
        return kept

    def run_kubectl(self, *words: str) -> str:
        """Run kubectl on this cluster and return what it prints."""
        command: list[str | Path] = [self.kubectl, *words, f"--kubeconfig={self.kubeconfig}"]
        return call(command, "see what the cluster says with `kubectl get events -A`")

    @property
    def hub_url(self) -> str:
        """Where the hub answers, on this machine's loopback."""
        return f"http://127.0.0.1:{at.HUB_PORT}"

    def environment(self) -> dict[str, str]:
        """Return what the demonstration, the tests and a person's shell need."""
        made = self.secrets()
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "KFSPAWNER_HUB_URL": self.hub_url,
            "KFSPAWNER_ADMIN_TOKEN": made["KFSPAWNER_ADMIN_TOKEN"],
            "KFSPAWNER_PASSWORD": made["KFSPAWNER_PASSWORD"],
        }


def _read_nfs(text: str) -> str:
    if text and not re.fullmatch(r"[^:\s/][^\s/]*:/\S*", text):
        raise DeployError(f"reading NFS={text}", "it is no export", "set NFS=<server>:</path>")
    return text
