"""KubeSpawner's own `profile_list`: its entries, what may be chosen of one, and what that sets.

Everything is as KubeSpawner 7.1 documents it, but for what a person types: that
is matched whole, and put in where an override says ``{value}``, never formatted.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slugify import slugify

from kfspawner.errors import InputError, OptionRefused
from kfspawner.reference import Reference

# The value of a list that says that something is typed, and what names that.
UNLISTED = "unlisted-choice"
_TYPED = f"--{UNLISTED}"
# How the form calls the fields of an entry.
_FIELD = "profile-option-"
_LONGEST = 500
# KubeSpawner expands templates in what becomes the pod, and Kubernetes $(NAME).
_NOT_TYPED = re.compile(r"[^\x20-\x7e]|[{}]|\$\(")

Overrides = Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """One of those that an option lists."""

    title: str
    overrides: Overrides = field(default_factory=dict)


@dataclass(frozen=True)
class Unlisted:
    """What may be typed in place of what is listed.

    Attributes
    ----------
    in_choices, title
        What the list calls it, and what the field for it is called.
    pattern
        What all of it has to match; empty for anything.
    message
        What is said where it does not.
    """

    in_choices: str
    title: str
    pattern: str
    message: str
    overrides: Overrides


@dataclass(frozen=True)
class StockOption:
    """One thing to choose.

    Attributes
    ----------
    choices
        What is listed, by key.
    default
        The key of what is chosen where nothing is; empty if that cannot be.
    unlisted
        What may be typed; None for nothing.
    """

    name: str
    title: str
    choices: Mapping[str, Choice]
    default: str
    unlisted: Unlisted | None = None


@dataclass(frozen=True)
class StockProfile:
    """One entry of `profile_list`."""

    slug: str
    display_name: str
    description: str
    overrides: Overrides
    options: Mapping[str, StockOption]
    default: bool = False

    def field(self, option: str, *, typed: bool = False) -> str:
        """Return what the form calls an option, or what is typed for it."""
        return f"{_FIELD}{self.slug}--{option}{_TYPED if typed else ''}"

    def fields(self) -> Iterator[str]:
        """Yield the names of all of its fields in the form."""
        for name in self.options:
            yield self.field(name)
            yield self.field(name, typed=True)


@dataclass(frozen=True)
class StockOptions:
    """One server of an entry of `profile_list`.

    Attributes
    ----------
    profile, image_profile
        The name of the Profile that it runs in, and the slug of the entry.
    chosen, typed
        By option: the key of what is chosen, and what is typed.
    """

    profile: str
    image_profile: str
    chosen: Mapping[str, str] = field(default_factory=dict)
    typed: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON values that are read back as these options."""
        typed = {f"{name}{_TYPED}": text for name, text in self.typed.items()}
        return {
            "profile": self.profile,
            "image_profile": self.image_profile,
            **self.chosen,
            **typed,
        }


def read_profile_list(raw: Sequence[Mapping[str, Any]]) -> dict[str, StockProfile]:
    """Return the entries of a `profile_list` by their slugs, in its order.

    Raises
    ------
    InputError
        If one cannot be used; it names it.
    """
    return {entry.slug: entry for entry in map(_read_entry, raw)}


def read_stock_options(raw: Mapping[str, object], entry: StockProfile, place: str) -> StockOptions:
    """Return the server that `raw` asks for in the Profile called `place`.

    Parameters
    ----------
    raw
        JSON values by option: ``{"image": "minimal"}``, or
        ``{"image--unlisted-choice": "quay.io/team/image:1"}``.
    entry
        What the options are of.

    Raises
    ------
    OptionRefused
        If an option is unknown, or not among what is offered.
    """
    known = {*entry.options, *(f"{name}{_TYPED}" for name in entry.options)}
    unknown = sorted(set(raw) - known - {"profile", "image_profile"})
    if unknown:
        raise OptionRefused(
            f"choosing a server with {_shown(', '.join(unknown))}",
            f"image profile {entry.slug!r} has no such option",
            f"its options are {', '.join(entry.options) or 'none'}",
        )
    chosen, typed = {}, {}
    for name, option in entry.options.items():
        text = raw.get(f"{name}{_TYPED}")
        if text not in (None, ""):
            typed[name] = _read_typed(option, text)
        else:
            chosen[name] = _read_chosen(option, raw.get(name))
    return StockOptions(place, entry.slug, chosen, typed)


def form_to_stock(form: Mapping[str, Sequence[str]], entry: StockProfile) -> dict[str, object]:
    """Return the JSON values that the fields of an entry stand for."""
    raw: dict[str, object] = {}
    for name in entry.options:
        listed = _text(form, entry.field(name))
        typed = _text(form, entry.field(name, typed=True))
        if listed and listed != UNLISTED:
            raw[name] = listed
        elif typed:
            raw[f"{name}{_TYPED}"] = typed
    return raw


