"""Deploy the hub on a target: render what only this target knows, apply, wait."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.errors import DeployError
from deploy.node import layout as at
from deploy.target import Target

_OVERLAY = Path(__file__).parent / "overlays" / "local"
_HOMES = Path(__file__).parent / "homes"
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_ANSWER_SECONDS = 120
# How old an archive is before somebody may have it deleted.
_RETENTION = "30d"
# What earlier versions applied, and this one does not.
_FORMER = (
    "clusterrole/kfspawner-notebook",
    "validatingadmissionpolicy/kfspawner-hub",
    "validatingadmissionpolicybinding/kfspawner-hub",
)


def make_kustomization(
    target: Target, images: Mapping[str, str], settings: Mapping[str, str]
) -> dict[str, Any]:
    """Return the kustomization that puts this target's facts over the local overlay.

    Parameters
    ----------
    target
        Its directory is where the kustomization will be.
    images
        Image name -> reference by digest.
    settings
        Further environment variables of the hub.
    """
    repository, _, digest = images["hub"].partition("@")
    made = target.secrets()
    hub = ("CONFIGPROXY_AUTH_TOKEN", "JPY_COOKIE_SECRET", "JUPYTERHUB_CRYPT_KEY")
    local = ("KFSPAWNER_ADMIN_TOKEN", "KFSPAWNER_PASSWORD")
    literals = {
        "KFSPAWNER_IMAGE_CPU": images["cpu"],
        "KFSPAWNER_IMAGE_GPU": images["gpu"],
        "KFSPAWNER_REGISTRY_PREFIX": _run_registry(target),
        **settings,
    }
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "kfspawner",
        "resources": [os.path.relpath(_OVERLAY, target.directory)],
        "images": [{"name": "kfspawner/hub", "newName": repository, "digest": digest}],
        "configMapGenerator": [
            {"name": "images", "literals": _literals(literals)},
            {"name": "walls", "literals": _literals({"KFSPAWNER_OPENINGS": target.openings})},
            {"name": "authorities", "files": ["ca.crt"]},
        ],
        "secretGenerator": [
            {"name": "hub", "literals": _literals({name: made[name] for name in hub})},
            {"name": "hub-local", "literals": _literals({name: made[name] for name in local})},
        ],
    }


def make_homes_kustomization(target: Target, images: Mapping[str, str]) -> dict[str, Any]:
    """Return the kustomization that puts this target's export over deploy/homes.

    Parameters
    ----------
    target
        Its directory holds the one where the kustomization will be.
    images
        Image name -> reference by digest.
    """
    server, _, path = target.nfs.rpartition(":")
    repository, _, digest = images["hub"].partition("@")
    export = [
        {"op": "replace", "path": f"/spec/nfs/{field}", "value": value}
        for field, value in (("server", server), ("path", path))
    ]
    literals = {
        "KFSPAWNER_NFS_SERVER": server,
        "KFSPAWNER_NFS_PATH": path,
        "KFSPAWNER_RETENTION": _RETENTION,
    }
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "kfspawner-homes",
        "resources": [os.path.relpath(_HOMES, target.directory / "homes")],
        "images": [{"name": "kfspawner/hub", "newName": repository, "digest": digest}],
        "configMapGenerator": [{"name": "homes", "literals": _literals(literals)}],
        "patches": [
            {
                "target": {"kind": "PersistentVolume", "name": "kfspawner-export"},
                "patch": json.dumps(export),
            }
        ],
    }


def _literals(values: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _run_registry(target: Target) -> str:
    """Return the prefix of run images: the registry itself where it is ours alone."""
    return at.REGISTRY if not target.context else target.registry


def apply(target: Target, images: Mapping[str, str], *, simulated_gpus: bool) -> None:
    """Apply the hub's manifests and return when its new pods are there."""
    server, _, path = target.nfs.rpartition(":")
    settings = {
        "KFSPAWNER_NFS_SERVER": server,
        "KFSPAWNER_NFS_PATH": path,
        "KFSPAWNER_REGISTRY_PLAIN_HTTP": str(int(target.plain_http)),
        "KFSPAWNER_SIMULATED_GPUS": str(int(simulated_gpus)),
    }
    _write(target.directory, make_kustomization(target, images, settings))
    # What this machine trusts, its people's servers trust: it may sit behind a
    # proxy that inspects TLS.
    (target.directory / "ca.crt").write_bytes(_AUTHORITIES.read_bytes())
    apply_ = ("apply", "--server-side", "--force-conflicts", "-k", str(target.directory))
    target.run_kubectl(*apply_)
    if target.nfs:
        _apply_homes(target, images)
    target.run_kubectl("delete", "--ignore-not-found", *_FORMER)
    for name in ("proxy", "controller", "hub"):
        rollout = ("rollout", "status", f"deployment/{name}", "--timeout=180s")
        target.run_kubectl("--namespace=kfspawner", *rollout)


def _apply_homes(target: Target, images: Mapping[str, str]) -> None:
    directory = target.directory / "homes"
    _write(directory, make_homes_kustomization(target, images))
    target.run_kubectl("apply", "--server-side", "--force-conflicts", "-k", str(directory))
    rollout = ("rollout", "status", "deployment/provisioner", "--timeout=180s")
    target.run_kubectl("--namespace=kfspawner-homes", *rollout)


def _write(directory: Path, kustomization: Mapping[str, Any]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    # JSON is YAML; it may hold secrets.
    path = directory / "kustomization.yaml"
    path.touch(mode=0o600)
    path.write_text(json.dumps(kustomization, indent=1))


def wait_for_answer(target: Target) -> None:
    """Return once the hub itself answers at its address, not only the proxy before it."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    said = "nothing yet"
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{target.hub_url}/hub/api/", timeout=5) as answer:  # noqa: S310
                if "version" in json.load(answer):
                    return
        except (OSError, ValueError) as error:
            said = str(error)
        time.sleep(0.3)
    raise DeployError(
        f"waiting for the hub at {target.hub_url}",
        said,
        "read `kubectl --namespace kfspawner logs deployment/hub`",
    )


def forward(target: Target) -> None:
    """Bring the hub of a cluster elsewhere to this machine's loopback."""
    stop_forwarding(target)
    command: list[str | Path] = [
        target.kubectl,
        f"--kubeconfig={target.kubeconfig}",
        "--namespace=kfspawner",
    ]
    command += ["port-forward", "service/proxy-public", f"{at.HUB_PORT}:80"]
    with (target.directory / "forward.log").open("w") as log:
        running = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    (target.directory / "forward.pid").write_text(str(running.pid))


def stop_forwarding(target: Target) -> None:
    """End what `forward` started, if it still runs."""
    path = target.directory / "forward.pid"
    if path.exists():
        pid = int(path.read_text())
        command = Path(f"/proc/{pid}/cmdline")
        if command.exists() and b"port-forward" in command.read_bytes():
            os.kill(pid, signal.SIGTERM)
        path.unlink()
