"""How much of a node a run may use."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kfspawner.errors import OptionRefused
from kfspawner.quantity import read_quantity

GPU = "nvidia.com/gpu"
# What a run gets that asks for nothing: enough to import a framework and fit a
# small model, and little enough to find a place. A pod without any would be the
# first to be evicted, and refused where a quota counts these.
DEFAULT_CPU = "1"
DEFAULT_MEMORY = "2Gi"

_LEAST_CPU = Fraction(1, 1000)
# Less than this starts no Python.
_LEAST_MEMORY = 2**20
_MOST_GPUS = 1024


@dataclass(frozen=True)
class Resources:
    """What a run asks for, and at the same time the most it gets.

    Attributes
    ----------
    cpu
        Cores as Kubernetes writes them, ``"2"``, ``"0.5"`` or ``"500m"``; None for 1.
    memory
        Bytes as Kubernetes writes them, ``"4Gi"``; None for 2Gi.
    gpu
        How many whole GPUs.

    Raises
    ------
    OptionRefused
        If one is not an amount of its kind.
    """

    cpu: str | None = None
    memory: str | None = None
    gpu: int = 0

    def __post_init__(self) -> None:
        if self.cpu is not None:
            _check_cpu(self.cpu)
        if self.memory is not None:
            _check_memory(self.memory)
        if isinstance(self.gpu, bool) or not isinstance(self.gpu, int):
            raise _refused("gpu", self.gpu, "a run takes whole GPUs", "give a number such as 1")
        if not 0 <= self.gpu <= _MOST_GPUS:
            raise _refused(
                "gpu",
                self.gpu,
                f"that is not between 0 and {_MOST_GPUS}",
                "give a number such as 1",
            )

    @classmethod
    def parse(cls, cpu: object = None, memory: object = None, gpu: object = 0) -> Resources:
        """Return the resources that a person asks for; numbers are taken as their text.

        Raises
        ------
        OptionRefused
            If one is not an amount of its kind.
        """
        count = int(gpu) if isinstance(gpu, str) and gpu.isdecimal() and len(gpu) < 8 else gpu
        return cls(_text(cpu), _text(memory), count)  # type: ignore[arg-type]

    def to_manifest(self) -> dict[str, dict[str, str]]:
        """Return a container's ``resources``: requests and limits alike."""
        given = {"cpu": self.cpu or DEFAULT_CPU, "memory": self.memory or DEFAULT_MEMORY}
        if self.gpu:
            given[GPU] = str(self.gpu)
        return {"requests": dict(given), "limits": dict(given)}


def _amount(text: str) -> Fraction | None:
    with suppress(ValueError):
        return read_quantity(text)
    return None


def _text(given: object) -> str | None:
    return None if given is None else str(given)


def _check_cpu(text: str) -> None:
    cores = _amount(text) if re.fullmatch(r"[0-9.]+m?", text) else None
    if cores is None or cores < _LEAST_CPU:
        raise _refused(
            "cpu", text, "that is not a number of cores", "try --cpu 2, --cpu 0.5 or --cpu 500m"
        )


def _check_memory(text: str) -> None:
    size = _amount(text) if re.fullmatch(r"[0-9.]+[kKMGTPEi]*", text) else None
    if size is None:
        raise _refused(
            "memory", text, "that is not an amount of memory", "try --memory 4Gi or --memory 512Mi"
        )
    if size < _LEAST_MEMORY:
        raise _refused(
            "memory",
            text,
            "that is less than one MiB; without a unit it counts bytes",
            f"try --memory {text}Gi" if text.isdigit() and size else "try --memory 1Gi",
        )


def _refused(option: str, value: Any, cause: str, way_out: str) -> OptionRefused:
    return OptionRefused(f"reading --{option} {str(value)[:40]!r}", cause, way_out)
