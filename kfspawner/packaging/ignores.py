"""A folder's files: what of them goes along with a run, and what does not.

Ignore files are read as git reads them, in every directory from the top of the
repository down; in each, ``.kfignore`` comes after ``.gitignore`` and has the
last word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from kfspawner.errors import SourceRefused
from kfspawner.packaging.withheld import why_path_withheld, why_withheld

LIMIT = 100 * 2**20

_IGNORE_FILES = (".gitignore", ".kfignore")
# What tools leave behind, and can make again.
_LEAVINGS = {"__pycache__", ".ipynb_checkpoints"}
_HISTORY = ".git"
_SHOWN = 5


@dataclass(frozen=True)
class Chosen:
    """What of a folder goes along.

    Attributes
    ----------
    files
        POSIX paths relative to the folder, and the files there, without links on the way.
    left_out
        What nobody asked to ignore and stays behind all the same: each with its reason.
    """

    files: Mapping[str, Path]
    left_out: tuple[str, ...]


def choose_files(folder: Path) -> Chosen:
    """Return the files of `folder` that its ignore files do not name. None is read.

    A link to a file inside the folder becomes that file. Links that lead
    elsewhere or to folders, sockets, pipes and devices are left out, and so is
    what no image may hold: keys, credentials, tokens, ``.env``, ``.git``.

    Raises
    ------
    SourceRefused
        If it is no folder, a folder of it cannot be read, an ignore file cannot
        be understood, or it is more than 100 MiB: with what is largest.
    """
    doing = f"packaging the folder {folder}"
    if not folder.is_dir():
        raise SourceRefused(doing, "there is no such folder", "give the path of a folder")
    left_out: list[str] = []
    try:
        top = folder.resolve()
        files = dict(_walk(_Place(top, "", _specs_above(top)), top, left_out))
        sizes = {path: file.stat().st_size for path, file in files.items()}
        if sum(sizes.values()) > LIMIT:
            raise _too_large(doing, sizes)
    except OSError as error:
        raise SourceRefused(
            f"reading {error.filename} of the folder {folder}",
            error.strerror or type(error).__name__,
            "make it readable, or name it in .kfignore",
        ) from error
    return Chosen(files, tuple(left_out))


@dataclass(frozen=True)
class _Spec:
    """The ignore files of one directory."""

    directory: Path
    patterns: GitIgnoreSpec

    def judge(self, path: Path, *, is_folder: bool) -> tuple[bool | None, bool]:
        """Say whether `path` is ignored, None for no opinion, and whether all below it is."""
        relative = path.relative_to(self.directory).as_posix()
        result = self.patterns.check_file(f"{relative}/" if is_folder else relative)
        if not result.include or result.index is None:
            return result.include, False
        # ``data/*`` and ``*`` speak of what is in a directory, and exceptions may follow.
        text = str(self.patterns.patterns[result.index].pattern)
        return True, not text.rstrip().endswith("*")


@dataclass(frozen=True)
class _Place:
    """One directory of a walk.

    Attributes
    ----------
    directory
        Where it is.
    prefix
        What its files' paths begin with in the run.
    specs
        The ignore files that speak of it, the nearest last.
    ignored
        Whether they ignore it, though perhaps not all that is in it: then its own are not read.
    """

    directory: Path
    prefix: str
    specs: Sequence[_Spec]
    ignored: bool = False


def _walk(place: _Place, top: Path, left_out: list[str]) -> Iterator[tuple[str, Path]]:
    specs = [*place.specs, *([] if place.ignored else _specs_of(place.directory))]
    with os.scandir(place.directory) as scanned:
        entries = sorted(scanned, key=lambda entry: entry.name)
    for entry in entries:
        path, name = Path(entry.path), f"{place.prefix}{entry.name}"
        is_folder = entry.is_dir(follow_symlinks=False)
        ignored, wholly = _judge(path, specs, is_folder=is_folder)
        if (ignored and (wholly or not is_folder)) or (is_folder and entry.name in _LEAVINGS):
            continue
        reason = why_withheld(entry.name, directory=is_folder) or _unfit(entry, top)
        if reason:
            left_out.append(f"{name} ({reason})")
        elif is_folder:
            yield from _walk(_Place(path, f"{name}/", specs, ignored), top, left_out)
        else:
            yield name, path.resolve()


def _judge(path: Path, specs: Sequence[_Spec], *, is_folder: bool) -> tuple[bool, bool]:
    """Say whether `path` is ignored, and whether all below it is: the nearest opinion counts."""
    for spec in reversed(specs):
        ignored, wholly = spec.judge(path, is_folder=is_folder)
        if ignored is not None:
            return ignored, wholly
    return False, False


def _unfit(entry: os.DirEntry[str], top: Path) -> str | None:
    """Return why `entry` cannot go along, or None if it can."""
    if not entry.is_symlink():
        return None if entry.is_file() or entry.is_dir() else "neither a file nor a folder"
    if entry.is_dir():
        return "a link to a folder"
    if not entry.is_file():
        return "a link to no file"
    target = Path(entry.path).resolve()
    if not target.is_relative_to(top):
        return "a link that leaves the folder"
    return why_path_withheld(target.relative_to(top).as_posix())


def _specs_above(top: Path) -> list[_Spec]:
    """Return what the directories above `top` ignore, as far as the repository reaches."""
    above = [top, *top.parents]
    for number, directory in enumerate(above):
        if (directory / _HISTORY).exists():
            return [spec for each in reversed(above[1 : number + 1]) for spec in _specs_of(each)]
    return []


def _specs_of(directory: Path) -> list[_Spec]:
    lines: list[str] = []
    for name in _IGNORE_FILES:
        file = directory / name
        if file.is_file():
            lines += file.read_text("utf-8", "surrogateescape").splitlines()
    if not lines:
        return []
    try:
        return [_Spec(directory, GitIgnoreSpec.from_lines(lines))]
    except ValueError as error:
        raise SourceRefused(
            f"reading {' and '.join(_IGNORE_FILES)} of {directory}",
            str(error).rstrip("."),
            "correct that line",
        ) from error


def _too_large(doing: str, sizes: Mapping[str, int]) -> SourceRefused:
    largest = ", ".join(f"{path} ({size / 2**20:.0f} MiB)" for path, size in _offenders(sizes))
    return SourceRefused(
        doing,
        f"it is {sum(sizes.values()) / 2**20:.0f} MiB and a run takes {LIMIT // 2**20}, "
        f"the largest being {largest}",
        "name in .kfignore what the run does not need; it reads large data from your home",
    )


def _offenders(sizes: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return what is largest: folders by all that is in them, but down to what fills them."""
    below: dict[str, dict[str, int]] = {}
    for path, size in sizes.items():
        parts = path.split("/")
        for depth in range(len(parts)):
            children = below.setdefault("/".join(parts[:depth]), {})
            child = "/".join(parts[: depth + 1])
            children[child] = children.get(child, 0) + size

    def narrowed(path: str, size: int) -> tuple[str, int]:
        for child, part in below.get(path, {}).items():
            if part > size * 0.8:
                return narrowed(child, part)
        return (f"{path}/" if path in below else path), size

    largest = sorted(below[""].items(), key=lambda item: -item[1])[:_SHOWN]
    return [narrowed(path, size) for path, size in largest if size >= 2**20]
