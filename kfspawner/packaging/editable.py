"""Editable installs: the modules whose source is somewhere else."""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from kfspawner.packaging.base import read_record, recorded_files
from kfspawner.packaging.withheld import why_withheld

_FINDER = "_finder.py"


def is_editable(metadata: Path) -> bool:
    """Say whether a distribution is one by ``pip install -e``."""
    try:
        about = json.loads((metadata / "direct_url.json").read_bytes())
        return bool(about["dir_info"]["editable"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_pointer(path: Path) -> bool:
    """Say whether a file of an editable install only says where the source is."""
    return path.suffix == ".pth" or path.name.endswith(_FINDER)


def editable_modules(metadata: Path) -> tuple[Mapping[str, Path], tuple[str, ...]]:
    """Return the files of an editable install as if it were none, and a note on each left out.

    The paths are relative to the site that `metadata` is in. ``__pycache__``
    and what no layer may hold do not go along.
    """
    files: dict[str, Path] = {}
    notes: list[str] = []
    places = dict(_modules(metadata))
    if not places:
        notes.append(f"the source of {metadata.name} stays here: it is not known how to find it")
    for name, place in places.items():
        if place.is_file():
            files[name] = place
        for path in sorted(place.rglob("*")) if place.is_dir() else ():
            inside = path.relative_to(place)
            why = _why_left(path, inside, place)
            if why:
                notes.append(f"left out {path}: {why}")
            elif path.is_file() and not _hidden(inside) and "__pycache__" not in inside.parts:
                files[f"{name}/{inside.as_posix()}"] = path.resolve()
    return files, tuple(notes)


def _hidden(inside: Path) -> bool:
    """Say whether `inside` is below a directory that is left out as a whole."""
    return any(why_withheld(part, directory=True) for part in inside.parts[:-1])


def _why_left(path: Path, inside: Path, place: Path) -> str | None:
    if _hidden(inside):
        return None
    if path.is_symlink() and not path.resolve().is_relative_to(place.resolve()):
        return "it is a link that leads elsewhere"
    if path.exists() and not (path.is_file() or path.is_dir()):
        return "it is a device, a pipe or a socket"
    return why_withheld(path.name, directory=path.is_dir())


def _modules(metadata: Path) -> Iterator[tuple[str, Path]]:
    """Yield each top-level module's place in a site, and where it is now."""
    for name in recorded_files(read_record(metadata)):
        pointer = metadata.parent / name
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if pointer.name.endswith(_FINDER):
                for module, place in _mapping(pointer.read_text("utf-8")).items():
                    yield _found(module.replace(".", "/"), Path(place))
            elif pointer.suffix == ".pth":
                for line in pointer.read_text("utf-8").splitlines():
                    if line.startswith("/"):
                        yield from _in_directory(metadata, Path(line.strip()))


def _found(module: str, place: Path) -> tuple[str, Path]:
    """Return a module's file name in a site and its place; setuptools leaves ``.py`` away."""
    if place.is_dir():
        return module, place
    file = place if place.suffix else place.with_suffix(".py")
    return f"{module}{file.suffix}", file


def _in_directory(metadata: Path, directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield the modules of the distribution that are imported from `directory`."""
    names = [metadata.name.partition("-")[0]]
    with contextlib.suppress(OSError):
        names = (metadata / "top_level.txt").read_text("utf-8").split()
    ours = [path for name in names for path in (directory / name, directory / f"{name}.py")]
    there = [path for path in ours if path.exists()]
    packages = [path.parent for path in sorted(directory.glob("*/__init__.py"))]
    for path in there or packages:
        yield path.name, path


def _mapping(code: str) -> dict[str, str]:
    """Return module -> place as setuptools wrote it into `code`."""
    with contextlib.suppress(SyntaxError, ValueError):
        for node in ast.parse(code).body:
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, ast.AnnAssign):
                targets = [node.target]
            else:
                continue
            if "MAPPING" in map(ast.unparse, targets) and node.value is not None:
                found = ast.literal_eval(node.value)
                return {str(module): str(place) for module, place in found.items()}
    return {}
