"""Cores and memory, as people write them and as Kubernetes takes them."""

from __future__ import annotations

import re
import sys

# JupyterHub's units: powers of 1024, with or without the "i".
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_MEMORY = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([KMGT])i?")


def read_cores(value: object) -> float:
    """Return a number of CPU cores.

    Raises
    ------
    ValueError
        If `value` is not a positive number; the text says what would be one.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{_shown(value)} is not a number of cores such as 0.5 or 2")
    # More than a float can hold is no number of cores either.
    if not 0 < value <= sys.float_info.max:
        raise ValueError(f"{_shown(value)} is not a positive number of cores")
    return float(value)


def read_bytes(value: object) -> int:
    """Return an amount of memory in bytes.

    Raises
    ------
    ValueError
        If `value` is neither a size with a unit nor a positive number of bytes.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = _MEMORY.fullmatch(value) if isinstance(value, str) else None
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{_shown(value)} is not an amount of memory such as 512M or 2G")
    return int(float(match[1]) * _UNITS[match[2]])


def read_count(value: object) -> int:
    """Return a number of devices.

    Raises
    ------
    ValueError
        If `value` is not a whole number from 0 up.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{_shown(value)} is not a whole number from 0 up")
    return value


def show_cores(cores: float) -> str:
    """Return a number of cores without a trailing zero: ``2``, ``0.5``."""
    return f"{cores:g}"


def show_bytes(amount: float) -> str:
    """Return an amount of memory in the largest unit that keeps it whole: ``1536M``."""
    number = int(amount)
    for unit, size in reversed(_UNITS.items()):
        if number >= size and number % size == 0:
            return f"{number // size}{unit}"
    return str(number)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
