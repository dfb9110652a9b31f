"""A cluster with one Profile, and what keeps it, for the tests of both."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from kfspawner.profiles.api import Object
from kfspawner.profiles.mirror import Mirror
from kfspawner.profiles.reconcile import Reconciler
from kfspawner.profiles.surroundings import Opening, Surroundings
from tests.fakes.api import FakeApi

PROFILE: Object = {
    "apiVersion": "kubeflow.org/v1",
    "kind": "Profile",
    "metadata": {"name": "vision", "uid": "uid-vision"},
    "spec": {
        "owner": {"kind": "User", "name": "alice"},
        "resourceQuotaSpec": {"hard": {"requests.cpu": "4", "pods": "9"}},
    },
}


AROUND = Surroundings("hubs", "hubs/hub", (Opening("192.0.2.1/32", 6443),), ("192.0.2.1",))


class World:
    """A cluster, what is known of it, and who keeps it."""

    def __init__(self, *objects: Object, **around: Any) -> None:
        self.api = FakeApi(*objects)
        self.mirror = Mirror()
        self.around = Surroundings(**{**vars(AROUND), **around})
        self.keeper = Reconciler(self.api, self.mirror, lambda: self.around)

    def hear(self) -> None:
        for event, it in self.api.news():
            if event == "DELETED":
                self.mirror.drop(it)
            else:
                self.mirror.put(it)

    async def settle(self, name: str = "vision") -> None:
        """Reconcile once, with all that has happened known before and after."""
        self.hear()
        await self.keeper.reconcile(name)
        self.hear()

    def find(self, kind: str, name: str, namespace: str = "vision") -> Object:
        where = "" if kind in ("Profile", "Namespace") else namespace
        return self.api.objects[kind, where, name]

    def condition(self, kind: str = "Ready") -> Mapping[str, str]:
        written = self.find("Profile", "vision").get("status", {}).get("conditions", [])
        found: Mapping[str, str] = next((it for it in written if it["type"] == kind), {})
        return found

    def change(self, **parts: Any) -> None:
        self.api.put({**copy.deepcopy(self.find("Profile", "vision")), **parts})

    def annotate(self, **annotations: str) -> None:
        found = copy.deepcopy(self.find("Profile", "vision"))
        named = {name.replace("_", "-"): value for name, value in annotations.items()}
        found["metadata"]["annotations"] = {
            **found["metadata"].get("annotations", {}),
            **{f"kfspawner.io/{name}": value for name, value in named.items()},
        }
        self.api.put(found)


def namespace(**metadata: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vision", **metadata}}


def inside(world: World) -> list[tuple[str, str]]:
    return sorted((kind, name) for kind, where, name in world.api.objects if where == "vision")
