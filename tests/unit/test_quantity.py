"""Kubernetes quantities, read and shown."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.quantity import read_quantity, show_bytes, show_quantity


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2", 2),
        (2, 2),
        (0.5, Fraction(1, 2)),
        ("0", 0),
        ("500m", Fraction(1, 2)),
        ("1.5", Fraction(3, 2)),
        (".5", Fraction(1, 2)),
        ("3.", 3),
        ("+1", 1),
        ("-1", -1),
        ("100n", Fraction(1, 10**7)),
        ("7u", Fraction(7, 10**6)),
        ("1k", 1000),
        ("4M", 4 * 10**6),
        ("4G", 4 * 10**9),
        ("1E", 10**18),
        ("1E3", 1000),
        ("1e3", 1000),
        ("12e-1", Fraction(6, 5)),
        ("1Ki", 1024),
        ("1.5Gi", 1536 * 2**20),
        ("8192Mi", 8 * 2**30),
        ("2Ei", 2**61),
        # One more than a float can tell from it.
        ("9007199254740993", 2**53 + 1),
    ],
)
def test_quantities_are_read_exactly(value: object, expected: int | Fraction) -> None:
    assert read_quantity(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "Gi", "four", "4gi", "4KI", "1K", "4 Gi", "4Gi ", "1e", "1e3Gi", "1e999", "."),
        *("1_000", "٣", "0x10", "NaN", "inf", "1\n", "--1", "1/2", None, True, "1" * 65),
    ],
)
def test_what_is_none_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is not an amount such as"):
        read_quantity(value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2", "2"),
        ("2000m", "2"),
        ("1.5", "1500m"),
        ("0.0005", "500u"),
        ("1n", "1n"),
        ("0", "0"),
        ("0.1n", "1e-10"),
    ],
)
def test_numbers_are_shown(text: str, shown: str) -> None:
    assert show_quantity(read_quantity(text)) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2147483648", "2Gi"),
        ("1.5Gi", "1536Mi"),
        ("1G", "1G"),
        ("1024", "1Ki"),
        ("1000", "1k"),
        ("100", "100"),
        ("0", "0"),
        ("500m", "500m"),
        ("2147483649", "2147483649"),
    ],
)
def test_bytes_are_shown_shortly(text: str, shown: str) -> None:
    assert show_bytes(read_quantity(text)) == shown


@given(st.integers(min_value=0, max_value=2**62))
def test_what_is_shown_is_exact(number: int) -> None:
    for amount in (Fraction(number), Fraction(number, 10**9)):
        assert read_quantity(show_quantity(amount)) == amount
        assert read_quantity(show_bytes(amount)) == amount
