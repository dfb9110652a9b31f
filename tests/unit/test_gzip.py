from __future__ import annotations

import gzip
import zlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfspawner.packaging import gzip as ours
from kfspawner.packaging.gzip import Gzip

DATA = st.lists(st.binary(max_size=300) | st.sampled_from([b"abc" * 200, b"\0" * 700]), max_size=30)


def compress(pieces: list[bytes], threads: int = 2) -> bytes:
    kept: list[bytes] = []
    stream = Gzip(kept.append, threads)
    for piece in pieces:
        stream.write(piece)
    stream.finish()
    stream.close()
    return b"".join(kept)


@settings(deadline=None)
@given(DATA, st.integers(1, 5), st.integers(64, 2000))
def test_bytes_come_back_and_are_the_same_on_any_machine(
    pieces: list[bytes], threads: int, block: int
) -> None:
    """Neither the cores nor the pieces that the data came in make a difference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ours, "BLOCK", block)
        made = compress(pieces, threads)
        assert made == compress([b"".join(pieces)], 1)
    assert gzip.decompress(made) == b"".join(pieces)


@given(st.binary(max_size=3000))
def test_one_block_is_what_zlib_makes(data: bytes) -> None:
    stream = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    assert compress([data]) == stream.compress(data) + stream.flush()


def test_blocks_know_what_was_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "BLOCK", 10_000)
    noise = Random(5).randbytes(10_000)
    assert len(compress([noise * 8])) < 2 * len(noise)


def test_a_failure_to_keep_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "BLOCK", 10)

    def keep(data: bytes) -> None:
        if not data.startswith(b"\x1f\x8b"):
            raise OSError("full")

    stream = Gzip(keep, 2)
    with pytest.raises(OSError, match="full"):
        stream.write(b"0123456789" * 10)
    stream.close()
