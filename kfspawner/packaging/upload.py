"""A blob's way into a registry: by chunks, and after a break on from where the registry is."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import IO, NoReturn

import httpx

from kfspawner.errors import RegistryBusy, RegistryError, RegistryUnreachable
from kfspawner.packaging.conversation import (
    PERSISTENCE,
    STORING,
    Ask,
    Content,
    Conversation,
    is_busy,
)
from kfspawner.packaging.manifest import Descriptor

# What is not larger goes in one request. What breaks costs at most that much again.
_CHUNK = 32 * 2**20
_PIECE = 2**20
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")

# Opens a blob for reading from that byte on.
Reading = Callable[[int], AbstractContextManager[Iterator[bytes]]]


def read_file(file: IO[bytes]) -> Reading:
    """Return the way to read a blob that is in an open file; one reader at once."""

    def pieces(start: int) -> Iterator[bytes]:
        file.seek(start)
        while piece := file.read(_PIECE):
            yield piece

    return lambda start: contextlib.nullcontext(pieces(start))


class Upload:
    """One blob that a repository is to have.

    Parameters
    ----------
    line
        The registry.
    start
        The request that opens an upload there.
    blob
        What is sent: its digest and size.
    read
        Opens it, as often as needed.
    is_there
        Says whether the repository has the blob by now, because an answer
        may be lost and the blob not.
    """

    def __init__(
        self,
        line: Conversation,
        start: Ask,
        blob: Descriptor,
        read: Reading,
        is_there: Callable[[], bool],
    ) -> None:
        self._line = line
        self._start = replace(start, attempts=1)
        self._blob = blob
        self._read = read
        self._is_there = is_there
        self._chunk = _CHUNK
        # Where the next request goes, empty without an open upload, and how
        # many bytes the registry has of it.
        self._place = ""
        self._position = 0
        self._resumed = False
        self._signed_in_again = False

    def send(self) -> None:
        """Send the blob; what broke is taken up again while that gets anywhere.

        Raises
        ------
        RegistryError
            If it failed ``PERSISTENCE`` times without one more byte there, or
            in a way that another attempt would not mend.
        """
        furthest = failures = 0
        while True:
            try:
                if not (failures and self._find_out()):
                    self._go_on()
                return
            except RegistryError as error:
                if self._position > furthest:
                    furthest, failures = self._position, 0
                failures += 1
                mends = isinstance(error, RegistryUnreachable | RegistryBusy)
                if not mends or failures == PERSISTENCE or self._line.stopped:
                    self._abandon()
                    raise
            self._line.pause(failures)

    def _go_on(self) -> None:
        if not self._place:
            self._open()
        with self._read(self._position) as content:
            rest = _Rest(content, self._start.doing)
            while (left := self._blob.size - self._position) > self._chunk:
                self._send_chunk(rest.take(self._chunk))
            # A small rest is kept, so that it can be sent again after a sign-in.
            pieces = rest.take(left)
            self._finish(b"".join(pieces) if left <= _PIECE else pieces, left)

    def _open(self) -> None:
        opened = self._line.expect(self._start, 202)
        self._follow(opened)
        if not self._place:
            raise RegistryError(
                self._start.doing, "it names no place to upload to", "ask who runs the registry"
            )
        self._position, self._resumed = 0, False
        least = opened.headers.get("OCI-Chunk-Min-Length", "")
        self._chunk = max(self._chunk, int(least) if least.isdecimal() else 0)

    def _find_out(self) -> bool:
        """Learn how far the registry is; say whether it has the whole blob already."""
        if self._is_there():
            return True
        if not self._place:
            return False
        ask = replace(self._start, method="GET", url=self._place)
        told = self._line.send(ask)
        has = _length(told)
        if told.status_code == 204 and has is not None and has <= self._blob.size:
            self._follow(told)
            self._position = has
            self._resumed = self._resumed or has > 0
        elif is_busy(told):
            self._line.check(ask, told)
        else:
            # Some registries forget an upload that broke in the middle of a chunk.
            self._forget()
        return False

    def _send_chunk(self, pieces: Iterator[bytes]) -> None:
        first, size = self._position, self._chunk
        ask = self._ask("PATCH", self._place, pieces, size)
        ask.headers["Content-Range"] = f"{first}-{first + size - 1}"
        response = self._line.send(ask)
        if response.status_code != 202:
            self._fail(ask, response)
        self._signed_in_again = False
        self._follow(response)
        has = _length(response)
        self._position = first + size if has is None else min(has, first + size)
        if self._position != first + size:
            raise RegistryBusy(ask.doing, "it took a part of a chunk only", "try again")

    def _finish(self, content: Content, size: int) -> None:
        url = f"{self._place}{'&' if '?' in self._place else '?'}digest={self._blob.digest}"
        ask = self._ask("PUT", url, content, size)
        response = self._line.send(ask)
        if response.status_code != 201:
            self._fail(ask, response)
        check_stored(ask, response, self._blob.digest)

    def _ask(self, method: str, url: str, content: Content, size: int) -> Ask:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        return replace(
            self._start, method=method, url=url, headers=headers, content=content, patience=STORING
        )

    def _fail(self, ask: Ask, response: httpx.Response) -> NoReturn:
        """Raise what `response` means; what may be mended here is a busy registry."""
        status = response.status_code
        mends = status in {404, 416}
        if status == 401 and not self._signed_in_again:
            # What was streamed is gone; the next request has the new token.
            self._signed_in_again = mends = True
        elif status == 416 and not self._position:
            # It has a single byte, and tells that as if it had none.
            self._abandon()
        elif status in {400, 405, 501} and (self._resumed or ask.method == "PATCH"):
            # It takes no chunks, or has put them together wrongly: once more, in one piece.
            self._abandon()
            self._chunk, mends = max(self._chunk, self._blob.size), True
        try:
            self._line.check(ask, response)
        except RegistryError as error:
            if mends:
                raise RegistryBusy(error.doing, error.cause, error.way_out) from error
            raise
        raise AssertionError("no status is good here")

    def _follow(self, response: httpx.Response) -> None:
        """Take the place for the next request from `response`, if it names one."""
        location = response.headers.get("Location")
        if location:
            self._place = str(response.url.join(location))

    def _forget(self) -> None:
        self._place, self._position, self._resumed = "", 0, False

    def _abandon(self) -> None:
        """Give back the upload, if there is one; it is only a courtesy."""
        if self._place and not self._line.stopped:
            with contextlib.suppress(RegistryError):
                ask = replace(self._start, method="DELETE", url=self._place, attempts=2)
                self._line.send(ask)
        self._forget()


class _Rest:
    """What is left of a blob that is being read."""

    def __init__(self, content: Iterator[bytes], doing: str) -> None:
        self._content = content
        self._doing = doing
        self._piece = b""

    def take(self, size: int) -> Iterator[bytes]:
        """Yield the next `size` bytes."""
        while size > 0:
            piece = self._piece or next(self._content, b"")
            if not piece:
                raise RegistryError(
                    self._doing, "there is less of the blob than was announced", "try again"
                )
            self._piece = piece[size:]
            yield piece[:size]
            size -= min(size, len(piece))


def check_stored(ask: Ask, response: httpx.Response, digest: str) -> None:
    """Raise if the registry says that it stored something else than `digest`."""
    stored = response.headers.get("Docker-Content-Digest", digest)
    if stored != digest:
        raise RegistryError(
            ask.doing,
            f"it was stored as {stored[:80]} and not as {digest}",
            "use a registry that keeps what it is given",
        )


def _length(response: httpx.Response) -> int | None:
    """Return how many bytes the registry says it has, or None if it does not say.

    An empty upload and one of a single byte are told in the same words.
    """
    found = _RANGE.fullmatch(response.headers.get("Range", ""))
    last = int(found[1]) if found else None
    return last + 1 if last else last
