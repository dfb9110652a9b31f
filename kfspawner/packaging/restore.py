"""Back again: an image of a run gives its code back, and tells whose it was."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import posixpath
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from kfspawner.errors import OptionRefused, RegistryError
from kfspawner.packaging.image import BASE_LABEL, LAYER_ANNOTATION, SOURCE
from kfspawner.packaging.manifest import Descriptor, Manifest
from kfspawner.packaging.provenance import Provenance
from kfspawner.packaging.registry import Registry
from kfspawner.packaging.source import RUN_DIR
from kfspawner.reference import Reference

# What comes out of a layer may be far larger than the layer.
_SIZE_LIMIT = 2**30
_COUNT_LIMIT = 100_000
_CHUNK = 2**20


@dataclass(frozen=True)
class Restored:
    """A run's code on disk again.

    Attributes
    ----------
    folder
        Where it is.
    image
        The image it came from, by digest.
    base
        The image that that one stands on, by digest.
    command
        What the image runs.
    provenance
        Where the code had come from, as far as the image tells.
    """

    folder: Path
    image: Reference
    base: str
    command: tuple[str, ...]
    provenance: Provenance


def restore(registry: Registry, image: Reference, folder: Path) -> Restored:
    """Write the code of a run's `image` into `folder`, which is new or empty.

    Nothing is there before all of it came, and was what its digest says.

    Parameters
    ----------
    registry
        Where the image is.
    image
        Its reference there.
    folder
        Where to put the files, with the paths that they have in the run's
        directory.

    Raises
    ------
    OptionRefused
        If the image is none of a run, or `folder` is in use or cannot be made.
    RegistryError
        If there is no such image, or its layer is not one that we make: then
        it may be meant to do harm.
    """
    doing = f"restoring {image}"
    found = registry.resolve(image)
    image = image.at(found.digest)
    labels, command = _read_config(registry, image, found, doing)
    layer = _choose_layer(found, labels, doing)
    with _new_folder(folder, doing) as place, registry.open_blob(image.repository, layer) as pieces:
        _unpack(cast(IO[bytes], _File(pieces)), place, doing)
        for _ in pieces:
            pass  # the last piece comes only if all of them are what they should be
    return Restored(
        folder,
        image,
        labels.get(BASE_LABEL, ""),
        command,
        Provenance.parse(labels),
    )


def _read_config(
    registry: Registry, image: Reference, found: Manifest, doing: str
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the labels and the command of an image."""
    content = registry.read_blob(image.repository, found.config)
    try:
        settings = json.loads(content).get("config") or {}
        labels = dict(settings.get("Labels") or {})
        command = tuple(map(str, settings.get("Cmd") or ()))
        return {str(name): str(value) for name, value in labels.items()}, command
    except (ValueError, TypeError, AttributeError) as error:
        raise _malformed(doing, "its config is broken") from error


def _choose_layer(found: Manifest, labels: Mapping[str, str], doing: str) -> Descriptor:
    """Return the layer with the code: the topmost that says so, or that of a run's image."""
    for layer in reversed(found.layers):
        annotations = layer.fields.get("annotations")
        if isinstance(annotations, dict) and annotations.get(LAYER_ANNOTATION) == SOURCE:
            return layer
    if BASE_LABEL in labels and found.layers:
        return found.layers[-1]  # Docker's manifests have no annotations
    raise OptionRefused(doing, "it is not the image of a run", "give the image of one")


@contextlib.contextmanager
def _new_folder(folder: Path, doing: str) -> Iterator[Path]:
    """Yield a place to write to that becomes `folder` if all goes well, or is gone."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(errno.EEXIST, "there is something in it")
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.mkdtemp(prefix=".kfspawner-", dir=folder.parent)
        try:
            place = Path(beside, "files")
            place.mkdir()
            yield place
            place.rename(folder)  # an empty one gives way
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise OptionRefused(
            doing,
            f"{folder}: {error.strerror or error}",
            "give a folder that is new or empty, where there is room",
        ) from error


def _unpack(layer: IO[bytes], place: Path, doing: str) -> None:
    """Write what is in `layer` below `place`, and nothing anywhere else.

    While files are written there are no links that could lead elsewhere.
    """
    links: dict[str, str] = {}
    size = 0
    try:
        with tarfile.open(fileobj=layer, mode="r|gz", bufsize=_CHUNK) as archive:
            for count, entry in enumerate(archive):
                size += entry.size
                if size > _SIZE_LIMIT or count > _COUNT_LIMIT:
                    raise _malformed(doing, "there is more in it than a run takes")
                path = _path_of(entry, doing)
                if path is None:
                    continue
                if entry.issym():
                    links[path] = entry.linkname
                else:
                    _write(archive, entry, place / path)
    except (tarfile.TarError, zlib.error, EOFError, FileExistsError, NotADirectoryError) as error:
        raise _malformed(doing, f"its layer is broken ({error})") from error
    for path, target in links.items():
        if not _stays(path, target, links):
            raise _malformed(doing, f"the link {path!r} leads out of it")
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            (place / path).symlink_to(target)
        except FileExistsError as error:
            raise _malformed(doing, f"{path!r} is in it twice") from error


def _path_of(entry: tarfile.TarInfo, doing: str) -> str | None:
    """Return where below the run's directory `entry` belongs; None for that directory."""
    top = f"{RUN_DIR.strip('/')}/"
    path = entry.name.removeprefix(top)
    if f"{entry.name}/" == top and entry.isdir():
        return None
    parts = path.split("/")
    plain = not any(part in {"", ".", ".."} or part.startswith(".wh.") for part in parts)
    if path == entry.name or not plain or "\0" in path:
        raise _malformed(doing, f"{entry.name[:200]!r} is no file of a run's code")
    if not (entry.isreg() or entry.isdir() or entry.issym()):
        raise _malformed(doing, f"{path[:200]!r} is neither a file nor a folder")
    return path


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    if entry.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o777 if entry.mode & 0o100 else 0o666  # and what the umask leaves of it
    content = archive.extractfile(entry)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        if content:
            shutil.copyfileobj(content, file, _CHUNK)


def _stays(path: str, target: str, links: Mapping[str, str]) -> bool:
    """Say whether a link leads to a place in the tree, without a detour by another link."""
    there = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if target.startswith("/") or there.startswith("../") or there == ".." or "\0" in target:
        return False
    walked = posixpath.join(posixpath.dirname(path), target).split("/")
    ways = {posixpath.normpath("/".join(walked[:end])) for end in range(1, len(walked))}
    return ways.isdisjoint(links)


class _File:
    """Pieces, as a file that is read from the front."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer at the end."""
        taken = [self._rest]
        length = len(self._rest)
        while length < size and (piece := next(self._pieces, b"")):
            taken.append(piece)
            length += len(piece)
        whole = b"".join(taken)
        self._rest = whole[size:]
        return whole[:size]


def _malformed(doing: str, cause: str) -> RegistryError:
    return RegistryError(doing, cause, "restore the image of another run")
