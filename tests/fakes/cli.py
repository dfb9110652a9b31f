"""`kfspawner` on a cluster in memory, and Profiles that stand there."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

from click.testing import CliRunner, Result

from kfspawner.cli import main
from kfspawner.labels import GROUPS_ANNOTATION, MEMBERS_ANNOTATION
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.members import read_members
from kfspawner.profiles.profile import Role
from tests.fakes.api import FakeApi

BINDING = "RoleBinding"
READY = {"type": "Ready", "status": "True", "reason": "Ready"}

# Declares two Profiles.
CONFIG = """\
c = get_config()
c.KfSpawner.profiles = {
    "vision": {"owner": "alice", "members": {"bob": "edit"}, "quota": {"pods": "5"}},
    "nlp": {"owner": {"kind": "Group", "name": "leads"}, "groups": {"team": "edit"}},
}
"""

_ANNOTATIONS = {"members": MEMBERS_ANNOTATION, "groups": GROUPS_ANNOTATION}


def kf(api: FakeApi, *args: str, text: str = "") -> Result:
    """Return what `kfspawner` says where `api` is the cluster and `text` the standard input."""

    async def connect() -> Api:
        return api

    with mock.patch.object(Api, "connect", connect):
        return CliRunner().invoke(main, args, input=text, catch_exceptions=False)


def profile(name: str = "vision", owner: str = "alice", **annotations: str) -> Object:
    """Return a Ready Profile; `members` and `groups` are the JSON of those annotations."""
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Profile",
        "metadata": {
            "name": name,
            "annotations": {_ANNOTATIONS[key]: value for key, value in annotations.items()},
        },
        "spec": {
            "owner": {"kind": "User", "name": owner},
            "resourceQuotaSpec": {"hard": {"requests.cpu": "4", "requests.nvidia.com/gpu": "1"}},
        },
        "status": {"conditions": [READY]},
    }


def unready(reason: str, message: str, name: str = "vision") -> Object:
    """Return a Profile that is not Ready."""
    condition = {"type": "Ready", "status": "False", "reason": reason, "message": message}
    return {**profile(name), "status": {"conditions": [condition]}}


def stand(api: FakeApi, obj: Object, *bindings: Object) -> None:
    """Put a Profile, its namespace and what binds its members there."""
    metadata = {"name": obj["metadata"]["name"]}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    for it in (obj, namespace, *bindings):
        api.put(it)


def members(api: FakeApi, namespace: str = "vision") -> dict[str, Role]:
    """Return who is a member by a RoleBinding."""
    return read_members(
        it for (kind, where, _), it in api.objects.items() if (kind, where) == (BINDING, namespace)
    )


def declared(api: FakeApi, name: str = "vision") -> Any:
    """Return who is a member by the Profile's own annotation."""
    annotations = api.objects["Profile", "", name]["metadata"].get("annotations", {})
    return json.loads(annotations.get(MEMBERS_ANNOTATION, "{}"))
