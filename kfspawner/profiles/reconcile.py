"""One Profile: what stands in the cluster -> what the Profile says.

It does not matter what happened or how often it is asked: it looks at what
there is, and changes what differs.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from kfspawner.errors import ClusterError, ObjectExists, ProfileRefused
from kfspawner.labels import (
    DELETE_FILES_ANNOTATION,
    MANAGED_BY,
    OWNER_LABEL,
    UID_ANNOTATION,
    USER_LABEL,
)
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.conditions import Condition, not_ready, ready, revise
from kfspawner.profiles.manifests import make_children, owner_label
from kfspawner.profiles.mirror import Mirror
from kfspawner.profiles.plugins import unknown_plugins
from kfspawner.profiles.profile import Manifest, Profile, read_profile
from kfspawner.profiles.seen import (
    CONTENT,
    Key,
    Seen,
    differs,
    digest,
    is_marked,
    key_of,
    read_seen,
)
from kfspawner.profiles.surroundings import Surroundings

_LOG = logging.getLogger(__name__)

FINALIZER = "kfspawner.io/profile"

# How many requests of one Profile may wait for their turn at once.
_SHARE = 8
# How often an object is overwritten that others write at the same time.
_ATTEMPTS = 3


class Reconciler:
    """Keeps the cluster like its Profiles say.

    Parameters
    ----------
    api
        Where it is kept.
    mirror
        What is known of it; the answers to what is written here go there.
    surroundings
        Asked for what is around the Profiles now.
    writes
        How many requests may be under way at once.
    """

    def __init__(
        self,
        api: Api,
        mirror: Mirror,
        surroundings: Callable[[], Surroundings],
        writes: int = 8,
    ) -> None:
        self._api = api
        self._mirror = mirror
        self._surroundings = surroundings
        self._room = asyncio.Semaphore(writes)
        # What the API server made of what we applied, where it writes it otherwise.
        self._accepted: dict[Key, tuple[str, str]] = {}

    async def reconcile(self, name: str) -> None:
        """Have the namespace `name` be like the Profile of that name says, and report.

        Raises
        ------
        ClusterError
            If the API did not do its part; asking again goes on from there.
        """
        raw = self._mirror.profiles.get(name)
        if raw is None:
            return
        if "deletionTimestamp" in raw["metadata"]:
            if FINALIZER not in (raw["metadata"].get("finalizers") or ()):
                # Nothing is kept for it any more; what others wait for is theirs.
                return
            if _may_go(raw):
                await self._remove(raw)
                return
        try:
            profile = read_profile(raw)
        except ProfileRefused as error:
            await self.report(name, [not_ready(error.reason, str(error))])
            return
        conditions = [await self._keep(profile)]
        unknown = unknown_plugins(profile)
        if unknown:
            kinds = ", ".join(unknown)
            message = f"nothing is done for {kinds}: there is no such plugin here"
            conditions.append(Condition("Plugins", False, "UnknownPlugin", message))
        await self.report(name, conditions)

    async def report(self, name: str, conditions: Iterable[Condition]) -> None:
        """Write what is so into the status of a Profile, if it does not stand there."""
        raw = self._mirror.profiles.get(name)
        if raw is None:
            return
        if self._surroundings().walls_only:
            conditions = [it for it in conditions if it.type == "Ready"]
        conditions = list(conditions)
        revised = revise((raw.get("status") or {}).get("conditions") or (), conditions)
        if revised is not None:
            _LOG.info("Profile %s: %s", name, ", ".join(it.reason for it in conditions))
            await self._patch_profile(raw, {"status": {"conditions": revised}}, "status")

    async def _keep(self, profile: Profile) -> Condition:
        """Have all stand that a Profile asks for, and return what to say of it."""
        surroundings = self._surroundings()
        wanted = make_children(profile, surroundings)
        refused = await self._claim(profile, wanted[0])
        if refused:
            return refused
        await self._apply_all(profile.name, wanted[1:])
        if profile.deleting:
            return not_ready("DeletionHeld", _how_to_delete(profile.name))
        return ready(f"namespace {profile.name} is as this Profile says")

    async def _claim(self, profile: Profile, manifest: Manifest) -> Condition | None:
        """Have the namespace be this Profile's, or return why it cannot be."""
        surroundings = self._surroundings()
        seen = self._mirror.find("Namespace", profile.name)
        if profile.name == surroundings.hub_namespace:
            return not_ready("NamespaceTaken", f"namespace {profile.name} is the hub's own")
        if seen is None and surroundings.walls_only:
            return not_ready("NamespaceMissing", f"there is no namespace {profile.name} yet")
        if seen is None:
            await self._hold(profile)
            try:
                self._mirror.put(await self._api.create(manifest))
            except ObjectExists:
                # Made by somebody a moment ago: not taken before it was looked at.
                found = await self._api.get("Namespace", profile.name)
                if found is None:
                    raise
                seen = read_seen(found)
            else:
                return None
        if seen.ending:
            return not_ready("NamespaceTerminating", f"namespace {profile.name} is being deleted")
        owned = profile.uid in seen.owners if surroundings.walls_only else _consents(seen, profile)
        if not owned:
            return _taken(profile, surroundings)
        await self._hold(profile)
        if not is_marked(manifest, seen):
            await self._apply(_pinned(manifest, seen.uid))
        return None

    async def _hold(self, profile: Profile) -> None:
        """Have a Profile stay until its namespace is gone."""
        raw = self._mirror.profiles.get(profile.name)
        if raw is None or profile.deleting or self._surroundings().walls_only:
            return
        finalizers = raw["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            await self._patch_profile(raw, {"metadata": {"finalizers": [*finalizers, FINALIZER]}})

    async def _remove(self, raw: Object) -> None:
        """Delete the namespace of a Profile that may go; once it is gone, let the Profile go."""
        name, uid = raw["metadata"]["name"], raw["metadata"]["uid"]
        found = await self._api.get("Namespace", name)
        seen = read_seen(found) if found else None
        if seen and seen.annotations.get(UID_ANNOTATION) == uid:
            if not seen.ending:
                await self._api.delete("Namespace", name, uid=seen.uid)
            message = f"namespace {name} and all that is in it is being deleted"
            await self.report(name, [not_ready("Deleting", message)])
            return
        for key in [key for key in self._accepted if key[1] == name]:
            del self._accepted[key]
        left = [it for it in raw["metadata"]["finalizers"] if it != FINALIZER]
        await self._patch_profile(raw, {"metadata": {"finalizers": left}})

    async def _apply_all(self, namespace: str, wanted: Iterable[Manifest]) -> None:
        """Have what is wanted stand in a namespace, and what is ours and not wanted be gone."""
        work: list[Callable[[], Awaitable[None]]] = []
        keys = set()
        for manifest in wanted:
            key = key_of(manifest)
            keys.add(key)
            seen = self._mirror.find(key[0], key[2], namespace)
            if seen is None or self._is_wrong(manifest, seen):
                work.append(partial(self._apply, manifest))
        work += [
            partial(self._delete, seen)
            for seen in self._mirror.inside(namespace)
            if seen.key not in keys and MANAGED_BY.items() <= seen.labels.items()
        ]
        # A Profile of a thousand members does not keep others waiting.
        share = asyncio.Semaphore(_SHARE)

        async def take_turns(one: Callable[[], Awaitable[None]]) -> None:
            async with share:
                await one()

        # One that fails does not keep the others from being done.
        done = await asyncio.gather(*map(take_turns, work), return_exceptions=True)
        failed = [it for it in done if isinstance(it, BaseException)]
        if failed:
            raise failed[0]

    def _is_wrong(self, manifest: Manifest, seen: Seen) -> bool:
        accepted = self._accepted.get(seen.key) == (digest(manifest), seen.content)
        return not is_marked(manifest, seen) or (differs(manifest, seen) and not accepted)

    async def _apply(self, manifest: Manifest) -> None:
        async with self._room:
            for attempt in range(_ATTEMPTS):
                found = await self._api_apply(manifest)
                if not self._is_wrong(manifest, read_seen(found)):
                    break
                # Keys that others added stay when one applies; they go now.
                try:
                    found = await self._api.replace(_overwritten(found, manifest))
                except ObjectExists:
                    # The cluster counted what a quota is about in between.
                    if attempt + 1 == _ATTEMPTS:
                        raise
                    continue
                self._accepted[key_of(manifest)] = (digest(manifest), read_seen(found).content)
                break
            self._mirror.put(found)

    async def _api_apply(self, manifest: Manifest) -> Object:
        try:
            return await self._api.apply(manifest)
        except ClusterError:
            bound = await self._bind_anew(manifest)
            if bound is None:
                raise
            return bound

    async def _bind_anew(self, manifest: Manifest) -> Object | None:
        """Put a binding in the place of one to another role, which cannot be changed."""
        kind, namespace, name = key_of(manifest)
        found = await self._api.get(kind, name, namespace) if kind == "RoleBinding" else None
        if found is None or found["roleRef"] == manifest["roleRef"]:
            return None
        await self._api.delete(kind, name, namespace, uid=found["metadata"]["uid"])
        return await self._api.create(manifest)

    async def _delete(self, seen: Seen) -> None:
        async with self._room:
            await self._api.delete(seen.kind, seen.name, seen.namespace, uid=seen.uid)

    async def _patch_profile(
        self, raw: Object, patch: Mapping[str, Any], subresource: str = ""
    ) -> None:
        """Merge `patch` into a Profile, if it is still as it was when it was looked at."""
        metadata = {"resourceVersion": raw["metadata"]["resourceVersion"]}
        whole = {**patch, "metadata": {**patch.get("metadata", {}), **metadata}}
        name = raw["metadata"]["name"]
        async with self._room:
            found = await self._api.patch("Profile", name, whole, subresource=subresource)
        if found["metadata"].get("deletionTimestamp") and not found["metadata"].get("finalizers"):
            # This was all that was left of it.
            self._mirror.drop(found)
        else:
            self._mirror.put(found)


def _may_go(raw: Object) -> bool:
    annotations = raw["metadata"].get("annotations") or {}
    return bool(annotations.get(DELETE_FILES_ANNOTATION) == raw["metadata"]["name"])


def _how_to_delete(name: str) -> str:
    return (
        f"namespace {name} may hold files, and goes only with "
        f"`kubectl annotate profile {name} {DELETE_FILES_ANNOTATION}={name}`"
    )


def _consents(seen: Seen, profile: Profile) -> bool:
    """Say whether a namespace is a Profile's, or its owner's to give."""
    label = owner_label(profile.owner)
    return seen.annotations.get(UID_ANNOTATION) == profile.uid or label in (
        seen.labels.get(OWNER_LABEL),
        seen.labels.get(USER_LABEL),
    )


def _taken(profile: Profile, surroundings: Surroundings) -> Condition:
    way_out = (
        "wait for Kubeflow's controller to own it"
        if surroundings.walls_only
        else "its administrator can give it with "
        f"`kubectl label namespace {profile.name} {OWNER_LABEL}={owner_label(profile.owner)}`"
    )
    message = f"namespace {profile.name} was there before and is not this Profile's; {way_out}"
    return not_ready("NamespaceTaken", message)


def _pinned(manifest: Manifest, uid: str) -> Manifest:
    """Return a manifest that is refused if the object is not the one that was looked at."""
    return {**manifest, "metadata": {**manifest["metadata"], "uid": uid}}


def _overwritten(found: Object, manifest: Manifest) -> Object:
    """Return an object with the content of `manifest`, and of its marks only that and others'."""
    whole = copy.deepcopy(found)
    metadata = whole["metadata"]
    metadata.pop("managedFields", None)
    ours = read_seen(found).ours
    for part in ("labels", "annotations"):
        others = {name: it for name, it in (metadata.get(part) or {}).items() if name not in ours}
        metadata[part] = {**others, **(manifest["metadata"].get(part) or {})}
    for part in CONTENT[manifest["kind"]]:
        whole.pop(part, None)
        if part in manifest:
            whole[part] = manifest[part]
    return whole
