"""Files become a layer: the same files, the same bytes, every time."""

from __future__ import annotations

import hashlib
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from kfspawner.errors import SourceRefused
from kfspawner.packaging.archive import CHUNK, Archive
from kfspawner.packaging.source import RUN_DIR

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

# What the name of a file that is gone starts with.
_DELETED = ".wh."
# As many links, one to the next, as Linux itself follows.
_HOPS = 40


@dataclass(frozen=True)
class Link:
    """A symbolic link; `target` is a path relative to the directory that it is in."""

    target: str


@dataclass(frozen=True)
class Deletion:
    """What the layers below have at this place is gone."""


# Bytes as they are, a file on disk that is read when its turn comes, a link, or nothing.
Content = bytes | Path | Link | Deletion


@dataclass(frozen=True)
class Layer:
    """One layer of an image. A large one is a temporary file until it is closed.

    Attributes
    ----------
    digest
        ``sha256:…`` of the gzipped tar archive: what a manifest names.
    diff_id
        ``sha256:…`` of the archive before compression: what a config names.
    size
        The number of bytes after compression.
    media_type
        What it is, in the OCI image specification's words.
    """

    digest: str
    diff_id: str
    size: int
    kept: IO[bytes] = field(repr=False, compare=False)
    media_type: str = MEDIA_TYPE

    def __enter__(self) -> Layer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kept.close()

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes from the first, a mebibyte at a time. One reader at once."""
        self.kept.seek(0)
        while chunk := self.kept.read(CHUNK):
            yield chunk

    @property
    def data(self) -> bytes:
        """All of its bytes."""
        return b"".join(self.chunks())


def sha256(data: bytes) -> str:
    """Return the digest of `data` as OCI writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def make_layer(files: Mapping[str, Content], root: str = RUN_DIR) -> Layer:
    """Return a layer that puts `files` under `root`. Close it, or use it in a ``with``.

    It is written a mebibyte at a time: memory does not grow with the files.

    Parameters
    ----------
    files
        POSIX paths relative to `root`, and what is there.
    root
        An absolute directory. It belongs to uid 1000 in the image; the
        directories above it are not in the layer, so they stay as the base
        has them. With ``/`` that goes for every directory.

    Raises
    ------
    SourceRefused
        If there are no files, one cannot be read, or a path or a link leaves
        `root`, means something else to an image than to a file system, or
        collides with another one.
    """
    _check(files)
    top = root.strip("/")
    with Archive() as archive:
        if top:
            for name in sorted({top, *(f"{top}/{parent}" for parent in _parents(files))}):
                archive.add_directory(name)
        for path in sorted(files):
            name, content = posixpath.join(top, path), files[path]
            if isinstance(content, Deletion):
                above, _, last = name.rpartition("/")
                archive.add_bytes(posixpath.join(above, f"{_DELETED}{last}"), b"")
            elif isinstance(content, Link):
                archive.add_link(name, content.target)
            elif isinstance(content, Path):
                archive.add_file(name, content)
            else:
                archive.add_bytes(name, content)
        archive.finish()
    return Layer(archive.digest, archive.diff_id, archive.size, archive.kept)


def _parents(paths: Iterable[str]) -> set[str]:
    """Return every directory that leads to one of `paths`."""
    found: set[str] = set()
    for path in paths:
        parent = posixpath.dirname(path)
        while parent:
            found.add(parent)
            parent = posixpath.dirname(parent)
    return found


def _check(files: Mapping[str, Content]) -> None:
    if not files:
        raise SourceRefused("making a layer", "there are no files", "give at least one")
    seen: dict[str, str] = {}
    for path in files:
        fault = _fault(path)
        if fault:
            raise SourceRefused(f"adding {path!r} to a layer", fault, "rename or leave it out")
        twin = seen.setdefault(unicodedata.normalize("NFC", path), path)
        if twin != path:
            raise SourceRefused(
                f"adding {path!r} to a layer",
                f"{twin!r} spells the same name with other Unicode characters",
                "rename one of them",
            )
    both = sorted(_parents(seen) & seen.keys())
    if both:
        raise SourceRefused(
            f"adding {both[0]!r} to a layer",
            "it would be a file and a directory",
            "rename one of them",
        )
    links = {path: content.target for path, content in files.items() if isinstance(content, Link)}
    for path, target in links.items():
        if _leaves(path, links):
            raise SourceRefused(
                f"adding the link {path!r} to a layer",
                f"it leads out of its directory, to {target!r}",
                "put what it leads to in its place, or leave it out",
            )


def _leaves(path: str, links: Mapping[str, str]) -> bool:
    """Say whether following the link at `path` leads out of the tree, or never ends."""
    here: list[str] = []
    ahead, hops = path.split("/"), 0
    while ahead:
        part = ahead.pop(0)
        if part == "..":
            if not here:
                return True
            here.pop()
        elif part not in {"", "."}:
            here.append(part)
            target = links.get("/".join(here))
            if target is not None:
                hops += 1
                if target.startswith("/") or hops > _HOPS:
                    return True
                here.pop()
                ahead = [*target.split("/"), *ahead]
    return False


def _fault(path: str) -> str | None:
    """Return why an image cannot hold a file at `path`, or None."""
    parts = path.split("/")
    if path.startswith("/"):
        return "it is an absolute path"
    if ".." in parts:
        return "it leads out of its directory"
    if "" in parts or "." in parts or "\0" in path:
        return "it is not a plain relative path to a file"
    if any(part.startswith(_DELETED) for part in parts):
        return "names that start with .wh. mean deletions to an image"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "it is not Unicode text"
    return None
