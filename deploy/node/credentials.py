"""The node's certificates and kubeconfigs, made by kubeadm."""

from __future__ import annotations

import shutil
import time

from deploy.commands import call
from deploy.node import layout as at
from deploy.node.layout import Layout

# kubeadm's certificates are good for a year; they are made anew long before.
_RENEW_AFTER_SECONDS = 90 * 24 * 3600
# What signs the others, and every pod's token: never made anew.
_KEPT = ("ca.*", "etcd/ca.*", "front-proxy-ca.*", "sa.*")
# Parts that kubeadm has no kubeconfig for, under the names that Kubernetes'
# own roles are bound to.
_USERS = {"kube-proxy": "system:kube-proxy", "local-volumes": "kfspawner:local-volumes"}


def make(layout: Layout) -> None:
    """Make the certificates and kubeconfigs, or those anew that grow old."""
    stamp = layout.pki / "made"
    if stamp.exists() and time.time() - stamp.stat().st_mtime < _RENEW_AFTER_SECONDS:
        return
    kept = {path for pattern in _KEPT for path in layout.pki.glob(pattern)}
    for path in layout.pki.rglob("*.*"):
        if path not in kept:
            path.unlink()
    shutil.rmtree(layout.etc, ignore_errors=True)
    layout.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    layout.etc.mkdir(mode=0o700)
    config = layout.etc / "kubeadm.yaml"
    config.write_text(_make_config(layout))
    _kubeadm(layout, "init", "phase", "certs", "all", "--config", str(config))
    phase = ("init", "phase", "kubeconfig", "all", "--kubeconfig-dir", str(layout.etc))
    _kubeadm(layout, *phase, "--config", str(config))
    for name, user in _USERS.items():
        made = _kubeadm(
            layout, "kubeconfig", "user", "--client-name", user, "--config", str(config)
        )
        (layout.etc / f"{name}.conf").write_text(made)
    # admin.conf has no rights before kubeadm binds them; this one always has.
    admin = (layout.etc / "super-admin.conf").read_text()
    layout.kubeconfig.touch(mode=0o600)
    layout.kubeconfig.write_text(admin.replace("kubernetes-super-admin@kfspawner", "kfspawner"))
    stamp.touch()


def _make_config(layout: Layout) -> str:
    return f"""\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {at.NODE_ADDRESS}, bindPort: 6443}}
nodeRegistration: {{name: {at.NODE_NAME}, criSocket: "unix:///unused"}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: kfspawner
kubernetesVersion: {at.KUBERNETES_VERSION}
certificatesDir: {layout.pki}
networking: {{podSubnet: {at.POD_NETWORK}, serviceSubnet: {at.SERVICE_NETWORK}}}
"""


def _kubeadm(layout: Layout, *words: str) -> str:
    return call([layout.bin / "kubeadm", *words], f"see {layout.etc}/kubeadm.yaml")
