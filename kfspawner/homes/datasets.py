"""Data that servers and runs read and nobody changes: what `c.KfSpawner.datasets` may say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfspawner.errors import InputError
from kfspawner.homes.mounts import Mount
from kfspawner.names import slug

# Where each is mounted, under its name.
DATASETS = "/datasets"
_FIELDS = ("server", "path", "claim", "profiles")


@dataclass(frozen=True)
class Dataset:
    """One dataset.

    Attributes
    ----------
    name
        Its directory below `DATASETS`.
    server, path
        The NFS export that holds it; empty for one in a claim.
    claim
        A claim that is there in each profile's namespace; empty for one on NFS.
    profiles
        The profiles whose members read it; empty for all.
    """

    name: str
    server: str = ""
    path: str = ""
    claim: str = ""
    profiles: tuple[str, ...] = ()

    def is_for(self, profile: str) -> bool:
        """Say whether servers in a profile have it."""
        return not self.profiles or profile in self.profiles

    def to_mount(self) -> Mount | None:
        """Return what the provisioner makes for it; None where there is a claim already."""
        if self.claim:
            return None
        return Mount(claim=f"dataset-{slug(self.name)}", path=self.path, server=self.server)


def read_datasets(raw: Mapping[str, Any]) -> list[Dataset]:
    """Return the datasets that `c.KfSpawner.datasets` declares.

    Raises
    ------
    InputError
        If one cannot be had as it is written; it is named.
    """
    return [_read(name, said) for name, said in raw.items()]


def _read(name: object, raw: Any) -> Dataset:
    doing = f"reading c.KfSpawner.datasets[{str(name)[:80]!r}]"
    if not isinstance(name, str) or slug(name) != name:
        raise InputError(
            doing,
            "its name is no directory of a plain name",
            "use lower-case letters, digits and single hyphens, a letter first",
        )
    if not isinstance(raw, Mapping) or set(raw) - set(_FIELDS):
        raise InputError(doing, "it has other fields", f"give {', '.join(_FIELDS)}")
    text = {field: raw.get(field, "") for field in ("server", "path", "claim")}
    if not all(isinstance(it, str) for it in text.values()):
        raise InputError(doing, "server, path and claim are texts", "correct it")
    parts = text["path"].split("/")
    on_nfs = bool(text["server"]) and parts[0] == "" and len(parts) > 1 and ".." not in parts
    if bool(text["claim"]) == on_nfs or (text["claim"] and (text["server"] or text["path"])):
        raise InputError(
            doing,
            "it is neither a claim nor a directory of an NFS server",
            "give claim, or server and a path that begins with a slash and has no ..",
        )
    profiles = raw.get("profiles", ())
    listed = isinstance(profiles, (list, tuple)) and all(isinstance(it, str) for it in profiles)
    if not listed:
        raise InputError(doing, "profiles is no list of names", "give their names, or leave it out")
    return Dataset(name=name, profiles=tuple(profiles), **text)
