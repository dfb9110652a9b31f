"""Claims that stock KubeSpawner made -> people's homes, with their files as they are.

A claim cannot move to another namespace, but its volume can: it is bound anew,
to a claim in the person's own profile. What is meant is written on the volume
first, where no member of any profile can write; whoever is cut off anywhere
goes on from that.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kfspawner.errors import ClusterError, InputError, ObjectExists
from kfspawner.homes.ledger import holds, read_namespace
from kfspawner.homes.place import Place
from kfspawner.labels import MANAGED_BY, USER_ANNOTATION, USERNAME_ANNOTATION
from kfspawner.names import namespace_name
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.directory import MANAGER
from kfspawner.profiles.manifests import make_labels
from kfspawner.profiles.profile import (
    is_ready,
    make_personal,
    make_profile,
    read_profile,
    why_not_ready,
)

# On claims that KubeSpawner made.
_STOCK = {"component": "singleuser-storage"}
# On a volume that is about to be a home's: whose, and what it was before.
ADOPTING_ANNOTATION = "kfspawner.io/adopting"
_HELD = "pods hold it"
_SECONDS = 60.0
_RETRY = 0.3


@dataclass(frozen=True)
class Candidate:
    """A claim that KubeSpawner made, and whose home it would be.

    Attributes
    ----------
    namespace, name, uid
        Which claim.
    person
        Whose files it holds.
    volume
        The PersistentVolume that it names.
    why_not
        Why it stays as it is, in one clause; empty if it can be adopted.
    """

    namespace: str
    name: str
    uid: str
    person: str
    volume: str
    why_not: str = ""

    @property
    def home(self) -> Place:
        """What it becomes."""
        return Place(namespace_name(self.person), self.person)

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"{self.namespace}/{self.name}"


async def find_candidates(api: Api, namespace: str) -> list[Candidate]:
    """Return the claims of stock KubeSpawner in a namespace, or in all where it is empty.

    None of a Profile's: there its members may write what a claim says of itself.
    Whoever writes claims in the namespaces that are left is trusted with that.
    """
    claims, _ = await api.list("PersistentVolumeClaim")
    pods, _ = await api.list("Pod", namespace)
    namespaces, _ = await api.list("Namespace")
    profiles = {it["metadata"]["name"] for it in namespaces if read_namespace(it).is_profiles}
    there = {(it["metadata"]["namespace"], it["metadata"]["name"]) for it in claims}
    found = [
        _read(it, pods, there)
        for it in claims
        if _is_stock(it)
        and namespace in ("", it["metadata"]["namespace"])
        and it["metadata"]["namespace"] not in profiles
    ]
    return list(_one_of_each(found))


def _is_stock(claim: Object) -> bool:
    labels = claim["metadata"].get("labels") or {}
    return _STOCK.items() <= labels.items() and not MANAGED_BY.items() <= labels.items()


def _read(claim: Object, pods: Iterable[Object], there: Collection[tuple[str, str]]) -> Candidate:
    metadata = claim["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    person = (metadata.get("annotations") or {}).get(USERNAME_ANNOTATION, "")
    home = Place(namespace_name(person), person)
    holding = sorted(
        pod["metadata"]["name"]
        for pod in pods
        if pod["metadata"]["namespace"] == namespace and holds(pod, name)
    )
    why_not = ""
    if not person:
        why_not = f"it says nobody's name: kubectl annotate it with {USERNAME_ANNOTATION}=<name>"
    elif holding:
        why_not = f"{_HELD}: stop or delete {', '.join(holding)}"
    elif (claim.get("status") or {}).get("phase") != "Bound":
        why_not = "it is not bound to a volume, and so has no files"
    elif (home.profile, home.claim) in there:
        why_not = f"there is a claim {home.claim} in {home.profile} already"
    volume = claim["spec"].get("volumeName") or ""
    return Candidate(namespace, name, metadata["uid"], person, volume, why_not)


def _one_of_each(found: Iterable[Candidate]) -> Iterable[Candidate]:
    """Yield candidates, of each person at most one that can be adopted.

    And none while another of theirs waits for a pod: it may be the one that they mean.
    """
    found = list(found)
    chosen: dict[str, Candidate] = {}
    waiting = {it.person: it for it in found if it.why_not.startswith(_HELD)}
    for it in found:
        if not it.why_not and it.person in waiting:
            yield replace(it, why_not=f"{waiting[it.person]} is theirs too, and pods hold that")
            continue
        if not it.why_not and it.person in chosen:
            yield replace(it, why_not=f"{chosen[it.person]} is theirs too, and becomes their home")
            continue
        if not it.why_not:
            chosen[it.person] = it
        yield it


async def adopt(api: Api, candidate: Candidate) -> None:
    """Give a claim's volume to its person's home.

    Raises
    ------
    Error
        What kept it from that. The files are where they were; what was begun is
        found by `find_unfinished`.
    """
    doing = f"adopting claim {candidate}"
    if candidate.why_not:
        raise InputError(doing, candidate.why_not, "and ask again")
    volume = await api.get("PersistentVolume", candidate.volume)
    # A claim may name any volume; whose it is, the volume says.
    if volume is None or _uid_of_claim(volume) != candidate.uid:
        raise InputError(
            doing,
            f"volume {candidate.volume} is not bound to it",
            "it is left alone; see `kubectl get pv`",
        )
    if ADOPTING_ANNOTATION in (volume["metadata"].get("annotations") or {}):
        raise InputError(doing, "it was begun with already", "that is finished first")
    await _ensure_profile(api, doing, candidate.person)
    meant = {"person": candidate.person, "from": str(candidate), "uid": candidate.uid}
    begun = await api.patch(
        "PersistentVolume",
        candidate.volume,
        {
            "metadata": {
                "resourceVersion": volume["metadata"]["resourceVersion"],
                "annotations": {ADOPTING_ANNOTATION: json.dumps(meant)},
            },
            # Whatever becomes of its claims from now on, the files stay.
            "spec": {"persistentVolumeReclaimPolicy": "Retain"},
        },
    )
    await carry_on(api, begun)


async def find_unfinished(api: Api) -> list[Object]:
    """Return the volumes that were about to become homes."""
    volumes, _ = await api.list("PersistentVolume")
    return [
        it for it in volumes if ADOPTING_ANNOTATION in (it["metadata"].get("annotations") or {})
    ]


async def carry_on(api: Api, volume: Object) -> Place:
    """Make a volume the home that is written on it, and return which that is.

    Raises
    ------
    Error
        What kept it from that; the volume goes on saying what is meant.
    """
    meant = _read_meant(volume)
    doing = f"adopting claim {meant}"
    await _ensure_profile(api, doing, meant.person)
    claim = await _ensure_claim(api, doing, meant.home, volume)
    await _drop_old(api, doing, meant)
    fresh = await api.get("PersistentVolume", volume["metadata"]["name"])
    bound_to = _uid_of_claim(fresh) if fresh else ""
    if fresh is None or bound_to not in ("", meant.uid, claim["metadata"]["uid"]):
        raise ClusterError(
            doing, "its volume is gone, or somebody else's by now", "see `kubectl get pv`"
        )
    ref = {part: claim["metadata"][part] for part in ("namespace", "name", "uid")}
    patch = {
        "metadata": {
            "resourceVersion": fresh["metadata"]["resourceVersion"],
            "annotations": {ADOPTING_ANNOTATION: None},
        },
        "spec": {"claimRef": {**ref, "resourceVersion": None}},
    }
    await api.patch("PersistentVolume", fresh["metadata"]["name"], patch)
    return meant.home


def _read_meant(volume: Object) -> Candidate:
    """Return what is written on a volume that is about to be a home's."""
    metadata = volume["metadata"]
    try:
        said = json.loads(metadata["annotations"][ADOPTING_ANNOTATION])
        namespace, _, name = said["from"].partition("/")
        person, uid = str(said["person"]), str(said["uid"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"adopting volume {metadata['name']}",
            f"its annotation {ADOPTING_ANNOTATION} cannot be read",
            "take it off with kubectl, and look whose files they are",
        ) from error
    return Candidate(namespace, name, uid, person, metadata["name"])


def _uid_of_claim(volume: Object) -> str:
    return str((volume["spec"].get("claimRef") or {}).get("uid", ""))


async def _ensure_claim(api: Api, doing: str, home: Place, volume: Object) -> Object:
    try:
        return await api.create(make_adopted_claim(home, volume))
    except ObjectExists:
        found = await api.get("PersistentVolumeClaim", home.claim, home.profile)
        annotations = (found or {}).get("metadata", {}).get("annotations") or {}
        theirs = annotations.get(USER_ANNOTATION) == home.person
        if not theirs or not found or found["spec"].get("volumeName") != volume["metadata"]["name"]:
            raise ClusterError(
                doing,
                f"there is a claim {home.claim} in {home.profile} already",
                "see `kfspawner homes list`; nothing of either was touched",
            ) from None
        return found


def make_adopted_claim(home: Place, volume: Object) -> Object:
    """Return the claim of a home whose volume is there already."""
    spec = volume["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": home.claim,
            "namespace": home.profile,
            "labels": make_labels(home.person),
            "annotations": {USER_ANNOTATION: home.person},
        },
        "spec": {
            "accessModes": spec["accessModes"],
            "resources": {"requests": {"storage": spec["capacity"]["storage"]}},
            # Empty for none: left out, it would be the default class.
            "storageClassName": spec.get("storageClassName", ""),
            "volumeMode": spec.get("volumeMode", "Filesystem"),
            "volumeName": volume["metadata"]["name"],
        },
    }


