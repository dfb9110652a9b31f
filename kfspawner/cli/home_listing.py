"""What there is to say of homes: in one line each, or all of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kfspawner.cli.listing import align
from kfspawner.homes.ledger import Claim, Volume, is_mounted, read_claim, read_volume
from kfspawner.homes.mounts import claims_of, read_made
from kfspawner.homes.place import Place
from kfspawner.labels import MANAGED_BY, USER_ANNOTATION
from kfspawner.profiles.api import Api, Object
from kfspawner.quantity import read_quantity

_HEADER = ("PROFILE", "PERSON", "STATE", "SIZE", "USED", "LAST CHANGE")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
# What stands for the person of a profile's folder.
_FOLDER = "(its folder)"


@dataclass(frozen=True)
class Home:
    """The files of one place, in use or archived.

    Attributes
    ----------
    place
        Whose they are.
    claim
        Its PersistentVolumeClaim; None if there is none.
    volume
        Its volume, if our provisioner made it.
    pods
        The pods that have it mounted; those of other profiles with these before their names.
    capacity, storage_class
        How large it may be, and what made it.
    """

    place: Place
    claim: Claim | None
    volume: Volume | None
    pods: Sequence[str]
    capacity: str
    storage_class: str

    @property
    def is_archive(self) -> bool:
        """Whether its files are put away."""
        return bool(self.volume and self.volume.is_archive)

    @property
    def state(self) -> str:
        """How it does, in a few words."""
        volume, claim = self.volume, self.claim
        trouble = (volume and volume.trouble) or (claim and claim.trouble)
        if volume and volume.is_archive:
            moment = volume.archived_at
            text = f"archived {moment:%Y-%m-%d}" if moment else "archived"
        elif volume and volume.archived_as:
            text = "being archived"
        elif self.pods:
            text = "mounted"
        elif volume and not claim:
            text = "unclaimed"
        else:
            text = "idle" if volume or not claim or claim.volume else "waits for its volume"
        return f"{text}, in trouble" if trouble else text

    @property
    def is_over(self) -> bool:
        """Whether more is in it than it may hold; the export allows that."""
        used = self.volume.used if self.volume else None
        return used is not None and used > read_quantity(self.capacity)

    def to_json(self) -> dict[str, Any]:
        """Return it as `-o json` writes it."""
        volume, claim = self.volume, self.claim
        return {
            "profile": self.place.profile,
            "person": self.place.person or None,
            "state": self.state,
            "archived": volume.archived_as if volume and volume.is_archive else None,
            "capacity": self.capacity,
            "used_bytes": volume.used if volume else None,
            "over": self.is_over,
            "last_change": _iso(volume.changed) if volume else None,
            "measured_at": _iso(volume.measured) if volume else None,
            "storage_class": self.storage_class,
            "path": volume.path if volume else None,
            "owner": "{}:{}".format(*volume.ids) if volume else None,
            "pods": list(self.pods),
            "trouble": (volume.trouble if volume else "") or (claim.trouble if claim else ""),
        }


async def find_homes(api: Api, profile: str = "") -> list[Home]:
    """Return every home and folder, of one profile or of all; archives after what is in use.

    Raises
    ------
    ClusterError
        If this account may not read them all.
    """
    claims, _ = await api.list("PersistentVolumeClaim", profile)
    # Those of other profiles, too: they may have it mounted by a claim there.
    pods, _ = await api.list("Pod")
    volumes, _ = await api.list("PersistentVolume")
    ours = [it for it in map(read_volume, volumes) if it]
    mounting = _Mounting(pods, volumes)
    live = {it.place.volume: it for it in ours if not it.is_archive}
    found = {
        home.place.volume: home
        for obj in claims
        if (home := _read_home(obj, live, mounting)) is not None
    }
    kept = [it for it in ours if it.is_archive or it.place.volume not in found]
    homes = [*found.values(), *(_of_volume(it, mounting) for it in kept)]
    chosen = [it for it in homes if profile in ("", it.place.profile)]
    return sorted(chosen, key=_order)


def _order(home: Home) -> tuple[str, str, bool, str]:
    archived = home.is_archive
    stamp = home.volume.archived_as if home.volume else ""
    return home.place.profile, home.place.person, archived, stamp


def _read_home(obj: Object, live: Mapping[str, Volume], mounting: _Mounting) -> Home | None:
    """Return the home that a claim is, whatever made its volume; None if it is none."""
    metadata, spec = obj["metadata"], obj["spec"]
    claim = read_claim(obj)
    place = claim.place if claim else _place_of(metadata)
    if place is None:
        return None
    volume = live.get(place.volume) if claim else None
    return Home(
        place=place,
        claim=claim,
        volume=volume,
        pods=[*mounting.inside(place.profile, metadata["name"]), *mounting.elsewhere(volume)],
        capacity=str(spec["resources"]["requests"]["storage"]),
        storage_class=str(spec.get("storageClassName") or ""),
    )


def _place_of(metadata: Mapping[str, Any]) -> Place | None:
    person = (metadata.get("annotations") or {}).get(USER_ANNOTATION, "")
    ours = MANAGED_BY.items() <= (metadata.get("labels") or {}).items()
    place = Place(metadata["namespace"], person)
    return place if person and ours and metadata["name"] == place.claim else None


def _of_volume(volume: Volume, mounting: _Mounting) -> Home:
    pods = mounting.elsewhere(volume)
    return Home(volume.place, None, volume, pods, volume.capacity, volume.storage_class)


class _Mounting:
    """Which pods have a home mounted, in its profile and in others."""

    def __init__(self, pods: Sequence[Object], volumes: Sequence[Object]) -> None:
        self._pods = pods
        self._made = [it for it in map(read_made, volumes) if it]
        on_nfs = (it for it in volumes if "nfs" in it["spec"])
        self._servers = {it["metadata"]["name"]: it["spec"]["nfs"]["server"] for it in on_nfs}

    def inside(self, namespace: str, claim: str) -> list[str]:
        """Return the names of the pods that mount a claim of their namespace."""
        return sorted(
            pod["metadata"]["name"]
            for pod in self._pods
            if pod["metadata"]["namespace"] == namespace and is_mounted(pod, claim)
        )

    def elsewhere(self, volume: Volume | None) -> list[str]:
        """Return the pods that mount the directory of a volume by a claim of another profile."""
        if volume is None:
            return []
        claims = claims_of(self._servers[volume.name], volume.path, self._made)
        found = {
            f"{profile}/{pod}" for profile, claim in claims for pod in self.inside(profile, claim)
        }
        return sorted(found)


def make_table(homes: Sequence[Home]) -> str:
    """Return homes as a table, a line each."""
    return align([_HEADER, *(_row(it) for it in homes)])


def _row(home: Home) -> tuple[str, ...]:
    volume = home.volume
    used = show_size(volume.used) if volume and volume.used is not None else "-"
    used = f"{used} (over)" if home.is_over else used
    changed = f"{volume.changed:%Y-%m-%d %H:%M}" if volume and volume.changed else "-"
    person = home.place.person or _FOLDER
    return home.place.profile, person, home.state, home.capacity, used, changed


def describe(homes: Sequence[Home]) -> str:
    """Return all that there is to say of the homes of one place: the live one and its archives."""
    return "\n\n".join(_describe(it) for it in homes)


def _describe(home: Home) -> str:
    volume, claim = home.volume, home.claim
    lines = [
        ("State", home.state),
        ("Size", home.capacity),
        ("Storage class", home.storage_class or "the cluster's default"),
        ("Mounted by", ", ".join(home.pods) or "no pod"),
    ]
    if volume:
        lines.append(("Path", volume.path))
        lines.append(("Owner", "{}:{}".format(*volume.ids)))
        if volume.is_archive:
            lines.append(("Archived", volume.archived_as))
        if volume.used is not None and volume.changed and volume.measured:
            over = ", more than it may hold" if home.is_over else ""
            measured = f"{show_size(volume.used)}{over}, at {volume.measured:%Y-%m-%d %H:%M} UTC"
            lines.append(("Used", measured))
            lines.append(("Last change", f"{volume.changed:%Y-%m-%d %H:%M} UTC"))
    for about in (volume, claim):
        if about and about.trouble:
            lines.append(("Trouble", about.trouble))
    title = str(home.place)
    return "\n".join(
        [title[0].upper() + title[1:], *(f"  {name + ':':15}{text}" for name, text in lines)]
    )


def show_size(count: int) -> str:
    """Return a number of bytes as people read it."""
    size = float(count)
    for unit in _UNITS[:-1]:
        text = f"{size:.0f}" if unit == "B" else f"{size:.1f}"
        if float(text) < 1024:
            return f"{text} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
