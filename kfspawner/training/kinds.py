"""What a run is on the cluster: one pure function per kind."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kfspawner.context import ServerContext
from kfspawner.errors import OptionRefused
from kfspawner.labels import MANAGED_BY, RUN_LABEL, USER_ANNOTATION, USER_LABEL
from kfspawner.names import check_run_name, slug
from kfspawner.reference import Reference
from kfspawner.training.resources import Resources

__all__ = ["Manifest", "Resources", "RunRequest", "check_env", "make_job"]

Manifest = dict[str, Any]

CONTAINER = "run"
OUTPUTS = "/outputs"
STOPPED_ANNOTATION = "kfspawner.io/stopped"
# Selects every run of a namespace.
RUNS = f"{RUN_LABEL},app.kubernetes.io/managed-by=kfspawner"

_CA_DIR = "/etc/kfspawner/ca"
_CA_FILE = f"{_CA_DIR}/ca.crt"
# OpenSSL and httpx; requests; pip; curl.
_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = "KFSPAWNER_"
# The node reads standard output and error from two pipes, and lines of one may
# overtake lines of the other: a traceback what was printed before it.
_ONE_STREAM = ("sh", "-c", 'exec "$@" 2>&1', "sh")


@dataclass(frozen=True)
class RunRequest:
    """Everything that a run is made from.

    Attributes
    ----------
    name
        A run name.
    image
        The image that it starts from, by digest.
    command
        What the image's entrypoint is to run.
    context
        The server that asks for it: whose run, which namespace, which home.
    resources
        What it may use.
    env
        The person's own environment variables.

    Raises
    ------
    NameRefused
        If a run cannot bear the name.
    OptionRefused
        If the image is not given by digest, or a variable's name is unusable.
    """

    name: str
    image: str
    command: Sequence[str]
    context: ServerContext
    resources: Resources = field(default_factory=Resources)
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_run_name(self.name)
        check_env(self.env)
        if Reference.parse(self.image).digest is None:
            raise OptionRefused(
                f"starting run {self.name} from {self.image}",
                "a tag may mean another image tomorrow",
                "give the image by its digest, registry/repository@sha256:…",
            )


def check_env(env: Mapping[str, str]) -> None:
    """Refuse environment variables that a run cannot have; their values are never shown.

    Raises
    ------
    OptionRefused
        If a name is not one that a shell takes, or is one of our own.
    """
    for name, value in env.items():
        doing = f"reading --env {str(name)[:80]}"
        if not _VARIABLE.fullmatch(name):
            raise OptionRefused(
                doing,
                "the name of a variable is letters, digits and underscores, no digit first",
                "give it as --env NAME=VALUE",
            )
        if name.startswith(_RESERVED):
            raise OptionRefused(
                doing, f"names that start with {_RESERVED} are kfspawner's own", "choose another"
            )
        if not isinstance(value, str) or "\0" in value:
            raise OptionRefused(
                doing, "its value is not text without zero bytes", "give it as a string"
            )


def make_labels(name: str, user: str) -> dict[str, str]:
    """Return the labels of a run's Job and pods."""
    return {**MANAGED_BY, RUN_LABEL: name, USER_LABEL: slug(user)}


def make_job(request: RunRequest) -> Manifest:
    """Return the batch/v1 Job that runs `request` once, and never again by itself."""
    labels = make_labels(request.name, request.context.user)
    annotations = {USER_ANNOTATION: request.context.user}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": request.name,
            "namespace": request.context.namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": dict(labels), "annotations": dict(annotations)},
                "spec": make_pod_spec(request),
            },
        },
    }


def make_pod_spec(request: RunRequest) -> Manifest:
    """Return the spec of a run's pod, as Pod Security `restricted` wants it.

    It has no fsGroup: /outputs is made by its owner, and kubelet would change
    the group of every file in the home.
    """
    return {
        "restartPolicy": "Never",
        # The code in a run is not to speak to the Kubernetes API.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": request.context.uid,
            "runAsGroup": request.context.gid,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_make_container(request)],
        "volumes": _make_volumes(request.context),
    }


def _make_container(request: RunRequest) -> Manifest:
    context = request.context
    env = {
        "KFSPAWNER_RUN": request.name,
        "KFSPAWNER_OUTPUTS": OUTPUTS,
        # Lines reach the log as they are printed.
        "PYTHONUNBUFFERED": "1",
    }
    home: Manifest = {"name": "home", "mountPath": context.home}
    outputs = f"runs/{request.name}"
    if context.home_sub_path:
        home["subPath"] = context.home_sub_path
        outputs = f"{context.home_sub_path}/{outputs}"
    mounts: list[Manifest] = [
        home,
        {"name": "home", "mountPath": OUTPUTS, "subPath": outputs},
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 -- a mount, not a file
    ]
    mounts += [
        {"name": name, "mountPath": path, "readOnly": read_only}
        for name, _, path, read_only in _read_mounts(context)
    ]
    if context.ca_config_map:
        env |= dict.fromkeys(_CA_VARIABLES, _CA_FILE)
        mounts.append({"name": "ca", "mountPath": _CA_DIR, "readOnly": True})
    return {
        "name": CONTAINER,
        "image": request.image,
        # Not `command`: the image's entrypoint is an init that passes signals on.
        "args": [*_ONE_STREAM, *(_verbatim(word) for word in request.command)],
        # What is written to a relative path is kept.
        "workingDir": OUTPUTS,
        "env": [
            {"name": name, "value": _verbatim(value)}
            for name, value in {**env, **request.env}.items()
        ],
        "resources": request.resources.to_manifest(),
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _verbatim(text: str) -> str:
    """Return `text` as Kubernetes, which replaces ``$(NAME)``, gives it on unchanged."""
    return text.replace("$", "$$")


def _make_volumes(context: ServerContext) -> list[Manifest]:
    volumes: list[Manifest] = [
        {"name": "home", "persistentVolumeClaim": {"claimName": context.home_claim}},
        # Data loaders share tensors here, and the default is 64 MiB. It counts
        # as the run's memory.
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    volumes += [
        {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": read_only}}
        for name, claim, _, read_only in _read_mounts(context)
    ]
    if context.ca_config_map:
        volumes.append({"name": "ca", "configMap": {"name": context.ca_config_map}})
    return volumes


def _read_mounts(context: ServerContext) -> list[tuple[str, str, str, bool]]:
    """Return what the server mounts besides a home: a name, the claim, the path, read-only."""
    return [
        (f"mount-{number}", str(claim), str(path), bool(read_only))
        for number, (claim, path, read_only) in enumerate(json.loads(context.mounts))
    ]
