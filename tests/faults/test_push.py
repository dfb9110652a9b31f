"""A registry that goes away in the middle of a push: the push waits, and ends well."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from deploy.node import layout as at
from kfspawner.packaging import Registry
from kfspawner.packaging.layer import sha256
from kfspawner.packaging.manifest import Descriptor
from tests.cluster.cluster import Cluster
from tests.faults.node import supervise

MIB = 2**20
# Three chunks, and the same bytes every time, so that the registry keeps them once.
CONTENT = random.Random(7).randbytes(96 * MIB)
REPOSITORY = "faults/push"
# Seconds for which the registry is away.
AWAY = 3.0


@pytest.fixture
def registry(cluster: Cluster) -> Iterator[Registry]:
    with Registry(at.REGISTRY, plain_http=True) as registry:
        yield registry


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(50 * MIB, id="in a chunk"),
        pytest.param(64 * MIB, id="between two", marks=pytest.mark.long),
    ],
)
def test_a_push_outlasts_the_registry(registry: Registry, place: int) -> None:
    back = threading.Timer(AWAY, supervise, ["start", "registry"])

    def read(start: int) -> AbstractContextManager[Iterator[bytes]]:
        def pieces() -> Iterator[bytes]:
            for here in range(start, len(CONTENT), MIB):
                if here == place and not back.ident:
                    supervise("stop", "registry")
                    back.start()
                yield CONTENT[here : here + MIB]

        return contextlib.nullcontext(pieces())

    blob = Descriptor.parse({"mediaType": "any", "digest": sha256(CONTENT), "size": len(CONTENT)})
    try:
        registry.upload_blob(REPOSITORY, blob, read)
    finally:
        if back.ident:
            back.join()
    assert back.ident, "the registry was away"
    # Each byte of it is there: the last piece comes only if the digest is right.
    with registry.open_blob(REPOSITORY, blob) as pieces:
        assert sum(map(len, pieces)) == len(CONTENT)
