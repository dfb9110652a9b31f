"""Quantities, written as an API server of Kubernetes 1.34 wrote them back in a quota."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.profiles.quantities import canonical_quantity
from kfspawner.quantity import read_quantity


@pytest.mark.parametrize(
    ("given_", "written"),
    [
        (8, "8"),
        (0.5, "500m"),
        ("0", "0"),
        ("0Gi", "0"),
        ("+5", "5"),
        ("5.", "5"),
        (".5", "500m"),
        ("00012", "12"),
        ("8000m", "8"),
        ("1500", "1500"),
        ("1000000", "1M"),
        ("1k", "1k"),
        ("114.536k", "114536"),
        ("1024", "1024"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1536Mi", "1536Mi"),
        ("0.5Ki", "512"),
        ("0.9765625Ki", "1k"),
        ("0.1Gi", "107374182400m"),
        ("1024.5", "1024500m"),
        ("7Ei", "7Ei"),
        ("9223372036854775807", "9223372036854775807"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("1e4", "10e3"),
        ("1E", "1E"),
        ("12e-1", "1200e-3"),
        # Thousandths are the least that it keeps.
        ("1n", "1m"),
        ("1500u", "2m"),
        ("15e-4", "2e-3"),
        ("1.2345678901Gi", "1325607178168m"),
    ],
)
def test_a_quantity_is_written_as_the_server_does(given_: object, written: str) -> None:
    assert canonical_quantity(given_) == written


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ("-1", "'-1' is below 0"),
        (-0.5, "-0.5 is below 0"),
        ("8Ei", "'8Ei' is more than Kubernetes counts"),
        ("9223372036854775808", "is more than Kubernetes counts"),
        ("8 cores", "'8 cores' is not an amount"),
        (float("nan"), "nan is not an amount"),
        (float("inf"), "inf is not an amount"),
        (True, "True is not an amount"),
        (None, "None is not an amount"),
    ],
)
def test_what_is_none_is_refused(given_: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        canonical_quantity(given_)


@given(
    st.from_regex(r"[0-9]{1,6}(\.[0-9]{0,6})?", fullmatch=True),
    st.sampled_from(["", *"numkMGT", "Ki", "Mi", "Gi", "Ti", "e3", "e-3", "E2"]),
)
def test_what_is_written_stays_so_and_loses_nothing(number: str, unit: str) -> None:
    written = canonical_quantity(number + unit)

    assert canonical_quantity(written) == written
    assert 0 <= read_quantity(written) - read_quantity(number + unit) < read_quantity("1m")
