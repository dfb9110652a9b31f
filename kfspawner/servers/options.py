"""What a person chose, from the form or as JSON: accepted here, or refused.

Both ways meet in `read_options`; the form's strings become JSON values first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlencode

from kfspawner.errors import OptionRefused
from kfspawner.servers.amounts import (
    read_bytes,
    read_cores,
    read_count,
    show_bytes,
    show_cores,
)
from kfspawner.servers.images import ImageProfile, Range
from kfspawner.servers.stock import (
    StockOptions,
    StockProfile,
    form_to_stock,
    read_stock_options,
)

FIELDS = ("profile", "image_profile", "cpu", "memory", "gpu", "gpu_kind")
_SIZES = FIELDS[2:]
# Fields of the page itself, which say nothing about the server.
_PAGE_FIELDS = frozenset({"_xsrf"})
# The field of a button that asks for one server, whatever else the form says.
INSTEAD = "instead"
_LONGEST_INSTEAD = 1000

ImageProfiles = Mapping[str, ImageProfile]
StockProfiles = Mapping[str, StockProfile]


@dataclass(frozen=True)
class Offers:
    """What one person may choose.

    Attributes
    ----------
    profiles
        The image profiles of each Profile that they may start servers in, by
        names and keys; the defaults first.
    looks
        The names of Profiles that they may only look at.
    stock
        The entries of KubeSpawner's `profile_list` that each Profile offers besides.
    """

    profiles: Mapping[str, ImageProfiles]
    looks: Collection[str] = ()
    stock: Mapping[str, StockProfiles] = field(default_factory=dict)

    def image_profiles(self, profile: str = "") -> ImageProfiles:
        """Return what a Profile offers; of the first, if no name is given."""
        return self.profiles.get(profile or next(iter(self.profiles), ""), {})

    def entries(self, profile: str = "") -> StockProfiles:
        """Return the entries of `profile_list` that a Profile offers; of the first, if no name."""
        return self.stock.get(profile or next(iter(self.profiles), ""), {})


@dataclass(frozen=True)
class ServerOptions:
    """One server as it will be, every value within what its image profile offers.

    Attributes
    ----------
    profile
        The name of the Profile that it runs in.
    image_profile
        The key of the image profile.
    cpu
        The limit in cores.
    memory
        The limit in bytes.
    gpu
        How many accelerators; 0 where the profile has none.
    gpu_kind
        Which of those that the profile has; empty where it has one kind.
    """

    profile: str
    image_profile: str
    cpu: float
    memory: int
    gpu: int
    gpu_kind: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON values that `read_options` reads back as these options."""
        kind = {"gpu_kind": self.gpu_kind} if self.gpu_kind else {}
        return {
            "profile": self.profile,
            "image_profile": self.image_profile,
            "cpu": self.cpu,
            "memory": show_bytes(self.memory) if self.memory % 1024 == 0 else self.memory,
            "gpu": self.gpu,
            **kind,
        }


Options = ServerOptions | StockOptions


def read_options(raw: Mapping[str, object], offers: Offers) -> Options:
    """Return the server that `raw` asks for; what it leaves out takes its default.

    Parameters
    ----------
    raw
        JSON values by field: ``{"profile": "vision", "image_profile": "gpu", "cpu": 2,
        "memory": "4G", "gpu": 1}``. For an entry of `profile_list`, ``image_profile``
        is its slug, and the rest as KubeSpawner has it. That names the entry
        ``profile``, which is taken where no Profile is called so.
    offers
        What the person may choose.

    Raises
    ------
    OptionRefused
        If a field is unknown, of the wrong type, or outside what is offered.
    """
    raw = _from_kubespawner(raw, offers)
    entry = _find_entry(raw, offers)
    if entry is None:
        return read_sizes(raw, offers)
    return read_stock_options(raw, entry, _find_profile(raw.get("profile"), offers))


def read_sizes(raw: Mapping[str, object], offers: Offers) -> ServerOptions:
    """Return the server of an image profile that `raw` asks for, as `read_options` does."""
    unknown = sorted(str(name) for name in set(raw) - set(FIELDS))
    if unknown:
        raise OptionRefused(
            f"choosing a server with {_few(unknown)}",
            "there is no such option",
            f"the options are {', '.join(FIELDS)}",
        )
    place = _find_profile(raw.get("profile"), offers)
    profile = _find_image_profile(raw.get("image_profile"), place, offers)
    return ServerOptions(
        profile=place,
        image_profile=profile.key,
        cpu=_read("cpu", raw, profile, profile.cpu),
        memory=int(_read("memory", raw, profile, profile.memory)),
        gpu=int(_read("gpu", raw, profile, profile.gpu)) if profile.gpu else _no_gpu(raw, profile),
        gpu_kind=_read_kind(raw.get("gpu_kind"), profile),
    )


