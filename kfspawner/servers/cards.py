"""What the spawn page shows of one image profile, or of one entry of `profile_list`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kfspawner.servers.amounts import show_bytes, show_cores
from kfspawner.servers.capacity import call_device
from kfspawner.servers.images import ImageProfile, Range
from kfspawner.servers.options import Options, ServerOptions
from kfspawner.servers.stock import UNLISTED, StockOption, StockOptions, StockProfile

Sent = Mapping[str, Sequence[str]]

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
class Typed:
    """A text that a card asks for; `pattern` and `message` may be empty."""

    name: str
    label: str
    value: str
    pattern: str
    message: str


@dataclass(frozen=True)
class Listed:
    """One thing that a card lets choose from a list.

    Attributes
    ----------
    choices
        Values and titles; empty where there is only something to type.
    typed
        What may be typed in place of them.
    """

    name: str
    label: str
    choices: Sequence[tuple[str, str]]
    value: str
    typed: Typed | None = None


@dataclass(frozen=True)
class Card:
    """One kind of server as the page shows it.

    Attributes
    ----------
    key, id
        What the form sends, and what it is called on the page.
    accelerators
        What it has; may be empty.
    frameworks
        What is in its image, with versions.
    free
        What is free now of what it needs; may be empty.
    why
        Why what its fields say does not fit now; empty if it does.
    instead, instead_value
        What a button proposes in its place, and what that sends; may be empty.
    """

    key: str
    id: str
    title: str
    description: str
    accelerators: str = ""
    frameworks: Sequence[str] = ()
    simulated: bool = False
    fields: Sequence[Field] = ()
    lists: Sequence[Listed] = ()
    free: str = ""
    why: str = ""
    instead: str = ""
    instead_value: str = ""


def make_card(profile: ImageProfile, chosen: Options | None, sent: Sent) -> Card:
    """Return the card of `profile`, its fields filled with what was sent, chosen or is usual."""
    if isinstance(chosen, ServerOptions) and chosen.image_profile == profile.key:
        usual: tuple[float, float, float] = (chosen.cpu, chosen.memory, chosen.gpu)
    else:
        usual = (profile.cpu.default, profile.memory.default, _default(profile.gpu))
    fields = [
        _cpu_field(profile.cpu, usual[0]),
        _memory_field(profile.memory, usual[1]),
        # A count that cannot be changed is said by the card itself.
        *([_gpu_field(profile, profile.gpu, usual[2])] if _is_span(profile.gpu) else []),
    ]
    return Card(
        key=profile.key,
        id=profile.key,
        title=profile.display_name,
        description=profile.description,
        accelerators=_accelerators(profile),
        simulated=profile.simulated and profile.gpu is not None,
        fields=[_as_sent(field, profile.key, sent) for field in fields],
        lists=[_kinds(profile, chosen, sent)] if profile.kinds else [],
    )


def make_stock_card(entry: StockProfile, chosen: Options | None, sent: Sent) -> Card:
    """Return the card of an entry of `profile_list`, filled like that of an image profile."""
    mine = chosen if isinstance(chosen, StockOptions) else None
    if mine is not None and mine.image_profile != entry.slug:
        mine = None
    return Card(
        key=entry.slug,
        id=f"entry-{re.sub('[^A-Za-z0-9-]', '_', entry.slug)}",
        title=entry.display_name,
        description=entry.description,
        lists=[_listed(entry, option, mine, sent) for option in entry.options.values()],
    )


def _kinds(profile: ImageProfile, chosen: Options | None, sent: Sent) -> Listed:
    name, value = f"{profile.key}.gpu_kind", next(iter(profile.kinds))
    if isinstance(chosen, ServerOptions) and chosen.gpu_kind in profile.kinds:
        value = chosen.gpu_kind
    choices = [(it.key, it.display_name) for it in profile.kinds.values()]
    return Listed(name, "Kind of GPU", choices, first_of(sent, name, value))


def first_of(sent: Sent, name: str, default: str = "") -> str:
    """Return what was sent for a field."""
    return str((sent.get(name) or [default])[0])


def _listed(
    entry: StockProfile, option: StockOption, chosen: StockOptions | None, sent: Sent
) -> Listed:
    choices = [(key, it.title) for key, it in option.choices.items()]
    value, text = option.default, ""
    if chosen is not None:
        value = chosen.chosen.get(option.name, UNLISTED)
        text = chosen.typed.get(option.name, "")
    typed = None
    if option.unlisted is not None:
        if choices:
            choices.append((UNLISTED, option.unlisted.in_choices))
        name = entry.field(option.name, typed=True)
        typed = Typed(
            name,
            option.unlisted.title,
            first_of(sent, name, text),
            option.unlisted.pattern,
            option.unlisted.message,
        )
    name = entry.field(option.name)
    return Listed(name, option.title, choices, first_of(sent, name, value), typed)


def _cpu_field(offered: Range, value: float) -> Field:
    least, most = show_cores(offered.minimum), show_cores(offered.maximum)
    return Field("cpu", "CPU cores", least, most, show_cores(value), f"{least} to {most}")


def _memory_field(offered: Range, value: float) -> Field:
    least, most, shown = (
        f"{amount / _GIB:.6g}" for amount in (offered.minimum, offered.maximum, value)
    )
    hint = f"{show_bytes(offered.minimum)} to {show_bytes(offered.maximum)}"
    return Field("memory", "Memory in G", least, most, shown, hint)


def _gpu_field(profile: ImageProfile, offered: Range | None, value: float) -> Field:
    if offered is None:
        raise ValueError("a profile without GPU has no such field")
    least, most = show_cores(offered.minimum), show_cores(offered.maximum)
    label = call_device(profile.gpu_resource, 2)
    return Field("gpu", label, least, most, show_cores(value), f"{least} to {most}", step="1")


def _as_sent(field: Field, key: str, sent: Sent) -> Field:
    return replace(field, value=first_of(sent, f"{key}.{field.name}", field.value))


def _accelerators(profile: ImageProfile) -> str:
    if profile.gpu is None:
        return "No GPU"
    least, most = show_cores(profile.gpu.minimum), show_cores(profile.gpu.maximum)
    count = most if least == most else f"{least} to {most}"
    if profile.kinds:
        kinds = ", ".join(it.display_name for it in profile.kinds.values())
        return f"{count} {'GPU' if most == '1' else 'GPUs'}: {kinds}"
    called = call_device(profile.gpu_resource, int(profile.gpu.maximum))
    return f"{count} {called} ({profile.gpu_resource})"


def _default(offered: Range | None) -> float:
    return offered.default if offered else 0


def _is_span(offered: Range | None) -> bool:
    return offered is not None and offered.minimum != offered.maximum
