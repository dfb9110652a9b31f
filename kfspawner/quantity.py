"""Kubernetes quantities, read exactly and shown shortly: ``500m``, ``16Gi``, ``8``.

Not what people choose on the form: those units are JupyterHub's.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_UNITS = {
    **{unit: Fraction(10) ** power for unit, power in _DECIMAL.items()},
    **{unit: Fraction(2) ** power for unit, power in _BINARY.items()},
}
# The exponent is bounded, so that nobody can have 1e999999999 worked out.
_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))"
    r"(?:(?P<unit>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)
_LONGEST = 64


def read_quantity(value: object) -> Fraction:
    """Return the number that a quantity stands for.

    Raises
    ------
    ValueError
        If `value` is none; the text says what would be one.
    """
    text = repr(value) if isinstance(value, int | float) else value
    amount = None
    if isinstance(text, str) and not isinstance(value, bool) and len(text) <= _LONGEST:
        amount = _read(text)
    if amount is None:
        shown = repr(value)
        shown = shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."
        raise ValueError(f"{shown} is not an amount such as 8, 500m or 16Gi")
    return amount


@lru_cache(4096)
def _read(text: str) -> Fraction | None:
    """Return the number, or None; the same few are read again and again."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    if match["exponent"]:
        return Fraction(match["number"]) * Fraction(10) ** int(match["exponent"])
    return Fraction(match["number"]) * _UNITS[match["unit"] or ""]


def show_quantity(amount: Fraction) -> str:
    """Return a number in the largest unit up to one that keeps it whole: ``1500m``."""
    for unit in ("", "m", "u", "n"):
        if (amount / _UNITS[unit]).denominator == 1:
            return f"{amount / _UNITS[unit]}{unit}"
    return f"{float(amount):g}"


def show_bytes(amount: Fraction) -> str:
    """Return an amount of memory in the largest unit that keeps it whole: ``1536Mi``."""
    if amount.denominator != 1 or not amount:
        return show_quantity(amount)
    for unit in (*reversed(_BINARY), *reversed(_DECIMAL)):
        if _UNITS[unit] <= amount and (amount / _UNITS[unit]).denominator == 1:
            return f"{amount / _UNITS[unit]}{unit}"
    return str(amount)