def default_options(place: str, profile: ImageProfile) -> ServerOptions:
    """Return the server that an image profile proposes, in the Profile called `place`."""
    return ServerOptions(
        profile=place,
        image_profile=profile.key,
        cpu=profile.cpu.default,
        memory=int(profile.memory.default),
        gpu=int(profile.gpu.default) if profile.gpu else 0,
        gpu_kind=next(iter(profile.kinds), ""),
    )


def form_to_json(form: Mapping[str, Sequence[str]], offers: Offers) -> dict[str, object]:
    """Return the JSON values that a form or a query string stands for.

    Each image profile has its own fields, ``<key>.cpu``; those of image profiles
    that were not chosen are left out. Plain ``cpu`` is taken too, for links.

    Raises
    ------
    OptionRefused
        If a field is unknown, or given twice.
    """
    form = _instead(form)
    keys = {key for offered in offers.profiles.values() for key in offered}
    known = {*FIELDS, *(f"{key}.{name}" for key in keys for name in _SIZES)}
    for entries in offers.stock.values():
        known.update(name for entry in entries.values() for name in entry.fields())
    unknown = sorted(set(form) - known - _PAGE_FIELDS)
    twice = sorted(name for name, values in form.items() if len(values) > 1)
    if unknown or twice:
        raise OptionRefused(
            f"reading the form with {_few(unknown or twice)}",
            "there is no such field" if unknown else "it was given more than once",
            "go back to the form, and send it as it is offered",
        )
    place = _text(form, "profile")
    chosen = _text(form, "image_profile")
    raw: dict[str, object] = {"profile": place} if place else {}
    if chosen:
        raw["image_profile"] = chosen
    entry = _find_entry(_from_kubespawner(raw, offers), offers)
    if entry:
        return {**raw, **form_to_stock(form, entry)}
    chosen = chosen or next(iter(offers.image_profiles(place)), "")
    if chosen:
        raw["image_profile"] = chosen
    for name, read in _FORM_READERS.items():
        text = _text(form, f"{chosen}.{name}") or _text(form, name)
        if text:
            raw[name] = read(text)
    return raw


def to_instead(options: ServerOptions) -> str:
    """Return the value of a button that asks for these options."""
    whole = replace(options, memory=options.memory - options.memory % 1024)
    return urlencode(whole.to_json())


def make_overrides(profile: ImageProfile, options: ServerOptions) -> dict[str, Any]:
    """Return the KubeSpawner attributes that a server of these options has."""
    profile = profile.of_kind(options.gpu_kind)
    devices = {profile.gpu_resource: str(options.gpu)} if options.gpu else {}
    return {
        "image": profile.image,
        "cpu_limit": options.cpu,
        "cpu_guarantee": profile.cpu.promised(options.cpu),
        "mem_limit": options.memory,
        "mem_guarantee": int(profile.memory.promised(options.memory)),
        "extra_resource_limits": devices,
        "extra_resource_guarantees": dict(devices),
        "node_selector": dict(profile.node_selector),
        "tolerations": [dict(toleration) for toleration in profile.tolerations],
    }


def _from_kubespawner(raw: Mapping[str, object], offers: Offers) -> Mapping[str, object]:
    """Return options that name an entry of `profile_list` as KubeSpawner does, as we do."""
    name = raw.get("profile")
    if not isinstance(name, str) or "image_profile" in raw:
        return raw
    if name in offers.profiles or name in offers.looks:
        return raw
    if not any(name in entries for entries in offers.stock.values()):
        return raw
    return {"image_profile": name, **{key: it for key, it in raw.items() if key != "profile"}}


def _find_entry(raw: Mapping[str, object], offers: Offers) -> StockProfile | None:
    """Return the entry of `profile_list` that is asked for, or None for an image profile."""
    place, key = raw.get("profile"), raw.get("image_profile")
    where = place if isinstance(place, str) else ""
    sized, entries = offers.image_profiles(where), offers.entries(where)
    if isinstance(key, str):
        return None if key in sized else entries.get(key)
    if key is not None or sized:
        return None
    return next((it for it in entries.values() if it.default), next(iter(entries.values()), None))


