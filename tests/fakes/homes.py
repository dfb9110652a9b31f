"""A cluster with people's homes on an export, for the tests of all that keeps them."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from kfspawner.errors import HomeError
from kfspawner.homes.export import Export
from kfspawner.homes.home import make_home_claim
from kfspawner.homes.ledger import STORAGE_CLASS, Request, read_claim, read_namespace, read_volume
from kfspawner.homes.place import Place
from kfspawner.homes.plan import Standing, Step, by_place, next_step
from kfspawner.homes.provisioner import Provisioner
from kfspawner.homes.source import read_home_source
from kfspawner.homes.steps import Settings
from kfspawner.homes.volume import Server
from kfspawner.labels import REQUEST_ANNOTATION
from kfspawner.profiles.api import Object
from kfspawner.quantity import read_quantity
from tests.fakes.api import FakeApi

CLAIM, VOLUME = "PersistentVolumeClaim", "PersistentVolume"
ALICE = Place("vision", "alice")
FOLDER = Place("vision")
SERVER = Server("nfs.test", "/homes", ("hard",))
SOURCE = read_home_source({"server": "nfs.test", "path": "/homes", "folder_capacity": "1Gi"})
# Whoever runs the tests can give directories to nobody else, unless it is root.
IDS = (os.geteuid(), os.getegid())
NOW = datetime(2026, 11, 24, 10, 15, tzinfo=UTC)

_EXPORT_WRITES = ("mkdir", "fchmod", "fchown", "chown", "rename", "unlink", "rmdir")
_API_WRITES = ("create", "patch", "delete")


def see(it: Object) -> None:
    """Say of a new volume that it is free, as the cluster's own controller does."""
    if it["kind"] == VOLUME:
        it.setdefault("status", {"phase": "Available"})


class Homes:
    """A cluster with one profile, a folder as its export, and a provisioner for both."""

    def __init__(self, root: Path, retention: timedelta | None = None) -> None:
        self.root = root
        self.api = FakeApi(make_namespace())
        self.api.on_write = see
        self.now = NOW
        self.export = Export(root, str(SERVER))
        self.settings = Settings(SERVER, retention)
        self.provisioner = self.another_provisioner()

    def another_provisioner(self) -> Provisioner:
        """Return one more on the same cluster and export."""
        return Provisioner(self.api, self.export, self.settings, self.tick)

    def tick(self) -> datetime:
        """Return the time, which is another each time."""
        self.now += timedelta(seconds=1)
        return self.now

    def claim(self, place: Place = ALICE, **annotations: str) -> Object:
        """Have the hub make a place's claim."""
        made = make_home_claim(SOURCE, place, IDS)
        named = {f"kfspawner.io/{name.replace('_', '-')}": it for name, it in annotations.items()}
        made["metadata"]["annotations"] |= named
        return self.api.put(made)

    def ask(self, kind: str, name: str, request: str | None, namespace: str = "") -> None:
        """Ask the provisioner for something, as the command line does."""
        found = copy.deepcopy(self.api.objects[kind, namespace, name])
        found["metadata"].setdefault("annotations", {})[REQUEST_ANNOTATION] = request
        self.api.put(found)

    def volumes(self) -> dict[str, str]:
        """Return the directory below the export of each volume."""
        found = {key[2]: it for key, it in self.api.objects.items() if key[0] == VOLUME}
        return {
            name: it["spec"]["nfs"]["path"].removeprefix("/homes/") for name, it in found.items()
        }

    def archives(self) -> list[str]:
        """Return the names of the volumes of what is archived, the oldest first."""
        return sorted(it for it in self.volumes() if it.startswith("archive."))

    def directories(self) -> list[str]:
        """Return the places and archives that the export has."""
        found = (*self.root.glob("[!_]*/*"), *self.root.glob("_archive/*/*"))
        return sorted(str(it.relative_to(self.root)) for it in found)

    def files(self, pattern: str) -> dict[Path, str]:
        """Return what is in the files of the export that have such a name."""
        return {it: it.read_text() for it in self.root.rglob(pattern)}

    def standings(self) -> dict[str, Standing]:
        """Return how each place stands, by the name of its volume."""
        by_kind: dict[str, list[Object]] = {CLAIM: [], VOLUME: [], "Namespace": []}
        for (kind, _, _), it in self.api.objects.items():
            by_kind.setdefault(kind, []).append(it)
        claims = [it for it in map(read_claim, by_kind[CLAIM]) if it]
        volumes = [it for it in map(read_volume, by_kind[VOLUME]) if it]
        spaces = {it["metadata"]["name"]: read_namespace(it) for it in by_kind["Namespace"]}
        return by_place(claims, volumes, spaces)

    def standing(self, place: Place = ALICE) -> Standing:
        """Return how a place stands, or what is to be purged of it."""
        standings = self.standings()
        alone = [it for it in standings.values() if it.asked and it.asked.request == Request.PURGE]
        return alone[0] if alone else standings[place.volume]

    async def take(self, place: Place = ALICE) -> Step:
        """Take a place's next step, and return which it was."""
        standing = self.standing(place)
        step = next_step(standing)
        assert step
        await self.provisioner.take(step, standing)
        return step

    def notes(self, kind: str, name: str, namespace: str = "") -> dict[str, str]:
        """Return the annotations of an object, by what comes after the slash."""
        found = self.api.objects[kind, namespace, name]["metadata"].get("annotations") or {}
        return {key.rpartition("/")[2]: it for key, it in found.items()}

    def bind(self) -> None:
        """Do what the cluster's own controllers do: bring claims and volumes together."""
        for (kind, _, name), it in list(self.api.objects.items()):
            reference = it["spec"]["claimRef"] if kind == VOLUME else {}
            key = (CLAIM, reference.get("namespace", ""), reference.get("name", ""))
            claim = copy.deepcopy(self.api.objects.get(key))
            if not claim or not _fits(claim, it) or claim["spec"].get("volumeName"):
                continue
            volume = copy.deepcopy(it)
            volume["spec"]["claimRef"]["uid"] = claim["metadata"]["uid"]
            claim["spec"]["volumeName"] = name
            claim["status"] = {"phase": "Bound"}
            self.api.put(volume)
            self.api.put(claim)

    async def settle(self) -> None:
        """Take steps until nothing is left to do."""
        for _ in range(20):
            self.bind()
            todo = [(step, it) for it in self.standings().values() if (step := next_step(it))]
            written = len(self.api.writes())
            for step, standing in todo:
                waits = bool(step is Step.UNCLAIM and standing.claim and standing.claim.ending)
                # The cluster keeps a claim for pods that run.
                with suppress(HomeError) if waits else nullcontext():
                    await self.provisioner.take(step, standing)
            if len(self.api.writes()) == written and all(it is Step.UNCLAIM for it, _ in todo):
                return
        raise AssertionError(f"it does not come to rest: {todo}")


