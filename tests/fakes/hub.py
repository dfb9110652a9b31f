"""A hub without JupyterHub: spawners for people, on a cluster in memory."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from traitlets.config import Config

from kfspawner.profiles import pace
from kfspawner.profiles.api import Object
from kfspawner.profiles.directory import Directory
from kfspawner.profiles.profile import make_profile, read_declared
from kfspawner.profiles.resources import Selection
from kfspawner.servers.capacityview import CapacityView
from kfspawner.servers.pods import Pods
from kfspawner.servers.podview import PodView
from kfspawner.servers.spawner import KfSpawner
from tests.fakes.api import FakeApi
from tests.fakes.profiles import PROFILES

# An address that nobody listens on.
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "none",
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:9"}}],
    "users": [{"name": "none", "user": {}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
}


class FakeHub:
    """The part of a hub that spawners see, and the cluster that they work on.

    Attributes
    ----------
    api
        The cluster. Every Profile that is written is ready at once.
    view
        What is known of its servers' pods.
    groups
        The groups of people, by name.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = folder / "kubeconfig"
        path.write_text(json.dumps(KUBECONFIG))
        monkeypatch.setenv("KUBECONFIG", str(path))
        monkeypatch.setattr(
            "kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path)
        )
        monkeypatch.setattr(pace, "SOON", 0.001)
        monkeypatch.setattr(pace, "LATE", 0.01)
        self.api = FakeApi()
        self.api.on_write = self._prepare
        self.groups: dict[str, list[str]] = {}
        self.directory = Directory(self.api)
        monkeypatch.setattr(Pods, "_cluster", self.api)
        monkeypatch.setattr(Pods, "_directory", self.directory)
        # Tests of it have their own.
        monkeypatch.setattr(Pods, "_follow_removals", lambda _: None)
        monkeypatch.setattr(KfSpawner, "_refused", {})
        self.capacity = CapacityView(self.api, logging.getLogger("hub"))
        monkeypatch.setattr(KfSpawner, "_capacity", self.capacity)
        # There is no registry.
        monkeypatch.setattr(KfSpawner, "_labels", dict)
        servers = Selection("Pod", labels="component=singleuser-server")
        self.view = PodView(self.api, servers, logging.getLogger("hub"))
        monkeypatch.setattr(KfSpawner, "reflectors", {("pods", None): self.view})

    def share(self, name: str, **declared: Any) -> None:
        """Have a Profile that people share, alice's unless it is said otherwise."""
        self.api.put(make_profile(read_declared(name, {"owner": "alice", **declared})))

    def break_profile(self, name: str, reason: str, message: str) -> None:
        """Have the controller say that a Profile is not ready."""
        told = {"type": "Ready", "status": "False", "reason": reason, "message": message}
        kept, self.api.on_write = self.api.on_write, lambda _: None
        self.api.put({**self.api.objects["Profile", "", name], "status": {"conditions": [told]}})
        self.api.on_write = kept

    def run(self, spawner: KfSpawner, user: str = "") -> Object:
        """Have the pod of a spawner run on the cluster; as that of `user`, if given."""
        name = user or spawner.user.name
        pod = {
            "kind": "Pod",
            "metadata": {
                "name": spawner.pod_name,
                "namespace": spawner.namespace,
                "labels": {**spawner.extra_labels, "component": "singleuser-server"},
                "annotations": {"hub.jupyter.org/username": name},
            },
            "spec": {"containers": []},
            "status": {
                "phase": "Running",
                "podIP": "10.0.0.1",
                "containerStatuses": [{"name": "notebook", "ready": True, "state": {}}],
            },
        }
        kept = self.api.put(pod)
        self.view.put(kept)
        return kept

    def make_spawner(self, name: str = "alice", server: str = "", /, **config: Any) -> KfSpawner:
        """Return the spawner of a person's server."""
        settings = {"image_profiles": PROFILES, "registry_prefix": "registry.example", **config}
        groups = [SimpleNamespace(name=group) for group in self.groups.get(name, ())]
        return KfSpawner(
            user=SimpleNamespace(
                name=name,
                id=1,
                url=f"/user/{name}/",
                escaped_name=name,
                groups=groups,
                spawners={},
                db=SimpleNamespace(commit=lambda: None),
            ),
            hub=SimpleNamespace(public_host="", base_url="/hub/", api_url="http://hub/hub/api"),
            orm_spawner=SimpleNamespace(name=server, user_options=None, server=None),
            config=Config(KfSpawner=settings),
            api_token="secret",
        )

    def _prepare(self, it: Object) -> None:
        if it["kind"] != "Profile":
            return
        name = it["metadata"]["name"]
        it["status"] = {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}]}
        if ("Namespace", "", name) not in self.api.objects:
            self.api.put({"kind": "Namespace", "metadata": {"name": name}})


async def load(spawner: KfSpawner, **user_options: Any) -> None:
    """Have `spawner` be what these options ask for, as JupyterHub has it before a start."""
    spawner.clear_state()
    spawner.user_options = user_options
    await spawner.load_user_options()


async def pod_of(spawner: KfSpawner, **user_options: Any) -> dict[str, Any]:
    """Return the pod that `spawner` would start for these options, as the API would get it."""
    await load(spawner, **user_options)
    pod = await spawner.get_pod_manifest()
    sent: dict[str, Any] = spawner.api.api_client.sanitize_for_serialization(pod)
    return sent
