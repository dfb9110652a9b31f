"""A tar archive as it is written: hashed, compressed and kept, a mebibyte at a time."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO

from kfspawner.errors import SourceRefused
from kfspawner.packaging.gzip import Gzip

CHUNK = 2**20

# Whom the files belong to: the one user that everything of ours runs as.
_UID, _GID = 1000, 100
# What is larger goes to a file, so that memory is bounded.
_IN_MEMORY = 8 * CHUNK


class Archive:
    """A gzipped tar archive that is written from its first entry to its last.

    Use it in a ``with``: what a failure leaves behind is gone at its end.
    Entries have uid 1000, no time, and a mode that says no more than whether
    they can be executed.

    Attributes
    ----------
    kept
        The compressed bytes: in memory up to 8 MiB, otherwise in a temporary
        file without a name. Whoever takes it closes it.
    size
        How many bytes these are.
    """

    def __init__(self) -> None:
        self.kept: IO[bytes] = io.BytesIO()
        self.size = 0
        self._plain, self._packed = hashlib.sha256(), hashlib.sha256()
        self._plain_size = 0
        self._gzip = Gzip(self._keep)

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._gzip.close()
        if kind is not None:
            self.kept.close()

    @property
    def digest(self) -> str:
        """``sha256:…`` of the compressed bytes; of all of them after `finish`."""
        return f"sha256:{self._packed.hexdigest()}"

    @property
    def diff_id(self) -> str:
        """``sha256:…`` of the bytes before compression; of all of them after `finish`."""
        return f"sha256:{self._plain.hexdigest()}"

    def add_directory(self, name: str) -> None:
        """Add a directory that everyone may enter."""
        self._write(_header(name, tarfile.DIRTYPE, 0o755))

    def add_link(self, name: str, target: str) -> None:
        """Add a symbolic link to `target`."""
        self._write(_header(name, tarfile.SYMTYPE, 0o777, target=target))

    def add_bytes(self, name: str, content: bytes) -> None:
        """Add a file that holds `content`."""
        self._write(_header(name, tarfile.REGTYPE, 0o644, size=len(content)))
        self._write(content)
        self._pad(tarfile.BLOCKSIZE)

    def add_file(self, name: str, path: Path) -> None:
        """Add the file at `path`; set-user-ID and its like are not kept.

        Raises
        ------
        SourceRefused
            If it cannot be read, is no plain file, or becomes shorter meanwhile.
        """
        doing = f"adding {path} to a layer"
        try:
            # Neither a link that took the file's place is followed, nor is a pipe waited for.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 -- by descriptor
                self._copy(name, file, doing)
        except OSError as error:
            raise SourceRefused(
                doing, error.strerror or "it cannot be read", "make it readable, or leave it out"
            ) from error

    def finish(self) -> None:
        """Write the end of the archive."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._pad(tarfile.RECORDSIZE)
        self._gzip.finish()

    def _copy(self, name: str, file: IO[bytes], doing: str) -> None:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise SourceRefused(doing, "it is no plain file", "leave it out")
        mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
        self._write(_header(name, tarfile.REGTYPE, mode, size=found.st_size))
        left = found.st_size
        while left:
            chunk = file.read(min(left, CHUNK))
            if not chunk:
                raise SourceRefused(
                    doing, "it became shorter while it was read", "try again once it is written"
                )
            left -= len(chunk)
            self._write(chunk)
        self._pad(tarfile.BLOCKSIZE)

    def _pad(self, block: int) -> None:
        self._write(bytes(-self._plain_size % block))

    def _write(self, data: bytes) -> None:
        self._plain.update(data)
        self._plain_size += len(data)
        self._gzip.write(data)

    def _keep(self, packed: bytes) -> None:
        self._packed.update(packed)
        self.size += len(packed)
        try:
            if self.size > _IN_MEMORY and isinstance(self.kept, io.BytesIO):
                begun = self.kept.getbuffer()
                self.kept = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by who takes it
                self.kept.write(begun)
            self.kept.write(packed)
        except OSError as error:
            raise SourceRefused(
                "making a layer",
                error.strerror or "it cannot be kept",
                f"make room in {tempfile.gettempdir()}, or leave something out",
            ) from error


def _header(name: str, kind: bytes, mode: int, *, size: int = 0, target: str = "") -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.linkname = kind, mode, size, target
    entry.uid, entry.gid = _UID, _GID
    entry.mtime = 0
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8")
