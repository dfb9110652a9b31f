"""Quantities as the API server writes them back, so that what stands there can be compared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from kfspawner.quantity import read_quantity

_DECIMAL = ("m", "", "k", "M", "G", "T", "P", "E")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_EXPONENT = ("e-3", "", "e3", "e6", "e9", "e12", "e15", "e18")
_HAS_EXPONENT = re.compile(r".*[eE][-+]?[0-9]+")
# What the API server keeps of quotas and limits: thousandths, below 2^63.
_STEP = Fraction(1, 1000)
_LIMIT = 2**63


def canonical_quantity(value: object) -> str:
    """Return a quantity as the API server writes it back: ``1000m`` is ``1``.

    Raises
    ------
    ValueError
        If `value` is no quantity, below 0, or more than Kubernetes counts.
    """
    amount = read_quantity(value)
    if amount < 0:
        raise ValueError(f"{value!r} is below 0")
    if amount >= _LIMIT:
        raise ValueError(f"{value!r} is more than Kubernetes counts")
    text = str(value)
    # The server keeps the way it was written, but fractions are no matter of 1024.
    if text.endswith("i") and amount >= 1024 and amount.denominator == 1:
        return _show(amount.numerator, 1024, _BINARY)
    steps = -(-amount // _STEP)  # rounded up, as the server does
    return _show(steps, 1000, _EXPONENT if _HAS_EXPONENT.fullmatch(text) else _DECIMAL)


def _show(number: int, base: int, units: Sequence[str]) -> str:
    if not number:
        return "0"
    position = 0
    while number % base == 0 and position + 1 < len(units):
        number, position = number // base, position + 1
    return f"{number}{units[position]}"
