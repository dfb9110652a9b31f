"""Profiles of the config or of a file, put on the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from kfspawner.errors import InputError, ProfileRefused
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.profile import (
    API_VERSION,
    Manifest,
    Profile,
    read_declared,
    read_profile,
)

# Who wrote a Profile's fields: the config, or a file that was given.
CONFIG_MANAGER = "kfspawner-config"
FILE_MANAGER = "kfspawner-apply"

_VERSIONS = (API_VERSION, "kubeflow.org/v1beta1")
_METADATA = ("name", "labels", "annotations")


@dataclass(frozen=True)
class Applied:
    """What became of one Profile: ``created``, ``changed`` or ``unchanged``, and from whom."""

    name: str
    outcome: str


def read_all_declared(declared: Mapping[str, Any]) -> list[Profile]:
    """Return every Profile that ``c.KfSpawner.profiles`` declares.

    Raises
    ------
    ProfileRefused
        If any cannot be had; all that is wrong is in the one message.
    """
    profiles, refused = [], []
    for name, entry in declared.items():
        try:
            profiles.append(read_declared(name, entry))
        except ProfileRefused as error:
            refused.append(error)
    _raise_all("reading c.KfSpawner.profiles", refused)
    return profiles


def read_manifests(source: str, text: str) -> list[Manifest]:
    """Return the Profile objects that a YAML text holds, ready to be applied.

    Parameters
    ----------
    source
        What messages call it.
    text
        One document or more.

    Raises
    ------
    InputError
        If it is not YAML, holds something else, or a Profile that cannot be had.
    """
    doing = f"reading {source}"
    try:
        objects = [it for it in yaml.safe_load_all(text) if it]
    except yaml.YAMLError as error:
        cause = " ".join(str(error).split())[:300]
        raise InputError(doing, cause, "give a file of Profiles as kubectl takes it") from error
    if not objects:
        raise InputError(doing, "it is empty", "give a file of Profiles as kubectl takes it")
    manifests, refused = [], []
    for obj in objects:
        try:
            manifests.append(_read_manifest(doing, obj))
        except ProfileRefused as error:
            refused.append(error)
    _raise_all(doing, refused)
    return manifests


def _read_manifest(doing: str, obj: object) -> Manifest:
    kind = obj.get("kind") if isinstance(obj, Mapping) else type(obj).__name__
    if not isinstance(obj, Mapping) or kind != "Profile" or obj.get("apiVersion") not in _VERSIONS:
        raise InputError(doing, f"it holds {kind}", "leave only Profiles of kubeflow.org/v1")
    read_profile(obj)
    # As it is written, so that labels of others stay; without what `kubectl get` adds.
    metadata = {key: obj["metadata"][key] for key in _METADATA if key in obj["metadata"]}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": obj["spec"]}


async def apply_all(api: Api, manifests: Sequence[Manifest], manager: str) -> list[Applied]:
    """Put Profile objects on the cluster in their order, and return what became of each.

    What `manager` applied before and they no longer say is taken back.
    """
    return [await _apply(api, manifest, manager) for manifest in manifests]


async def left_over(api: Api, declared: Iterable[str]) -> list[str]:
    """Return the names of the Profiles that the config made, and are not `declared` any longer."""
    found, _ = await api.list("Profile")
    return sorted({it["metadata"]["name"] for it in found if of_config(it)} - set(declared))


def of_config(obj: Object) -> bool:
    """Say whether the config declares a Profile object, or once did."""
    fields = obj["metadata"].get("managedFields") or ()
    return any(it.get("manager") == CONFIG_MANAGER for it in fields)


async def _apply(api: Api, manifest: Manifest, manager: str) -> Applied:
    name = manifest["metadata"]["name"]
    before = await api.get("Profile", name)
    after = await api.apply(manifest, manager=manager)
    if before is None:
        return Applied(name, "created")
    if _said(before) == _said(after):
        return Applied(name, "unchanged")
    former, owner = _owner(before), _owner(after)
    return Applied(name, "changed" if owner == former else f"changed; {former} owned it before")


def _owner(obj: Object) -> str:
    owner = (obj.get("spec") or {}).get("owner") or {}
    return f"{str(owner.get('kind', '')).lower()} {owner.get('name', '')}"


def _said(obj: Object) -> tuple[Any, ...]:
    """Return what a Profile object says, without what the cluster writes on it."""
    metadata = obj["metadata"]
    return obj.get("spec"), metadata.get("labels") or {}, metadata.get("annotations") or {}


def _raise_all(doing: str, refused: Sequence[ProfileRefused]) -> None:
    if len(refused) == 1:
        raise refused[0]
    if refused:
        raise InputError(doing, "; ".join(map(str, refused)), "nothing was applied")
