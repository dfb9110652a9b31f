"""Files become a layer: the same files, the same bytes, every time."""

from __future__ import annotations

import hashlib
import io
import posixpath
import tarfile
import unicodedata
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kfspawner.errors import SourceRefused
from kfspawner.packaging.source import RUN_DIR

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

# Whom the files belong to: the one user that everything of ours runs as.
_UID, _GID = 1000, 100
# Code is small and networks in a cluster are fast: time counts, size does not.
_COMPRESSION = 1
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class Layer:
    """One layer of an image, in memory.

    Attributes
    ----------
    data
        The gzipped tar archive.
    digest
        ``sha256:…`` of `data`: what a manifest names.
    diff_id
        ``sha256:…`` of the archive before compression: what a config names.
    media_type
        What `data` is, in the OCI image specification's words.
    """

    data: bytes
    digest: str
    diff_id: str
    media_type: str = MEDIA_TYPE

    @property
    def size(self) -> int:
        """The number of bytes in `data`."""
        return len(self.data)


def sha256(data: bytes) -> str:
    """Return the digest of `data` as OCI writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def make_layer(files: Mapping[str, bytes], root: str = RUN_DIR) -> Layer:
    """Return a layer that puts `files` under `root`.

    Parameters
    ----------
    files
        POSIX paths relative to `root`, and what is in them.
    root
        An absolute directory. It belongs to uid 1000 in the image; the
        directories above it are not in the layer, so they stay as the base
        has them.

    Raises
    ------
    SourceRefused
        If there are no files, or a path leaves `root`, means something else to
        an image than to a file system, or collides with another one.
    """
    _check(files)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        top = root.strip("/")
        for name in sorted({top, *(f"{top}/{parent}" for parent in _parents(files))}):
            tar.addfile(_entry(name, tarfile.DIRTYPE, 0o755))
        for path in sorted(files):
            entry = _entry(f"{top}/{path}", tarfile.REGTYPE, 0o644)
            entry.size = len(files[path])
            tar.addfile(entry, io.BytesIO(files[path]))
    plain = archive.getvalue()
    # zlib's own gzip header has no time and no name; that of the gzip module
    # differs from one Python to the next.
    gzip = zlib.compressobj(_COMPRESSION, zlib.DEFLATED, _GZIP)
    data = gzip.compress(plain) + gzip.flush()
    return Layer(data, sha256(data), sha256(plain))


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    entry.uid, entry.gid = _UID, _GID
    entry.mtime = 0
    return entry


def _parents(paths: Iterable[str]) -> set[str]:
    """Return every directory that leads to one of `paths`."""
    found: set[str] = set()
    for path in paths:
        parent = posixpath.dirname(path)
        while parent:
            found.add(parent)
            parent = posixpath.dirname(parent)
    return found


def _check(files: Mapping[str, bytes]) -> None:
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


def _fault(path: str) -> str | None:
    """Return why an image cannot hold a file at `path`, or None."""
    parts = path.split("/")
    if path.startswith("/"):
        return "it is an absolute path"
    if ".." in parts:
        return "it leads out of its directory"
    if "" in parts or "." in parts or "\0" in path:
        return "it is not a plain relative path to a file"
    if any(part.startswith(".wh.") for part in parts):
        return "names that start with .wh. mean deletions to an image"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "it is not Unicode text"
    return None
