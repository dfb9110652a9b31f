"""A place's files -> the claim that holds them, as the hub makes it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from kfspawner.errors import ClusterDenied, ClusterError, ObjectExists, ObjectMissing
from kfspawner.homes.ledger import Request, read_claim
from kfspawner.homes.mounts import Mount
from kfspawner.homes.place import Place
from kfspawner.homes.source import HomeSource
from kfspawner.labels import (
    MANAGED_BY,
    MOUNTS_ANNOTATION,
    OWNER_IDS_ANNOTATION,
    REQUEST_ANNOTATION,
    TROUBLE_ANNOTATION,
    USER_ANNOTATION,
)
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.manifests import make_labels
from kfspawner.profiles.patience import patiently
from kfspawner.profiles.profile import Manifest

# For how many seconds a new claim may wait for its volume, and how often one looks.
_BOUND_SECONDS = 25.0
_BOUND_RETRY = 0.1
# How often to read a claim anew that somebody else writes meanwhile.
_TRIES = 5
# Claims that are looked for at once.
_AT_ONCE = 16


def make_home_claim(source: HomeSource, place: Place, ids: tuple[int, int]) -> Manifest:
    """Return the PersistentVolumeClaim of a place's files.

    Parameters
    ----------
    source
        Where homes come from.
    place
        Whose files.
    ids
        The uid and gid that are to own them.
    """
    spec: Manifest = {
        "accessModes": list(source.access_modes),
        "resources": {
            "requests": {"storage": source.folder_capacity if place.is_folder else source.capacity}
        },
    }
    if source.storage_class:
        spec["storageClassName"] = source.storage_class
    annotations = {OWNER_IDS_ANNOTATION: f"{ids[0]}:{ids[1]}"} if source.is_ours else {}
    if not place.is_folder:
        annotations[USER_ANNOTATION] = place.person
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": place.claim,
            "namespace": place.profile,
            "labels": dict(MANAGED_BY) if place.is_folder else make_labels(place.person),
            "annotations": annotations,
        },
        "spec": spec,
    }


async def ensure_home(api: Api, claim: Manifest, source: HomeSource) -> bool:
    """Make sure that `claim` stands, and return whether there was none.

    Where our provisioner makes its volume, it has one afterwards, whose files are the
    wanted owner's. A claim that stands is left as it is in all else.

    Raises
    ------
    ClusterDenied
        If one of that name holds somebody else's files, or if the quota has no
        room for a new one.
    ClusterError
        If it gets no volume in time; the provisioner's words for it.
    """
    metadata = claim["metadata"]
    key = ("PersistentVolumeClaim", metadata["name"], metadata["namespace"])
    found = await patiently(lambda: api.get(*key))
    made = found is None
    if found is None:
        try:
            found = await patiently(lambda: api.create(claim))
        except ObjectExists:
            found = await api.get(*key)
    _check_owner(found or {}, metadata)
    if source.is_ours:
        if found:
            found = await _have_owned(api, found, metadata["annotations"][OWNER_IDS_ANNOTATION])
        await _wait_bound(api, key, found, _where(source))
    return made


async def _have_owned(api: Api, found: Object, wanted: str) -> Object:
    """Have a home that is another uid's given to the one that is wanted, and return its claim.

    Raises
    ------
    ClusterError
        If that cannot be asked for.
    """
    key = ("PersistentVolumeClaim", found["metadata"]["name"], found["metadata"]["namespace"])
    for last in range(_TRIES):
        known = read_claim(found)
        if known is None or known.place is None or known.place.is_folder:
            return found
        if "{}:{}".format(*known.ids) == wanted or known.request not in ("", Request.OWN):
            return found
        metadata = {
            # With its version: what somebody else asks for meanwhile is not undone.
            "resourceVersion": found["metadata"]["resourceVersion"],
            "annotations": {OWNER_IDS_ANNOTATION: wanted, REQUEST_ANNOTATION: Request.OWN.value},
        }
        try:
            change = partial(api.patch, key[0], key[1], {"metadata": metadata}, key[2])
            return await patiently(change)
        except ObjectExists:
            if last == _TRIES - 1:
                raise
        found = await api.get(*key) or found
    return found


async def find_home(api: Api, claim: Manifest) -> None:
    """Make sure that a claim of `claim`'s name is there already.

    Raises
    ------
    ClusterError
        If it is not.
    """
    metadata = claim["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    if await patiently(lambda: api.get("PersistentVolumeClaim", name, namespace)) is None:
        raise ClusterError(
            _preparing(metadata),
            f"there is no claim {name} in it, and c.KfSpawner.home says that homes are there",
            "choose another profile, or ask the administrator to make the claim",
        )


async def ask_to_archive(api: Api, homes: Iterable[Place]) -> list[str]:
    """Ask the provisioner to put homes away; return the profiles of those that there are.

    Raises
    ------
    ClusterError
        If one of them may be left, because the cluster does not answer or refuses;
        the others are asked for.
    """
    turns = asyncio.Semaphore(_AT_ONCE)
    patch = {"metadata": {"annotations": {REQUEST_ANNOTATION: Request.ARCHIVE.value}}}

    async def ask(home: Place) -> str:
        async with turns:
            found = await api.get("PersistentVolumeClaim", home.claim, home.profile)
            annotations = (found or {}).get("metadata", {}).get("annotations") or {}
            if annotations.get(USER_ANNOTATION) != home.person:
                return ""
            with suppress(ObjectMissing):
                await api.patch("PersistentVolumeClaim", home.claim, patch, home.profile)
            return home.profile

    told = await asyncio.gather(*map(ask, homes), return_exceptions=True)
    for it in told:
        if isinstance(it, BaseException):
            raise it
    return [it for it in told if it and isinstance(it, str)]


def _check_owner(found: Object, metadata: Mapping[str, Any]) -> None:
    annotations = found.get("metadata", {}).get("annotations") or {}
    user = metadata["annotations"].get(USER_ANNOTATION)
    # One without the annotation was made for this name by hand, or by an earlier version.
    if user and annotations.get(USER_ANNOTATION, user) != user:
        raise ClusterDenied(
            _preparing(metadata),
            f"claim {metadata['name']} there holds the files of somebody else",
            "nothing in it was touched; choose another profile, or show this to the administrator",
        )


async def wait_for_mount(
    api: Api, profile: str, mount: Mount, source: HomeSource, seconds: float | None = None
) -> None:
    """Return once the claim of a mount is there as it is wanted, and has its volume.

    Parameters
    ----------
    api, profile, mount, source
        The cluster, where it is mounted, what, and where homes come from.
    seconds
        For how long to wait; None for as long as for a home.

    Raises
    ------
    ClusterError
        If that takes too long.
    """

    def is_it(found: Object) -> bool:
        annotations = found["metadata"].get("annotations") or {}
        return bool(annotations.get(MOUNTS_ANNOTATION) == mount.said)

    key = ("PersistentVolumeClaim", mount.claim, profile)
    where = f"{mount.server}:{mount.path}" if mount.server else _where(source)
    found = await patiently(lambda: api.get(*key))
    await _wait_bound(api, key, found, where, is_it, seconds)


def _where(source: HomeSource) -> str:
    return f"{source.server}:{source.path}"


async def _wait_bound(
    api: Api,
    key: tuple[str, str, str],
    found: Object | None,
    where: str,
    is_it: Callable[[Object], bool] = lambda _: True,
    seconds: float | None = None,
) -> None:
    """Return once a claim has its volume, and is the one that is meant."""
    seconds = _BOUND_SECONDS if seconds is None else seconds
    deadline = time.monotonic() + seconds
    while True:
        if found is None:
            why = "there is none"
        elif "deletionTimestamp" in found["metadata"] or not is_it(found):
            why = "an earlier one is being taken away, and perhaps archived"
        else:
            annotations = found["metadata"].get("annotations") or {}
            why = annotations.get(TROUBLE_ANNOTATION, "")
            if annotations.get(REQUEST_ANNOTATION) == Request.OWN:
                why = why or "its files are still being given to another uid"
            elif found.get("status", {}).get("phase") == "Bound":
                return
        if time.monotonic() > deadline:
            _, name, namespace = key
            raise ClusterError(
                f"preparing claim {name} in {namespace}",
                why or f"it has no volume after {seconds:.0f} seconds",
                f"the files are on {where}; tell the administrator to look "
                "at that server, and at `kubectl -n kfspawner-homes logs deploy/provisioner`",
            )
        await asyncio.sleep(_BOUND_RETRY)
        found = await patiently(lambda: api.get(*key))


def _preparing(metadata: Mapping[str, Any]) -> str:
    user = metadata["annotations"].get(USER_ANNOTATION, "")
    return f"preparing the home of {user!r:.80} in profile {metadata['namespace']}"
