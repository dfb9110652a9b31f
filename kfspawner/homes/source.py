"""Where homes come from: what `c.KfSpawner.home` may say, read once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfspawner.errors import InputError
from kfspawner.homes.ledger import STORAGE_CLASS
from kfspawner.names import slug
from kfspawner.quantity import read_quantity

_DOING = "reading c.KfSpawner.home"
_FIELDS = (
    "server",
    "path",
    "storage_class",
    "access_modes",
    "capacity",
    "folder_capacity",
    "claim",
    "sub_path",
)
_ACCESS_MODES = ("ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@dataclass(frozen=True)
class HomeSource:
    """Where homes come from: one of three ways.

    Attributes
    ----------
    server, path
        Our provisioner on an NFS export: which one.
    storage_class
        Any StorageClass that makes volumes; empty for the cluster's default one.
    claim, sub_path
        A claim that is there in each profile's namespace, and the directory in it
        that holds a directory for each person.
    capacity, folder_capacity
        What a home and a profile's folder ask for, as Kubernetes quantities; a
        folder is made only by our provisioner, and not where this is empty.
    access_modes
        How pods may mount a home.
    """

    storage_class: str = ""
    access_modes: tuple[str, ...] = ("ReadWriteOnce",)
    capacity: str = "10Gi"
    folder_capacity: str = ""
    server: str = ""
    path: str = ""
    claim: str = ""
    sub_path: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether our provisioner makes them."""
        return bool(self.server)

    def sub_path_of(self, person: str) -> str:
        """Return the directory of a person in the volume; empty for all of it."""
        return "/".join(filter(None, (self.sub_path, slug(person)))) if self.claim else ""


def read_home_source(raw: Mapping[str, Any]) -> HomeSource:
    """Return where homes come from, as `c.KfSpawner.home` writes it.

    Raises
    ------
    InputError
        If it is none of the three ways, or more than one.
    """
    unknown = sorted(str(name) for name in set(raw) - set(_FIELDS))
    if unknown:
        raise _refused(f"{', '.join(unknown)[:80]} is no field", f"give {', '.join(_FIELDS)}")
    ways = [name for name in ("server", "storage_class", "claim") if raw.get(name)]
    if len(ways) > 1:
        raise _refused(f"{' and '.join(ways)} are two ways", "give one of them")
    text = {name: _text(raw, name) for name in _FIELDS if name != "access_modes"}
    for name in ("capacity", "folder_capacity"):
        _check_quantity(name, text[name])
    if text["server"]:
        if not text["path"].startswith("/"):
            raise _refused("path is what the server exports", "give it, such as /export/homes")
        text["storage_class"] = STORAGE_CLASS
    elif text["path"] or text["folder_capacity"]:
        raise _refused("path and folder_capacity belong to server", "give server, or leave them")
    parts = text["sub_path"].split("/") if text["sub_path"] else []
    if parts and (not text["claim"] or not all(map(_is_directory, parts))):
        raise _refused(
            f"sub_path {text['sub_path'][:80]!r} is no directory of a claim",
            "give claim too, and a relative path without ..",
        )
    for name in ("storage_class", "claim"):
        if text[name] and not _NAME.fullmatch(text[name]):
            raise _refused(f"{name} {text[name][:80]!r} is no name", "give an object's name")
    modes = _read_access_modes(raw.get("access_modes"), shared=bool(text["server"]))
    text["capacity"] = text["capacity"] or HomeSource.capacity
    return HomeSource(access_modes=modes, **text)


def _read_access_modes(raw: Any, *, shared: bool) -> tuple[str, ...]:
    if raw is None:
        return ("ReadWriteMany",) if shared else HomeSource.access_modes
    known = isinstance(raw, (list, tuple)) and all(
        isinstance(it, str) and it in _ACCESS_MODES for it in raw
    )
    if shared and (not known or "ReadWriteMany" not in raw):
        raise _refused(f"access_modes {str(raw)[:80]}", "leave it out: NFS is ReadWriteMany")
    if not raw or not known:
        raise _refused(
            f"access_modes {str(raw)[:80]}", f"give a list of {', '.join(_ACCESS_MODES)}"
        )
    return tuple(raw)


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name, "")
    if not isinstance(value, str):
        raise _refused(f"{name} is {type(value).__name__}", "give a text")
    return value


def _check_quantity(name: str, text: str) -> None:
    try:
        good = not text or read_quantity(text) > 0
    except ValueError:
        good = False
    if not good:
        raise _refused(f"{name} {text[:80]!r} is no amount of storage", "write it as 10Gi")


def _is_directory(part: str) -> bool:
    return part not in ("", ".", "..")


def _refused(cause: str, way_out: str) -> InputError:
    return InputError(_DOING, cause, way_out)