def make_namespace(name: str = "vision", **labels: str) -> Object:
    """Return a namespace of a Profile, or what it is with other labels."""
    wanted = labels or {"kfspawner.io/profile": name}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": wanted}}


def _fits(claim: Object, volume: Object) -> bool:
    uid = volume["spec"]["claimRef"].get("uid")
    wanted = read_quantity(claim["spec"]["resources"]["requests"]["storage"])
    return (
        uid in (None, claim["metadata"]["uid"])
        and claim["spec"]["storageClassName"] == STORAGE_CLASS
        and "deletionTimestamp" not in claim["metadata"]
        and read_quantity(volume["spec"]["capacity"]["storage"]) >= wanted
        and set(claim["spec"]["accessModes"]) <= set(volume["spec"]["accessModes"])
    )


class Killed(BaseException):
    """What a process that is killed does from then on: nothing."""


class Countdown:
    """How many writes are left until somebody is killed."""

    def __init__(self, left: int) -> None:
        self.left = left

    @property
    def over(self) -> bool:
        """Whether somebody was killed."""
        return self.left <= 0

    def counted(self, write: Callable[..., Any]) -> Callable[..., Any]:
        """Return `write`, which counts, and is done no more when the time is over."""

        def counting(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.over:
                raise Killed
            return write(*args, **options)

        return counting


@contextmanager
def killed(api: FakeApi, at: int) -> Iterator[Countdown]:
    """Kill what is done inside before its write number `at`, on the export or the cluster."""
    countdown = Countdown(at)
    with ExitStack() as stack:
        for owner, names in ((os, _EXPORT_WRITES), (api, _API_WRITES)):
            for name in names:
                counted = countdown.counted(getattr(owner, name))
                stack.enter_context(patch.object(owner, name, counted))
        with suppress(Killed):
            yield countdown
