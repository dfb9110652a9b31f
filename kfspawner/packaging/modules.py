"""The person's own modules: files that a run imports and that no image has."""

from __future__ import annotations

import contextlib
import sysconfig
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from kfspawner.errors import SourceRefused
from kfspawner.packaging.cell import imported_names, parse_python

_SUFFIXES = {".py", ".so"}
_LIBRARIES = [
    Path(sysconfig.get_path(name)).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
]


def local_modules(
    names: Iterable[str], path: Sequence[str], *, besides: Path | None = None
) -> dict[str, bytes]:
    """Return the files of the modules among `names` that are not installed.

    What those modules import in turn comes along, where it is not installed
    either. A package comes with all its ``.py`` and ``.so`` files, but for
    those of hidden directories, from which nothing can be imported.

    Parameters
    ----------
    names
        Top-level modules, as in ``import name``; unknown ones are passed over.
    path
        Where Python looks for them, in order, like ``sys.path``.
    besides
        A directory whose modules are left out; what they import is not.

    Returns
    -------
    dict
        Paths relative to the directory that the modules are imported from.

    Raises
    ------
    SourceRefused
        If one of them cannot be read.
    """
    PathFinder.invalidate_caches()
    found: dict[str, bytes] = {}
    waiting, seen = set(names), set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        spec = PathFinder.find_spec(name, path)
        for place, file in _files(spec) if spec else ():
            content = _read(file)
            if file.suffix == ".py":
                waiting |= _imports(content) - seen
            if besides is None or not file.resolve().is_relative_to(besides):
                found[place] = content
    return found


def _imports(code: bytes) -> set[str]:
    """Return what a module's code imports; nothing where it is a template, not Python."""
    with contextlib.suppress(SourceRefused):
        return imported_names(parse_python(code))
    return set()


def _files(spec: ModuleSpec) -> list[tuple[str, Path]]:
    """Return the files of a module that is not installed, each with its place in a run."""
    if spec.submodule_search_locations is None:
        file = Path(spec.origin or "")
        return [(file.name, file)] if file.is_file() and not _installed(file) else []
    return [
        (file.relative_to(folder.parent).as_posix(), file)
        for folder in map(Path, spec.submodule_search_locations)
        if folder.is_dir() and not _installed(folder)
        for file in sorted(folder.rglob("*"))
        if file.suffix in _SUFFIXES and file.is_file() and not _hidden(file.relative_to(folder))
    ]


def _hidden(inside: Path) -> bool:
    return any(part.startswith(".") for part in inside.parts)


def _installed(path: Path) -> bool:
    path = path.resolve()
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or any(
        path.is_relative_to(library) for library in _LIBRARIES
    )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SourceRefused(
            f"packaging the module {file}",
            error.strerror or "it cannot be read",
            "make it readable, or do not import it",
        ) from error