def make_stock_overrides(
    entry: StockProfile, options: StockOptions, registries: Sequence[str] = ()
) -> Iterator[Overrides]:
    """Yield the KubeSpawner attributes that a server of these options has, the last ones last.

    Parameters
    ----------
    entry
        What the options are of.
    registries
        Where images that are typed may be: ``quay.io`` or ``quay.io/team``;
        anywhere, if there is none.

    Raises
    ------
    OptionRefused
        If what was typed is to be an image, and is none of these.
    """
    yield entry.overrides
    for name, option in entry.options.items():
        if name not in options.typed or option.unlisted is None:
            yield option.choices[options.chosen[name]].overrides
            continue
        text = options.typed[name]
        filled: Overrides = _fill(option.unlisted.overrides, text)
        if "image" in filled:
            _check_image(f"{name}{_TYPED}", str(filled["image"]), registries)
        yield filled


def _read_entry(raw: Mapping[str, Any]) -> StockProfile:
    doing = f"reading {_shown(repr(raw))} of c.KfSpawner.profile_list"
    try:
        name = str(raw["display_name"])
        options = {
            key: _read_option(key, it) for key, it in (raw.get("profile_options") or {}).items()
        }
        return StockProfile(
            slug=str(raw.get("slug") or slugify(name)),
            display_name=name,
            description=str(raw.get("description") or ""),
            overrides=dict(raw.get("kubespawner_override") or {}),
            options=options,
            default=bool(raw.get("default")),
        )
    except (KeyError, TypeError, ValueError, AttributeError, re.error) as error:
        raise InputError(
            doing,
            f"{type(error).__name__}: {error}",
            "write it as KubeSpawner documents profile_list",
        ) from error


def _read_option(name: str, raw: Mapping[str, Any]) -> StockOption:
    listed = raw.get("choices") or {}
    choices = {
        str(key): Choice(
            str(it.get("display_name", key)), dict(it.get("kubespawner_override") or {})
        )
        for key, it in listed.items()
    }
    default = next((str(key) for key, it in listed.items() if it.get("default")), "")
    given = raw.get("unlisted_choice") or {}
    unlisted = None
    if given.get("enabled"):
        pattern = str(given.get("validation_regex") or "")
        re.compile(pattern)
        unlisted = Unlisted(
            in_choices=str(given.get("display_name_in_choices") or "Other..."),
            title=str(given.get("display_name") or raw.get("display_name") or name),
            pattern=pattern,
            message=str(given.get("validation_message") or ""),
            overrides=dict(given.get("kubespawner_override") or {}),
        )
    return StockOption(
        name=name,
        title=str(raw.get("display_name") or name),
        choices=choices,
        default=default or next(iter(choices), ""),
        unlisted=unlisted,
    )


def _read_chosen(option: StockOption, value: object) -> str:
    doing = f"choosing a server with {option.name}={_shown(repr(value))}"
    listed = ", ".join(option.choices) or "none"
    if value in (None, ""):
        if option.default:
            return option.default
        raise OptionRefused(doing, "nothing is chosen, and there is no default", "type one")
    if isinstance(value, str) and value in option.choices:
        return value
    raise OptionRefused(doing, "there is no such choice", f"choose one of {listed}")


def _read_typed(option: StockOption, value: object) -> str:
    doing = f"choosing a server with {option.name}{_TYPED}={_shown(repr(value))}"
    if option.unlisted is None:
        listed = ", ".join(option.choices)
        raise OptionRefused(doing, "nothing but what is listed is offered", f"choose {listed}")
    if not isinstance(value, str):
        raise OptionRefused(doing, f"it is {type(value).__name__}, not a text", "type a text")
    if len(value) > _LONGEST:
        raise OptionRefused(
            doing, f"it is {len(value)} characters long", f"type at most {_LONGEST}"
        )
    if _NOT_TYPED.search(value):
        raise OptionRefused(
            doing, "it has characters other than plain ones, braces or $(", "leave them out"
        )
    pattern = option.unlisted.pattern
    if pattern and not re.fullmatch(pattern, value):
        raise OptionRefused(
            doing,
            f"it is not what is offered, {_shown(pattern)}",
            option.unlisted.message or "choose one that matches as a whole",
        )
    return value


def _check_image(name: str, image: str, registries: Sequence[str]) -> None:
    reference = Reference.parse(image)
    where = f"{reference.registry}/{reference.repository}"
    if registries and not any(f"{where}/".startswith(f"{it.rstrip('/')}/") for it in registries):
        raise OptionRefused(
            f"choosing a server with {name}={_shown(repr(image))}",
            f"images of {reference.registry} are not offered",
            f"choose one of {', '.join(registries)}",
        )


def _fill(template: Any, value: str) -> Any:
    """Return `template` with `value` in the place of each ``{value}``, and all else as it is."""
    if isinstance(template, str):
        return "".join(_filled(template, value))
    if isinstance(template, Mapping):
        return {_fill(key, value): _fill(it, value) for key, it in template.items()}
    if isinstance(template, list | tuple | set):
        return type(template)(_fill(it, value) for it in template)
    return template


def _filled(template: str, value: str) -> Iterator[str]:
    for literal, name, spec, conversion in string.Formatter().parse(template):
        yield literal
        if name == "value" and not spec and not conversion:
            yield value
        elif name is not None:
            # KubeSpawner's own, such as {username}, which it expands later.
            yield f"{{{name}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}}}"


def _text(form: Mapping[str, Sequence[str]], name: str) -> str:
    values = form.get(name) or [""]
    # What is typed is matched as it is, spaces and ends of lines included.
    return str(values[0])


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
