"""Gzip on several cores, with the same bytes however many they are.

The data is cut into blocks of one size. Each is compressed by itself, but
with the end of the one before it as a dictionary, and is closed at a byte, so
that all of them in a row are one stream.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

BLOCK = 2**20

# Code is small and networks in a cluster are fast: time counts, size does not.
_LEVEL = 1
_WINDOW = 2**15
# More cores than that wait for the one that reads and hashes.
_THREADS = 4
# Deflate, no name, no time, the fastest level, Unix.
_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\x04\x03"


class Gzip:
    """Compresses what is written to it, and passes that on in order.

    What is not larger than a block needs no thread.

    Parameters
    ----------
    keep
        Takes the compressed bytes. It is called by `write` and `finish`.
    threads
        How many compress at once; as many as this process may use, up to 4,
        unless given.
    """

    def __init__(self, keep: Callable[[bytes], None], threads: int | None = None) -> None:
        self._keep = keep
        self._threads = threads or min(_THREADS, len(os.sched_getaffinity(0)))
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[bytes]] = deque()
        self._block, self._before = bytearray(), b""
        self._sum, self._size = 0, 0
        keep(_HEAD)

    def write(self, data: bytes) -> None:
        """Compress `data`, now or with what comes next."""
        self._sum = zlib.crc32(data, self._sum)
        self._size += len(data)
        self._block += data
        # The last block is `finish`'s, and may be a whole one.
        while len(self._block) > BLOCK:
            block = bytes(self._block[:BLOCK])
            del self._block[:BLOCK]
            self._begin(block)

    def finish(self) -> None:
        """Compress the rest."""
        while self._waiting:
            self._keep(self._waiting.popleft().result())
        self._keep(_compress(bytes(self._block), self._before, zlib.Z_FINISH))
        self._keep(struct.pack("<II", self._sum, self._size % 2**32))

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _begin(self, block: bytes) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="kfspawner-gzip")
        if len(self._waiting) > self._threads:
            self._keep(self._waiting.popleft().result())
        self._waiting.append(self._pool.submit(_compress, block, self._before, zlib.Z_SYNC_FLUSH))
        self._before = (self._before + block)[-_WINDOW:]


def _compress(block: bytes, before: bytes, end: int) -> bytes:
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=before)
    return stream.compress(block) + stream.flush(end)
