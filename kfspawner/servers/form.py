"""The spawn page's form: profiles to choose from, and image profiles with what each offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from kfspawner.errors import OptionRefused
from kfspawner.servers.amounts import show_bytes, show_cores
from kfspawner.servers.capacity import call_device
from kfspawner.servers.fitting import (
    ANYWHERE,
    NOTHING_KNOWN,
    Capacity,
    Finding,
    Placement,
    describe_options,
)
from kfspawner.servers.free import show_free, show_left
from kfspawner.servers.images import ImageProfile, Range
from kfspawner.servers.options import (
    INSTEAD,
    Offers,
    ServerOptions,
    form_to_json,
    read_options,
    to_instead,
)
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
    """One image profile as the page shows it.

    Attributes
    ----------
    free
        What is free now of what it needs; may be empty.
    why
        Why what its fields say does not fit now; empty if it does.
    instead, instead_value
        What a button proposes in its place, and what that sends; may be empty.
    """

    key: str
    title: str
    description: str
    accelerators: str
    simulated: bool
    fields: Sequence[Field]
    free: str = ""
    why: str = ""
    instead: str = ""
    instead_value: str = ""


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
    capacity
        What is free now.
    placement
        Where servers may go.
    """

    places: Sequence[Place]
    image_profiles: Mapping[str, ImageProfile]
    trouble: str = ""
    capacity: Capacity = NOTHING_KNOWN
    placement: Placement = ANYWHERE

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

    @cached_property
    def offers(self) -> Offers:
        """What may be sent."""
        return Offers(
            {
                it.name: {key: self.image_profiles[key] for key in it.image_profiles}
                for it in self.places
                if it.open
            }
        )


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
        left={it.name: show_left(page.capacity.left(it.name)) for it in page.places if it.open},
        cards=[_with_capacity(card, page, place) for card in cards],
        selected=next((key for key in wanted if key in offered), ""),
        instead_name=INSTEAD,
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


def _with_capacity(card: Card, page: Page, place: Place | None) -> Card:
    """Return the card with what is free for it, and whether what its fields say fits."""
    rooms = page.capacity.rooms_of(page.image_profiles[card.key], page.placement)
    known = page.capacity.rooms is not None
    free = show_free(page.image_profiles[card.key], rooms) if known else ""
    found = _find(card, page, place)
    if found.nearest is None:
        return replace(card, free=free, why=found.why)
    return replace(
        card,
        free=free,
        why=found.why,
        instead=_call_instead(found.nearest, card.key, page, place),
        instead_value=to_instead(found.nearest),
    )


def _find(card: Card, page: Page, place: Place | None) -> Finding:
    if place is None or card.key not in place.image_profiles:
        return Finding()
    form = {"profile": [place.name], "image_profile": [card.key]}
    form |= {f"{card.key}.{field.name}": [field.value] for field in card.fields}
    try:
        options = read_options(form_to_json(form, page.offers), page.offers)
    except OptionRefused:
        # What is typed is outside of what is offered, and the browser says so.
        return Finding()
    return page.capacity.find(options, page.offers, page.placement)


def _call_instead(options: ServerOptions, key: str, page: Page, place: Place | None) -> str:
    profile = page.image_profiles[options.image_profile]
    words = ["Start"]
    if options.image_profile != key:
        words.append(profile.display_name)
    words.append(f"with {describe_options(options, profile)}")
    if place is not None and options.profile != place.name:
        title = next(it.title for it in page.places if it.name == options.profile)
        words.append(f"in {title}")
    return " ".join([*words, "instead"])


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
    called = call_device(profile.gpu_resource, int(profile.gpu.maximum))
    return f"{count} {called} ({profile.gpu_resource})"


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