_READERS: dict[str, tuple[Callable[[object], float], Callable[[float], str], str]] = {
    "cpu": (read_cores, show_cores, " cores"),
    "memory": (read_bytes, show_bytes, " of memory"),
    "gpu": (read_count, show_cores, " GPU"),
}


def _find_profile(name: object, offers: Offers) -> str:
    if name is None and offers.profiles:
        return next(iter(offers.profiles))
    if isinstance(name, str) and name in offers.profiles:
        return name
    # Whether there is one of that name is not for everybody to know.
    cause = "there is none of that name that you may start servers in"
    if name is None:
        cause = "there is none that you may start servers in"
    elif isinstance(name, str) and name in offers.looks:
        cause = "your role there is view: you may look, and start no server"
    way_out = "ask for the role edit from its owner"
    if offers.profiles:
        way_out = f"choose one of {_few([*offers.profiles])}, or {way_out}"
    raise OptionRefused(f"choosing a server with profile={_few([repr(name)])}", cause, way_out)


def _find_image_profile(key: object, place: str, offers: Offers) -> ImageProfile:
    profiles = offers.image_profiles(place)
    if not profiles and not offers.entries(place):
        raise OptionRefused(
            f"choosing a server in profile {place}",
            "no image profile is offered there",
            "ask the administrator to set c.KfSpawner.image_profiles, and what the profile offers",
        )
    if key is None:
        return next(iter(profiles.values()))
    if isinstance(key, str) and key in profiles:
        return profiles[key]
    raise OptionRefused(
        f"choosing a server with image_profile={_few([repr(key)])}",
        f"no such image profile is offered in profile {place}",
        f"choose one of {', '.join([*profiles, *offers.entries(place)])}",
    )


def _read(name: str, raw: Mapping[str, object], profile: ImageProfile, offered: Range) -> float:
    if name not in raw:
        return offered.default
    read, show, unit = _READERS[name]
    doing = f"choosing a server with {name}={_few([repr(raw[name])])}"
    span = show(offered.minimum)
    if offered.maximum != offered.minimum:
        span = f"{span} to {show(offered.maximum)}"
    try:
        value = read(raw[name])
    except ValueError as error:
        raise OptionRefused(doing, str(error), f"choose {span}{unit}") from error
    if not offered.offers(value):
        raise OptionRefused(
            doing, f"image profile {profile.key!r} offers {span}{unit}", "choose within that"
        )
    return value


def _read_kind(value: object, profile: ImageProfile) -> str:
    if value in (None, "") and not isinstance(value, bool):
        return next(iter(profile.kinds), "")
    if isinstance(value, str) and value in profile.kinds:
        return value
    raise OptionRefused(
        f"choosing a server with gpu_kind={_few([repr(value)])}",
        f"image profile {profile.key!r} has no such kind of GPU",
        f"choose one of {', '.join(profile.kinds)}" if profile.kinds else "leave gpu_kind out",
    )


def _no_gpu(raw: Mapping[str, object], profile: ImageProfile) -> int:
    if raw.get("gpu", 0) in (0, None) and not isinstance(raw.get("gpu"), bool):
        return 0
    raise OptionRefused(
        f"choosing a server with gpu={_few([repr(raw['gpu'])])}",
        f"image profile {profile.key!r} has no GPU",
        "choose an image profile with one, or leave gpu out",
    )


def _instead(form: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """Return the form that a button stands for, if it was sent by one."""
    value = _text(form, INSTEAD)
    if not value:
        return form
    try:
        if len(value) > _LONGEST_INSTEAD:
            raise ValueError
        return parse_qs(value, strict_parsing=True, max_num_fields=len(FIELDS))
    except ValueError as error:
        raise OptionRefused(
            f"reading the form with {INSTEAD}={_few([repr(value)])}",
            "no button of it says so",
            "go back to the form, and send it as it is offered",
        ) from error


def _text(form: Mapping[str, Sequence[str]], name: str) -> str:
    values = form.get(name) or [""]
    return str(values[0]).strip()


def _form_number(text: str) -> object:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _form_memory(text: str) -> object:
    # The form's field is in G; a unit that was typed all the same stands.
    return f"{text}G" if isinstance(_form_number(text), int | float) else text


_FORM_READERS: dict[str, Callable[[str], object]] = {
    "cpu": _form_number,
    "memory": _form_memory,
    "gpu": _form_number,
    "gpu_kind": str,
}


def _few(words: Sequence[str]) -> str:
    text = ", ".join(words)
    return text if len(text) <= 80 else f"{text[:77]}..."
