"""What every part of a Profile is checked for, whether it comes from an object or the config."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from kfspawner.errors import ProfileRefused
from kfspawner.names import LABEL_LIMIT
from kfspawner.profiles.quantities import canonical_quantity

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def check_profile_name(doing: str, name: object) -> str:
    """Return `name` if a Profile, and so a namespace, may bear it; raise ProfileRefused if not."""
    if not isinstance(name, str) or len(name) > LABEL_LIMIT or not _NAMESPACE.fullmatch(name):
        raise ProfileRefused(
            doing,
            f"{shown(name)} cannot be the name of a namespace",
            f"use lower-case letters, digits and hyphens, no hyphen first or last, at most "
            f"{LABEL_LIMIT} characters",
        )
    if name == "default" or name.startswith("kube-"):
        raise ProfileRefused(
            doing, f"namespace {name} is the cluster's own", "choose another name", "NamespaceTaken"
        )
    return name


def check_person(doing: str, name: object, reason: str = "OwnerRefused") -> str:
    """Return `name` if a person or group may be called so; raise ProfileRefused if not."""
    if not isinstance(name, str) or not name:
        raise ProfileRefused(doing, f"{shown(name)} is nobody's name", "give a name", reason)
    if name.startswith("system:"):
        raise ProfileRefused(
            doing,
            f"names such as {shown(name)} are Kubernetes' own",
            "choose a name that does not begin with system:",
            reason,
        )
    return check_text(doing, name, reason)


def check_text(doing: str, value: object, reason: str = "Malformed") -> str:
    """Return `value` if it is a text that the API takes; raise ProfileRefused if not."""
    if not isinstance(value, str):
        raise ProfileRefused(doing, f"it is {type(value).__name__}", "give a text", reason)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ProfileRefused(
            doing, f"{shown(value)} is no Unicode text", "write it anew", reason
        ) from error
    return value


def check_mapping(doing: str, raw: object, wanted: str) -> Mapping[Any, Any]:
    """Return `raw` if it is a mapping; raise ProfileRefused, asking for what is wanted, if not."""
    if not isinstance(raw, Mapping):
        raise ProfileRefused(doing, f"it is {type(raw).__name__}", f"give {wanted}")
    return raw


def check_fields(doing: str, raw: object, known: tuple[str, ...]) -> None:
    """Raise ProfileRefused if `raw` is no mapping, or has a key that is not known."""
    given = check_mapping(doing, raw, ", ".join(known))
    unknown = sorted(str(name) for name in set(given) - set(known))
    if unknown:
        raise ProfileRefused(
            doing,
            f"{shown(', '.join(unknown))} is not a field of it",
            f"the fields are {', '.join(known)}",
        )


def read_quantities(doing: str, raw: object) -> dict[str, str]:
    """Return quantities by resource, each as the API server writes it.

    Raises
    ------
    ProfileRefused
        If one is none; it names the resource.
    """
    read = {}
    for resource, amount in check_mapping(doing, raw, "resources with their quantities").items():
        try:
            read[check_text(doing, resource)] = canonical_quantity(amount)
        except ValueError as error:
            raise ProfileRefused(f"{doing}, {resource}", str(error), "correct it") from error
    return read


def parse_json(doing: str, text: str) -> object:
    """Return what `text` writes as JSON; raise ProfileRefused if it writes nothing."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProfileRefused(
            doing, f"{shown(text)} is not JSON ({error})", "write an object: {…}"
        ) from error


def shown(value: object) -> str:
    """Return `value` as a message shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
