"""A cluster's objects in memory, behind the methods of `Api`."""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any
from weakref import WeakSet

from kfspawner.errors import ClusterError, ObjectExists, ObjectMissing, VersionExpired
from kfspawner.profiles.api import MANAGER, Api, Object
from kfspawner.profiles.resources import RESOURCES, Selection
from tests.fakes.ownership import Ownership, Path, drop_at, get_at, leaves, put_at

Key = tuple[str, str, str]
# A method of the class below is called `list`.
Keys = list[Key]
Calls = list[tuple[str, Key]]
Objects = list[Object]
Events = list[tuple[str, Object]]
# A version, what happened, the object afterwards, and before if it was there.
Entry = tuple[int, str, Object, Object | None]

# Objects in one portion of a list.
_PAGE = 2


class FakeApi(Api):
    """What the API server would keep and tell; nothing happens in it but by the test.

    Attributes
    ----------
    objects
        What there is, by kind, namespace (empty if the kind has none) and name.
    calls
        What was asked for, in order: the method and the key of the object.
    refusals
        What the next calls raise, in order, by ``method`` or ``method Kind``.
    on_write
        Called with each object that is about to be kept: defaults, other controllers.
    late
        What a list of a kind waits for before it answers.
    logs
        What containers have printed, by namespace, pod and container.
    holds
        Whether a deleted namespace stays until `finish`, as it does while its
        pods end.
    """

    def __init__(self, *objects: Mapping[str, Any]) -> None:
        self.objects: dict[Key, Object] = {}
        self.calls: list[tuple[str, Key]] = []
        self.refusals: dict[str, list[ClusterError]] = {}
        self.on_write: Callable[[Object], None] = lambda _: None
        self.holds = False
        self.logs: dict[Key, list[str]] = {}
        self.late: dict[str, asyncio.Event] = {}
        self._owned: dict[Key, Ownership] = {}
        self._history: list[Entry] = []
        self._untold: WeakSet[asyncio.Queue[Entry]] = WeakSet()
        self._forgotten = 0
        self._version = 0
        self._told = 0
        self._news = asyncio.Event()
        for it in objects:
            self.put(it)

    @property
    def version(self) -> int:
        """The resourceVersion of what was written last."""
        return self._version

    async def close(self) -> None:
        pass

    async def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        key = self._note("get", (kind, namespace, name))
        return copy.deepcopy(self.objects.get(key))

    async def list(self, kind: str, namespace: str = "") -> tuple[list[Object], str]:
        self._note("list", (kind, namespace, ""))
        return self._select(Selection(kind, namespace)), str(self._version)

    async def pages(self, selection: Selection) -> AsyncGenerator[tuple[Objects, str], None]:
        self._note("list", (selection.kind, selection.namespace, ""))
        if selection.kind in self.late:
            await self.late[selection.kind].wait()
        version = str(self._version)
        found = self._select(selection)
        for begin in range(0, max(len(found), 1), _PAGE):
            yield found[begin : begin + _PAGE], version

    async def watch(
        self,
        selection: Selection,
        version: str,
        seconds: int = 30,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[tuple[str, Object], None]:
        self._note("watch", (selection.kind, selection.namespace, ""))
        since = int(version)
        if since < self._forgotten:
            raise VersionExpired(f"watching {selection.kind}", "too old", "list again")
        opened()
        # What an open watch is still to tell is not forgotten with the rest.
        untold: asyncio.Queue[Entry] = asyncio.Queue()
        for entry in self._history:
            if entry[0] > since:
                untold.put_nowait(entry)
        self._untold.add(untold)
        while True:
            news = self._news
            self._raise("watch", selection.kind)
            while not untold.empty():
                entry = untold.get_nowait()
                event = _as_selected(selection, entry)
                if event:
                    yield event, _shown(selection, entry[2])
            try:
                async with asyncio.timeout(seconds):
                    await news.wait()
            except TimeoutError:
                return

    async def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        key = self._note("create", _key(manifest))
        if key in self.objects:
            raise ObjectExists(f"creating {key}", "already exists", "choose another")
        self._check_namespace(key)
        return self._write(copy.deepcopy(dict(manifest)), MANAGER, kept=not dry_run)

    async def apply(
        self,
        manifest: Mapping[str, Any],
        *,
        manager: str = MANAGER,
        force: bool = True,
        dry_run: bool = False,
    ) -> Object:
        key = self._note("apply", _key(manifest))
        before = self.objects.get(key)
        uid = manifest["metadata"].get("uid")
        if uid and uid != (before or {}).get("metadata", {}).get("uid"):
            raise ObjectExists(f"applying {key}", "uid mismatch", "look again")
        self._check_namespace(key)
        if before and before.get("roleRef") != manifest.get("roleRef"):
            raise ClusterError(f"applying {key}", "422 cannot change roleRef", "delete it")
        wanted = dict(leaves(manifest))
        owned = self._owned.setdefault(key, Ownership())
        if before and not force:
            self._check_conflicts(key, manager, wanted)
        after = copy.deepcopy(before) if before else copy.deepcopy(dict(manifest))
        if dry_run:
            owned = copy.deepcopy(owned)
        for path in owned.apply(before or {}, wanted, manager):
            drop_at(after, path)
        for path, value in wanted.items():
            put_at(after, path, copy.deepcopy(value))
        return self._keep(after, kept=not dry_run)

    async def replace(self, manifest: Mapping[str, Any]) -> Object:
        key = self._note("replace", _key(manifest))
        if key not in self.objects:
            raise ObjectMissing(f"replacing {key}", "not found", "create it")
        self._check_version(key, manifest)
        status = {"status": it} if (it := self.objects[key].get("status")) else {}
        return self._write({**copy.deepcopy(dict(manifest)), **status}, MANAGER)

    async def patch(
        self,
        kind: str,
        name: str,
        patch: Mapping[str, Any],
        namespace: str = "",
        subresource: str = "",
    ) -> Object:
        method = "patch status" if subresource else "patch"
        key = self._note(method, (kind, namespace, name))
        if key not in self.objects:
            raise ObjectMissing(f"changing {key}", "not found", "create it")
        self._check_version(key, patch)
        uid = patch.get("metadata", {}).get("uid")
        if uid and uid != self.objects[key]["metadata"]["uid"]:
            raise ClusterError(f"changing {key}", "422 metadata.uid: field is immutable", "look")
        after = copy.deepcopy(self.objects[key])
        allowed = ("status",) if subresource else set(patch) - {"status"}
        _merge(after, {part: patch[part] for part in allowed})
        return self._write(after, MANAGER)

    async def delete(self, kind: str, name: str, namespace: str = "", *, uid: str = "") -> None:
        key = self._note("delete", (kind, namespace, name))
        if key not in self.objects:
            return
        if uid and uid != self.objects[key]["metadata"]["uid"]:
            raise ObjectExists(f"deleting {key}", "uid mismatch", "look again")
        self.remove(kind, name, namespace)

    async def log(
        self, pod: str, namespace: str, container: str, *, tail: int, follow: bool = False
    ) -> AsyncGenerator[str, None]:
        self._note("follow" if follow else "log", ("Pod", namespace, pod))
        if (namespace, pod, container) not in self.logs:
            raise ClusterError(f"reading the log of {pod}", "400 is waiting to start", "wait")
        for line in self.logs[namespace, pod, container][-tail:]:
            yield line

    def put(self, it: Mapping[str, Any], manager: str = "kubectl") -> Object:
        """Keep an object as somebody else has written it, and return what is kept."""
        return self._write(copy.deepcopy(dict(it)), manager)

    def remove(self, kind: str, name: str, namespace: str = "") -> None:
        """Delete an object as somebody else would."""
        it = self.objects[kind, namespace, name]
        held = it["metadata"].get("finalizers") or (kind == "Namespace" and self.holds)
        if held:
            stamp = {"deletionTimestamp": "2024-05-04T12:00:00Z"}
            self._keep({**it, "metadata": {**it["metadata"], **stamp}})
        elif kind == "Namespace":
            self.finish(name)
        else:
            self._forget((kind, namespace, name))

    def finish(self, namespace: str) -> None:
        """Let a namespace be gone, with all that is in it."""
        for key in [it for it in self.objects if it[1] == namespace]:
            self._forget(key)
        self._forget(("Namespace", "", namespace))

    def expire(self) -> None:
        """Forget all that has happened: who watches from before has to list again."""
        self._forgotten = self._version = self._version + 1
        self._history.clear()

    def news(self) -> Events:
        """Return what has happened since this was last asked, as watches tell it."""
        told = [(event, copy.deepcopy(it)) for at, event, it, _ in self._history if at > self._told]
        self._told = self._version
        return told

    def called(self, method: str) -> Keys:
        """Return what `method` was called about, in order."""
        return [key for name, key in self.calls if name == method]

    def writes(self) -> Calls:
        """Return the calls that could have changed something."""
        return [call for call in self.calls if call[0] not in ("get", "list", "watch")]

    def _note(self, method: str, key: Key) -> Key:
        self.calls.append((method, key))
        self._raise(method, key[0])
        return key

    def _raise(self, method: str, kind: str) -> None:
        for name in (method, f"{method} {kind}"):
            if self.refusals.get(name):
                raise self.refusals[name].pop(0)

    def _select(self, selection: Selection) -> Objects:
        found = sorted(self.objects.items())
        return [_shown(selection, it) for _, it in found if _fits(selection, it)]

    def _check_conflicts(self, key: Key, manager: str, wanted: Mapping[Path, Any]) -> None:
        for path, value in wanted.items():
            there = get_at(self.objects[key], path)
            if self._owned[key].others(path, manager) and there not in (None, value):
                raise ObjectExists(f"applying {key}", f"conflict about {path}", "force it")

    def _check_namespace(self, key: Key) -> None:
        if RESOURCES[key[0]].namespaced and ("Namespace", "", key[1]) not in self.objects:
            raise ObjectMissing(f"writing {key}", f"namespace {key[1]} not found", "make it")

    def _check_version(self, key: Key, given: Mapping[str, Any]) -> None:
        version = given.get("metadata", {}).get("resourceVersion")
        if version and version != self.objects[key]["metadata"]["resourceVersion"]:
            raise ObjectExists(f"changing {key}", "the object has been modified", "look again")

    def _write(self, it: Object, manager: str, *, kept: bool = True) -> Object:
        if kept:
            owned = self._owned.setdefault(_key(it), Ownership())
            owned.update(self.objects.get(_key(it), {}), it, manager)
        return self._keep(it, kept=kept)

    def _keep(self, it: Object, *, kept: bool = True) -> Object:
        key = _key(it)
        before = self.objects.get(key)
        self.on_write(it)
        given = {name: value for name, value in it["metadata"].items() if value not in ({}, None)}
        it["metadata"] = given
        given["managedFields"] = self._owned.get(key, Ownership()).managed_fields()
        if before:
            given["uid"] = before["metadata"]["uid"]
            given["resourceVersion"] = before["metadata"]["resourceVersion"]
            if it == before:
                return copy.deepcopy(it)
        if not kept:
            return it
        self._version += 1
        given.setdefault("uid", f"uid-{self._version}")
        given["resourceVersion"] = str(self._version)
        self.objects[key] = it
        self._tell("MODIFIED" if before else "ADDED", it, before)
        if given.get("deletionTimestamp") and not given.get("finalizers") and key[0] == "Profile":
            self._forget(key)
        return copy.deepcopy(it)

    def _forget(self, key: Key) -> None:
        it = copy.deepcopy(self.objects.pop(key))
        del self._owned[key]
        self._version += 1
        it["metadata"]["resourceVersion"] = str(self._version)
        self._tell("DELETED", it, it)

    def _tell(self, event: str, it: Object, before: Object | None) -> None:
        entry = (self._version, event, copy.deepcopy(it), before)
        self._history.append(entry)
        for untold in self._untold:
            untold.put_nowait(entry)
        self._news.set()
        self._news = asyncio.Event()


def _as_selected(selection: Selection, entry: Entry) -> str:
    """Return what happened to what is selected: what fits no more is deleted from it."""
    _, event, after, before = entry
    fitted = before is not None and _fits(selection, before)
    if not _fits(selection, after):
        return "DELETED" if fitted else ""
    return "ADDED" if event == "MODIFIED" and not fitted else event


def _shown(selection: Selection, it: Object) -> Object:
    shown = {"apiVersion", "kind", "metadata"} if selection.metadata_only else set(it)
    return {part: copy.deepcopy(value) for part, value in it.items() if part in shown}


def _key(it: Mapping[str, Any]) -> Key:
    metadata = it["metadata"]
    return it["kind"], metadata.get("namespace", ""), metadata["name"]


def _fits(selection: Selection, it: Object) -> bool:
    metadata = it["metadata"]
    if it["kind"] != selection.kind:
        return False
    if selection.namespace not in ("", metadata.get("namespace")):
        return False
    has = metadata.get("labels") or {}
    for part in filter(None, selection.labels.split(",")):
        name, _, value = part.partition("=")
        if name not in has or (value and has[name] != value):
            return False
    return all(_has_field(it, part) for part in filter(None, selection.fields.split(",")))


def _has_field(it: Object, part: str) -> bool:
    name, sign, value = re.split("(!?=)", part, maxsplit=1)
    return (get_at(it, tuple(name.split("."))) == value) is (sign == "=")


def _merge(into: Object, patch: Mapping[str, Any]) -> None:
    for name, value in patch.items():
        if value is None:
            into.pop(name, None)
        elif isinstance(value, Mapping):
            _merge(into.setdefault(name, {}), value)
        else:
            into[name] = value
