"""What `kfspawner homes` tells of a home that holds more than it may."""

from __future__ import annotations

import json

import pytest

from kfspawner.homes.home import make_home_claim
from kfspawner.homes.ledger import read_claim
from kfspawner.homes.volume import make_volume
from tests.fakes.api import FakeApi
from tests.fakes.cli import kf
from tests.fakes.homes import ALICE, SERVER, SOURCE

_GIB = 2**30


@pytest.mark.parametrize(
    ("used", "over"), [(10 * _GIB, False), (10 * _GIB + 1, True), (11 * _GIB, True)]
)
def test_a_home_that_is_over_its_size_is_told(used: int, over: bool) -> None:  # noqa: FBT001
    api = FakeApi()
    claim = read_claim(api.put(make_home_claim(SOURCE, ALICE, (1000, 100))))
    assert claim
    volume = make_volume(claim, "uid-space", SERVER)
    volume["metadata"]["annotations"] |= {
        "kfspawner.io/used-bytes": str(used),
        "kfspawner.io/last-change": "2026-11-20T00:00:00+00:00",
        "kfspawner.io/measured-at": "2026-11-21T00:00:00+00:00",
    }
    api.put(volume)

    assert ("GiB (over)" in kf(api, "homes", "list").stdout) is over
    assert ("more than it may hold" in kf(api, "homes", "show", "vision", "alice").stdout) is over
    (found,) = json.loads(kf(api, "homes", "list", "-o", "json").stdout)
    assert found["over"] is over
