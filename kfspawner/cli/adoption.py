"""Claims that stock KubeSpawner made -> people's homes, with their files as they are.

A claim cannot move to another namespace, but its volume can: it is bound anew,
to a claim in the person's own profile. Every step may be taken again after it
was cut off anywhere; until the last, the files have a claim that says whose
they are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kfspawner.errors import ClusterError, Error, InputError, ObjectExists
from kfspawner.homes.ledger import is_mounted
from kfspawner.homes.place import Place
from kfspawner.labels import MANAGED_BY, USER_ANNOTATION, USERNAME_ANNOTATION
from kfspawner.names import namespace_name
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.directory import MANAGER
from kfspawner.profiles.manifests import make_labels
from kfspawner.profiles.profile import is_ready, make_personal, make_profile, why_not_ready

# On claims that KubeSpawner made.
_STOCK = {"component": "singleuser-storage"}
# On a home, where its files were before: "namespace/claim".
ADOPTED_ANNOTATION = "kfspawner.io/adopted-from"
_PROFILE_SECONDS = 60.0
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
        The PersistentVolume that it is bound to.
    why_not
        Why it stays as it is, in one clause; empty if it can be adopted.
    """

    namespace: str
    name: str
    uid: str
    person: str
    volume: str
    spec: Mapping[str, Any]
    why_not: str = ""

    @property
    def home(self) -> Place:
        """What it becomes."""
        return Place(namespace_name(self.person), self.person)


async def find_candidates(api: Api, namespace: str) -> list[Candidate]:
    """Return the claims of stock KubeSpawner in a namespace, or in all where it is empty."""
    claims, _ = await api.list("PersistentVolumeClaim", namespace)
    pods, _ = await api.list("Pod", namespace)
    homes, _ = await api.list("PersistentVolumeClaim")
    taken = {
        (it["metadata"]["namespace"], it["metadata"]["name"]): (
            it["metadata"].get("annotations") or {}
        ).get(ADOPTED_ANNOTATION, "")
        for it in homes
    }
    stock = [it for it in claims if _is_stock(it)]
    return [_read(it, pods, taken) for it in stock]


def _is_stock(claim: Object) -> bool:
    labels = claim["metadata"].get("labels") or {}
    # What an older one had as a name, the label says too.
    return _STOCK.items() <= labels.items() and not MANAGED_BY.items() <= labels.items()


def _read(claim: Object, pods: Sequence[Object], taken: Mapping[tuple[str, str], str]) -> Candidate:
    metadata, spec = claim["metadata"], claim["spec"]
    namespace, name = metadata["namespace"], metadata["name"]
    person = (metadata.get("annotations") or {}).get(USERNAME_ANNOTATION, "")
    home = Place(namespace_name(person), person)
    using = [
        pod["metadata"]["name"]
        for pod in pods
        if pod["metadata"]["namespace"] == namespace and is_mounted(pod, name)
    ]
    why_not = ""
    if not person:
        why_not = f"it says nobody's name: kubectl annotate it with {USERNAME_ANNOTATION}=<name>"
    elif using:
        why_not = f"a pod has it mounted: stop {', '.join(sorted(using))}"
    elif not spec.get("volumeName"):
        why_not = "it has no volume, and so no files"
    elif taken.get((home.profile, home.claim), f"{namespace}/{name}") != f"{namespace}/{name}":
        why_not = f"there is a claim {home.claim} in {home.profile} already"
    return Candidate(
        namespace=namespace,
        name=name,
        uid=metadata["uid"],
        person=person,
        volume=spec.get("volumeName") or "",
        spec=spec,
        why_not=why_not,
    )


async def adopt(api: Api, candidate: Candidate) -> None:
    """Give a claim's volume to its person's home.

    Raises
    ------
    Error
        What kept it from that; the files are where they were.
    """
    doing = f"adopting claim {candidate.name} in {candidate.namespace}"
    if candidate.why_not:
        raise InputError(doing, candidate.why_not, "and ask again")
    await _ensure_profile(api, doing, candidate.person)
    # Whatever becomes of its claims from now on, the files stay.
    keep = {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
    await api.patch("PersistentVolume", candidate.volume, keep)
    try:
        claim = await api.create(make_adopted_claim(candidate))
    except ObjectExists:
        home = candidate.home
        found = await api.get("PersistentVolumeClaim", home.claim, home.profile)
        if found is None or found["spec"].get("volumeName") != candidate.volume:
            raise
        claim = found
    await api.delete(
        "PersistentVolumeClaim", candidate.name, candidate.namespace, uid=candidate.uid
    )
    await _hand_over(api, doing, candidate, claim)


def make_adopted_claim(candidate: Candidate) -> Object:
    """Return the claim of a home whose volume is there already."""
    home = candidate.home
    spec = {
        name: candidate.spec[name]
        for name in ("accessModes", "resources", "storageClassName", "volumeMode")
        if name in candidate.spec
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": home.claim,
            "namespace": home.profile,
            "labels": make_labels(candidate.person),
            "annotations": {
                USER_ANNOTATION: candidate.person,
                ADOPTED_ANNOTATION: f"{candidate.namespace}/{candidate.name}",
            },
        },
        "spec": {**spec, "volumeName": candidate.volume},
    }


async def _hand_over(api: Api, doing: str, candidate: Candidate, claim: Object) -> None:
    """Bind the volume to the new claim, once the old one is gone."""
    deadline = time.monotonic() + _PROFILE_SECONDS
    while await api.get("PersistentVolumeClaim", candidate.name, candidate.namespace):
        if time.monotonic() > deadline:
            raise ClusterError(
                doing, "something holds the old claim", "see its finalizers, and ask again"
            )
        await asyncio.sleep(_RETRY)
    await finish(api, candidate.volume, claim)


async def find_unfinished(api: Api) -> list[tuple[str, Object]]:
    """Return the volumes that were about to be handed over, each with the home's claim."""
    claims, _ = await api.list("PersistentVolumeClaim")
    there = {(it["metadata"]["namespace"], it["metadata"]["name"]) for it in claims}
    unfinished = []
    for claim in claims:
        origin = (claim["metadata"].get("annotations") or {}).get(ADOPTED_ANNOTATION, "")
        bound = (claim.get("status") or {}).get("phase") == "Bound"
        namespace, _, name = origin.partition("/")
        if origin and not bound and (namespace, name) not in there:
            unfinished.append((claim["spec"]["volumeName"], claim))
    return unfinished


async def finish(api: Api, volume: str, claim: Object) -> None:
    """Hand a volume over whose old claim is gone."""
    metadata = claim["metadata"]
    ref = {name: metadata[name] for name in ("namespace", "name", "uid")}
    patch = {"spec": {"claimRef": {**ref, "resourceVersion": None}}}
    await api.patch("PersistentVolume", volume, patch)


async def _ensure_profile(api: Api, doing: str, person: str) -> None:
    """Have the person's own Profile, as their first sign-in would make it."""
    wanted = make_personal(person, {})
    found = await api.get("Profile", wanted.name)
    if found is None:
        try:
            found = await api.apply(make_profile(wanted), manager=MANAGER, force=False)
        except Error as error:
            raise InputError(doing, str(error), "see `kfspawner profiles list`") from error
    deadline = time.monotonic() + _PROFILE_SECONDS
    while found is None or not is_ready(found):
        if time.monotonic() > deadline:
            why = why_not_ready(found) if found else "it is gone"
            raise ClusterError(doing, f"profile {wanted.name} is not ready: {why}", "ask again")
        await asyncio.sleep(_RETRY)
        found = await api.get("Profile", wanted.name)
