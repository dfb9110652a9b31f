"""The spawn page's form: profiles to choose from, and image profiles with what each offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from kfspawner.servers.amounts import show_bytes, show_cores
from kfspawner.servers.images import ImageProfile, Range
from kfspawner.servers.options import ServerOptions
from kfspawner.servers.places import Place

_GIB = 2**30


@dataclass(frozen=True)
class Field:
    """One number that a card asks for; `minimum` to `value` as the input shows them."""

    name: str
    label: str
    minimum: str
    maximum: str
    value: str
    hint: str
    step: str = "any"


@dataclass(frozen=True)
class Card:
    """One image profile as the page shows it."""

    key: str
    title: str
    description: str
    accelerators: str
    simulated: bool
    fields: Sequence[Field]


@dataclass(frozen=True)
class Page:
    """What one person's page offers.

    Attributes
    ----------
    places
        Their profiles, the default first.
    image_profiles
        All that there are, the default first.
    trouble
        What keeps the page from being as it should be, in a sentence; may be empty.
    """

    places: Sequence[Place]
    image_profiles: Mapping[str, ImageProfile]
    trouble: str = ""

    def place(self, *names: str) -> Place | None:
        """Return the first place that can be chosen: of `names`, then of all."""
        choosable = {place.name: place for place in self.places if place.open}
        return next(
            (choosable[name] for name in (*names, *choosable) if name in choosable),
            None,
        )

    def offered(self) -> dict[str, ImageProfile]:
        """Return the image profiles of any place that can be chosen; all, if there is none."""
        keys = {key for place in self.places if place.open for key in place.image_profiles}
        found = {key: it for key, it in self.image_profiles.items() if key in keys}
        return found or dict(self.image_profiles)


def render_form(
    page: Page,
    chosen: ServerOptions | None = None,
    sent: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Return the form's HTML.

    Parameters
    ----------
    page
        What is offered.
    chosen
        What the person's last server had, which the form proposes again.
    sent
        The form as it was just sent and refused: shown again as it was typed.
    """
    sent = sent or {}
    offered = page.offered()
    place = page.place(_sent(sent, "profile"), chosen.profile if chosen else "")
    keys = place.image_profiles if place else tuple(offered)
    wanted = (_sent(sent, "image_profile"), chosen.image_profile if chosen else "", *keys)
    cards = [make_card(profile, chosen, sent) for profile in offered.values()]
    return _template().render(
        page=page,
        place=place,
        cards=cards,
        selected=next((key for key in wanted if key in offered), ""),
    )


def make_card(
    profile: ImageProfile,
    chosen: ServerOptions | None,
    sent: Mapping[str, Sequence[str]],
) -> Card:
    """Return the card of `profile`, its fields filled with what was sent, chosen or is usual."""
    if chosen is None or chosen.image_profile != profile.key:
        usual = (profile.cpu.default, profile.memory.default, _default(profile.gpu))
    else:
        usual = (chosen.cpu, chosen.memory, chosen.gpu)
    fields = [
        _cpu_field(profile.cpu, usual[0]),
        _memory_field(profile.memory, usual[1]),
        # A count that cannot be changed is said by the card itself.
        *([_gpu_field(profile.gpu, usual[2])] if _is_span(profile.gpu) else []),
    ]
    return Card(
        key=profile.key,
        title=profile.display_name,
        description=profile.description,
        accelerators=_accelerators(profile),
        simulated=profile.simulated and profile.gpu is not None,
        fields=[_as_sent(field, profile.key, sent) for field in fields],
    )


def _sent(sent: Mapping[str, Sequence[str]], name: str) -> str:
    return str((sent.get(name) or [""])[0])


def _cpu_field(offered: Range, value: float) -> Field:
    least, most = show_cores(offered.minimum), show_cores(offered.maximum)
    return Field("cpu", "CPU cores", least, most, show_cores(value), f"{least} to {most}")


def _memory_field(offered: Range, value: float) -> Field:
    least, most, shown = (
        f"{amount / _GIB:.6g}" for amount in (offered.minimum, offered.maximum, value)
    )
    hint = f"{show_bytes(offered.minimum)} to {show_bytes(offered.maximum)}"
    return Field("memory", "Memory in G", least, most, shown, hint)


def _gpu_field(offered: Range | None, value: float) -> Field:
    if offered is None:
        raise ValueError("a profile without GPU has no such field")
    least, most = show_cores(offered.minimum), show_cores(offered.maximum)
    return Field("gpu", "GPUs", least, most, show_cores(value), f"{least} to {most}", step="1")


def _as_sent(field: Field, key: str, sent: Mapping[str, Sequence[str]]) -> Field:
    values = sent.get(f"{key}.{field.name}")
    return replace(field, value=str(values[0])) if values else field


def _accelerators(profile: ImageProfile) -> str:
    if profile.gpu is None:
        return "No GPU"
    least, most = show_cores(profile.gpu.minimum), show_cores(profile.gpu.maximum)
    count = most if least == most else f"{least} to {most}"
    return (
        f"{count} GPU ({profile.gpu_resource})"
        if most == "1"
        else (f"{count} GPUs ({profile.gpu_resource})")
    )


def _default(offered: Range | None) -> float:
    return offered.default if offered else 0


def _is_span(offered: Range | None) -> bool:
    return offered is not None and offered.minimum != offered.maximum


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("kfspawner", "servers"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("form.html")
