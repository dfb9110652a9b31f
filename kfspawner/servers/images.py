"""What a server can be: the image profiles that the administrator declares."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kfspawner.errors import InputError
from kfspawner.servers.amounts import read_bytes, read_cores, read_count

_KEY = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FIELDS = frozenset(
    {
        "display_name",
        "description",
        "image",
        "cpu",
        "memory",
        "gpu",
        "node_selector",
        "tolerations",
        "simulated",
    }
)
_KIND_FIELDS = frozenset({"display_name", "resource", "node_selector", "tolerations"})
_RANGE_FIELDS = frozenset({"min", "max", "default", "guarantee"})


@dataclass(frozen=True)
class Range:
    """What may be chosen of one resource, in cores, bytes or devices.

    Attributes
    ----------
    minimum, maximum
        The least and the most that is offered. What a person chooses is the limit.
    default
        What the form proposes.
    guarantee
        What the scheduler sets aside, never above the limit; None for all of it.
    """

    minimum: float
    maximum: float
    default: float
    guarantee: float | None = None

    def offers(self, value: float) -> bool:
        """Say whether `value` may be chosen."""
        return self.minimum <= value <= self.maximum

    def promised(self, chosen: float) -> float:
        """Return what is set aside for somebody who chose `chosen`."""
        return chosen if self.guarantee is None else min(self.guarantee, chosen)


@dataclass(frozen=True)
class GpuKind:
    """One product, or a slice of one, among which a person chooses.

    Attributes
    ----------
    resource
        The extended resource that it is counted by.
    node_selector, tolerations
        What leads to the nodes that have it, besides the image profile's own.
    """

    key: str
    display_name: str
    resource: str
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class ImageProfile:
    """One kind of server that a person can choose.

    Attributes
    ----------
    key
        What the form and the API call it.
    image
        The image reference, best with its digest.
    cpu, memory
        In cores, and in bytes.
    gpu
        How many accelerators; None where the profile has none.
    gpu_resource
        The extended resource that they are counted by.
    simulated
        True where the accelerators are only counted: no device is behind them.
    kinds
        The accelerators to choose from, the default first; empty where there is one kind.
    gpu_called
        What people call the kind that was chosen; empty where there is one.
    """

    key: str
    display_name: str
    description: str
    image: str
    cpu: Range
    memory: Range
    gpu: Range | None = None
    gpu_resource: str = "nvidia.com/gpu"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    simulated: bool = False
    kinds: Mapping[str, GpuKind] = field(default_factory=dict)
    gpu_called: str = ""

    def of_kind(self, key: str) -> ImageProfile:
        """Return this image profile with one kind of accelerator; itself, if it has one only."""
        kind = self.kinds.get(key)
        if kind is None:
            return self
        return replace(
            self,
            gpu_resource=kind.resource,
            gpu_called=kind.display_name,
            node_selector={**self.node_selector, **kind.node_selector},
            tolerations=(*self.tolerations, *kind.tolerations),
        )


def read_image_profiles(raw: Mapping[str, Any]) -> dict[str, ImageProfile]:
    """Return the image profiles that the trait `image_profiles` declares, in its order.

    Raises
    ------
    InputError
        If one cannot be used; it names the profile and the field.
    """
    return {key: _read_profile(key, value) for key, value in raw.items()}


def _read_profile(key: str, raw: Any) -> ImageProfile:
    doing = f"reading image profile {key!r} of c.KfSpawner.image_profiles"
    if not _KEY.fullmatch(key):
        raise InputError(
            doing,
            "the key is not a plain word",
            "use lower-case letters, digits and single hyphens, a letter first",
        )
    _check_fields(doing, raw, _FIELDS)
    gpu = dict(raw["gpu"]) if isinstance(raw.get("gpu"), Mapping) else raw.get("gpu")
    resource, kinds = "", {}
    if isinstance(gpu, dict):
        resource = gpu.pop("resource", "nvidia.com/gpu")
        kinds = _read_kinds(f"{doing}, gpu.kinds", gpu.pop("kinds", {}), resource)
    return ImageProfile(
        key=key,
        display_name=_typed(doing, "display_name", raw.get("display_name", key), str),
        description=_typed(doing, "description", raw.get("description", ""), str),
        image=_required_text(doing, "image", raw.get("image")),
        cpu=_read_range(f"{doing}, cpu", raw.get("cpu"), read_cores),
        memory=_read_range(f"{doing}, memory", raw.get("memory"), read_bytes),
        gpu=None if gpu is None else _read_range(f"{doing}, gpu", gpu, read_count),
        gpu_resource=_typed(doing, "gpu.resource", resource, str),
        node_selector=dict(_typed(doing, "node_selector", raw.get("node_selector", {}), dict)),
        tolerations=tuple(_typed(doing, "tolerations", raw.get("tolerations", []), list)),
        simulated=_typed(doing, "simulated", raw.get("simulated", False), bool),
        kinds=kinds,
    )


def _read_kinds(doing: str, raw: Any, resource: str) -> dict[str, GpuKind]:
    kinds: dict[str, GpuKind] = {}
    for key, given in _typed(doing, "kinds", raw, dict).items():
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise InputError(
                doing,
                f"{key!r} is not a plain word",
                "use lower-case letters, digits and single hyphens, a letter first",
            )
        within = f"{doing}.{key}"
        _check_fields(within, given, _KIND_FIELDS)
        kinds[key] = GpuKind(
            key=key,
            display_name=_typed(within, "display_name", given.get("display_name", key), str),
            resource=_typed(within, "resource", given.get("resource", resource), str),
            node_selector=dict(
                _typed(within, "node_selector", given.get("node_selector", {}), dict)
            ),
            tolerations=tuple(_typed(within, "tolerations", given.get("tolerations", []), list)),
        )
    return kinds


def _read_range(doing: str, raw: Any, read: Callable[[object], float]) -> Range:
    _check_fields(doing, raw, _RANGE_FIELDS)
    values: dict[str, float] = {}
    for name, value in raw.items():
        try:
            values[name] = read(value)
        except ValueError as error:
            raise InputError(doing, f"{name}: {error}", "correct it") from error
    missing = [name for name in ("min", "max") if name not in values]
    if missing:
        raise InputError(doing, f"{' and '.join(missing)} missing", "set both min and max")
    minimum, maximum = values["min"], values["max"]
    default = values.get("default", minimum)
    if not minimum <= default <= maximum:
        raise InputError(
            doing,
            f"min {raw['min']!r}, default {raw.get('default', raw['min'])!r} and max "
            f"{raw['max']!r} are not in this order",
            "let min <= default <= max",
        )
    return Range(minimum, maximum, default, values.get("guarantee"))


def _check_fields(doing: str, raw: Any, known: frozenset[str]) -> None:
    if not isinstance(raw, Mapping):
        raise InputError(
            doing, f"it is {type(raw).__name__}, not a dict", f"give {', '.join(sorted(known))}"
        )
    unknown = sorted(str(name) for name in set(raw) - known)
    if unknown:
        raise InputError(
            doing,
            f"{', '.join(unknown)} is not a field of it",
            f"the fields are {', '.join(sorted(known))}",
        )


def _typed(doing: str, name: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise InputError(doing, f"{name} is {type(value).__name__}", f"give it as {kind.__name__}")
    return value


def _required_text(doing: str, name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(doing, f"{name} is missing", f"set {name} to an image reference")
    return value