async def _drop_old(api: Api, doing: str, old: Candidate) -> None:
    """Delete the old claim, and return once it is gone; another of its name is none of ours."""
    namespace, name, uid = old.namespace, old.name, old.uid
    deadline = time.monotonic() + _SECONDS
    while True:
        found: Mapping[str, Any] | None = await api.get("PersistentVolumeClaim", name, namespace)
        if found is None or found["metadata"]["uid"] != uid:
            return
        if "deletionTimestamp" not in found["metadata"]:
            await api.delete("PersistentVolumeClaim", name, namespace, uid=uid)
        elif time.monotonic() > deadline:
            raise ClusterError(
                doing, "something holds the old claim", "see its finalizers, and ask again"
            )
        else:
            await asyncio.sleep(_RETRY)


async def _ensure_profile(api: Api, doing: str, person: str) -> None:
    """Have the person's own Profile, as their first sign-in would make it."""
    wanted = make_personal(person, {})
    found = await api.get("Profile", wanted.name)
    if found is None:
        found = await api.apply(make_profile(wanted), manager=MANAGER, force=False)
    if read_profile(found).owner != wanted.owner:
        raise InputError(
            doing,
            f"profile {wanted.name} belongs to somebody else",
            "nothing in it was touched; rename one of the two",
        )
    deadline = time.monotonic() + _SECONDS
    while found is None or not is_ready(found):
        if time.monotonic() > deadline:
            why = why_not_ready(found) if found else "it is gone"
            raise ClusterError(doing, f"profile {wanted.name} is not ready: {why}", "ask again")
        await asyncio.sleep(_RETRY)
        found = await api.get("Profile", wanted.name)
