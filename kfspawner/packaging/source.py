"""What a person wants run becomes files and a command."""

from __future__ import annotations

import ast
import inspect
import json
import posixpath
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files as package_files
from pathlib import Path

from kfspawner.errors import SourceRefused
from kfspawner.packaging.cell import (
    Cell,
    attribute_names,
    free_names,
    imported_names,
    parse_cell,
    parse_code,
)
from kfspawner.packaging.missing import check_names
from kfspawner.packaging.modules import local_modules
from kfspawner.packaging.values import pack_values

RUN_DIR = "/opt/kfspawner/run"
LIMIT = 64 * 2**20
# How the file begins that a called function's result is in, in the run's
# outputs. The name of the run's pod follows: who uses a name again never reads
# an older result.
RESULT = ".kfspawner-result-"

_IN_FOLDER = f'cd {RUN_DIR} && exec "$@"'


@dataclass(frozen=True)
class Source:
    """Code that can be run, wherever it came from.

    Attributes
    ----------
    stem
        What to call the run where its owner does not say.
    files
        POSIX paths relative to ``RUN_DIR``, and what is in them, or where that is read.
    command
        The arguments that run it, the first one the program.
    notes
        What its owner is to know of it before it runs, a line each.
    kind
        What it was: ``cell``, ``script``, ``function`` or ``folder``.
    path
        The script or folder, as its person calls it; otherwise empty.
    """

    stem: str
    files: Mapping[str, bytes | Path]
    command: tuple[str, ...]
    notes: tuple[str, ...] = ()
    kind: str = ""
    path: str = ""

    def read(self, path: str) -> bytes:
        """Return what is in one of its files."""
        content = self.files[path]
        return content.read_bytes() if isinstance(content, Path) else content

    @property
    def size(self) -> int:
        """The number of bytes in its files."""
        return sum(
            it.stat().st_size if isinstance(it, Path) else len(it) for it in self.files.values()
        )


def cell_source(code: str, variables: Mapping[str, object], stem: str = "cell") -> Source:
    """Return the source that runs a notebook cell.

    What the cell uses of earlier cells goes along: values by value, imported
    modules by name, and the files of modules that are not installed.

    Parameters
    ----------
    code
        The cell's text.
    variables
        The kernel's user namespace.
    stem
        What to call the run by default.

    Raises
    ------
    SourceRefused
        If the cell is empty, is not Python, has a magic that means nothing in a
        run, reads a name that is nowhere, uses a value that cannot be pickled, or
        takes more than 64 MiB with it.
    """
    cell = parse_cell(code)
    check_names(cell.tree, variables.keys() | cell.mentioned, "packaging the cell")
    # Whatever the run is called: the same cell is the same image.
    return _runner_source(cell, variables, stem, {"filename": "<cell>"})


def function_source(
    function: Callable[..., object],
    args: Sequence[object],
    keywords: Mapping[str, object],
    variables: Mapping[str, object],
) -> Source:
    """Return the source that calls a function, and leaves what that returns in its outputs.

    What the function uses goes along, as for a cell; so do its arguments.

    Parameters
    ----------
    function
        Whatever can be called, and awaited if it is a coroutine function.
    args, keywords
        What to call it with.
    variables
        The namespace of the notebook or script that it may be from.

    Raises
    ------
    SourceRefused
        If it does not take these arguments, or it or one of them cannot be
        pickled, or all is over 64 MiB.
    """
    named = function.func if isinstance(function, partial) else function
    stem = str(getattr(named, "__name__", type(named).__name__)).strip("<>")
    try:
        inspect.signature(function).bind(*args, **keywords)
    except TypeError as error:
        raise SourceRefused(
            f"packaging the call of {stem}", str(error), "call it with what it takes"
        ) from error
    except ValueError:  # some that are written in C do not say what they take
        pass
    call = "_function(*_arguments[0], **_arguments[1])"
    waits = "await " if inspect.iscoroutinefunction(function) else ""
    own = {"_function": function, "_arguments": (tuple(args), dict(keywords))}
    about = {"filename": f"<call of {stem}>", "result": RESULT}
    cell = parse_cell(f"_result = {waits}{call}")
    return _runner_source(cell, {**variables, **own}, stem, about)


def _runner_source(
    cell: Cell, variables: Mapping[str, object], stem: str, about: Mapping[str, object]
) -> Source:
    tree = cell.tree
    values = pack_values(variables, free_names(tree) | cell.expanded)
    facts = {
        **about,
        "python": "{}.{}".format(*sys.version_info),
        "imports": dict(values.imports),
        "submodules": _submodules(values.imports.values(), tree),
    }
    if cell.pip:
        # The folder is where it finds the files that its lines name.
        facts |= {"pip": cell.pip, "pip_folder": str(Path.cwd())}
    files = {
        "main.py": package_files(__package__).joinpath("runner.py").read_bytes(),
        "cell.py": cell.code.encode(),
        "run.json": json.dumps(facts, indent=1, sort_keys=True).encode(),
    }
    if values.pickled is not None:
        files["values.pkl"] = values.pickled
    wanted = imported_names(tree) | {name.partition(".")[0] for name in values.modules}
    modules = local_modules(wanted - {"__main__"}, sys.path)
    files |= {f"modules/{path}": content for path, content in modules.items()}
    _check_size(files, "packaging the cell" if "result" not in about else f"packaging {stem}")
    kind = "function" if "result" in about else "cell"
    return Source(stem, files, _python("main.py"), cell.notes, kind)


def script_source(path: Path, args: Sequence[str] = ()) -> Source:
    """Return the source that runs a Python script, in ``RUN_DIR``.

    Modules beside the script that it imports go along.

    Parameters
    ----------
    path
        A file that ends in ``.py``, or starts with ``#!`` and names Python.
    args
        What the script finds in ``sys.argv[1:]``.

    Raises
    ------
    SourceRefused
        If there is no such file, it is not Python, reads a name that is nowhere,
        or is over 64 MiB.
    """
    doing = f"packaging the script {path}"
    content = _read_script(path, doing)
    tree = parse_code(content, doing)
    check_names(tree, (), doing)
    _check_args(args, doing)
    folder = path.resolve().parent
    files = {path.name: content}
    files |= local_modules(imported_names(tree), [str(folder), *sys.path])
    _check_size(files, doing)
    command = _python(path.name, *args)
    return Source(path.stem, files, command, kind="script", path=str(path))


def folder_source(folder: Path, script: str, args: Sequence[str] = ()) -> Source:
    """Return the source that runs a script of `folder` in a copy of that, all its files along.

    The run begins in the copy's top, so that relative paths find what they
    find on the server. Imported modules from outside of it go along, too.

    Parameters
    ----------
    folder
        What goes along, but for what ``.gitignore`` and ``.kfignore`` name.
    script
        The path of a Python script of it, relative to it.
    args
        What the script finds in ``sys.argv[1:]``.

    Raises
    ------
    SourceRefused
        As `choose_files` and `script_source` do, and if the script is not
        among what goes along.
    """
    # Few runs need it, and it takes longer to import than a cell to package.
    from kfspawner.packaging.ignores import choose_files  # noqa: PLC0415

    doing = f"packaging the script {script} of the folder {folder}"
    chosen = choose_files(folder)
    place = posixpath.normpath(script)
    if place not in chosen.files:
        raise SourceRefused(
            doing,
            "it is left out: an ignore file names it, or no image may hold it"
            if (folder / script).is_file() and not place.startswith(("/", "../"))
            else "there is no such file in it",
            "give the path of a script as it is inside of the folder",
        )
    content = _read_script(chosen.files[place], doing)
    tree = parse_code(content, doing)
    check_names(tree, (), doing)
    _check_args(args, doing)
    inside = posixpath.dirname(place)
    search = [str((folder / inside).resolve()), *sys.path]
    modules = local_modules(imported_names(tree), search, besides=folder.resolve())
    files = {posixpath.join(inside, path): content for path, content in modules.items()}
    left_out = chosen.left_out
    return Source(
        Path(place).stem,
        {**files, **chosen.files},
        ("sh", "-c", _IN_FOLDER, "sh", *_python(place, *args)),
        (f"left out of {folder}: {', '.join(left_out)}",) if left_out else (),
        "folder",
        str(folder),
    )


def _check_args(args: Sequence[str], doing: str) -> None:
    if isinstance(args, str) or not all(isinstance(arg, str) for arg in args):
        raise SourceRefused(doing, f"its arguments are {args!r}", "give a sequence of strings")
    if any("\0" in arg for arg in args):
        raise SourceRefused(doing, "an argument holds a zero byte", "leave it out")


def _python(file: str, *args: str) -> tuple[str, ...]:
    """Return a command whose output arrives line by line."""
    return ("python", "-u", f"{RUN_DIR}/{file}", *args)


def _read_script(path: Path, doing: str) -> bytes:
    try:
        if path.is_file() and path.stat().st_size > LIMIT:
            raise _too_large(doing, path.stat().st_size)
        content = path.read_bytes()
    except OSError as error:
        raise SourceRefused(
            doing, error.strerror or "it cannot be read", "give the path of a Python file"
        ) from error
    first = content.partition(b"\n")[0]
    if path.suffix != ".py" and not (first.startswith(b"#!") and b"python" in first):
        raise SourceRefused(
            doing,
            "it does not end in .py, and its first line does not name Python",
            "give a Python script",
        )
    return content


def _submodules(modules: Iterable[str], tree: ast.Module) -> list[str]:
    """Return the loaded submodules that the cell reaches through their package.

    ``import sklearn.datasets`` in an earlier cell sets only ``sklearn``.
    """
    attributes = attribute_names(tree)
    packages = tuple(f"{module}." for module in modules)
    return sorted(
        name
        for name in list(sys.modules)
        for package in packages
        if name.startswith(package) and attributes.issuperset(name[len(package) :].split("."))
    )


def _check_size(files: Mapping[str, bytes], doing: str) -> None:
    size = sum(map(len, files.values()))
    if size > LIMIT:
        raise _too_large(doing, size)


def _too_large(doing: str, size: int) -> SourceRefused:
    return SourceRefused(
        doing,
        f"it is {size / 2**20:.0f} MiB with what it needs, and a run takes {LIMIT // 2**20}",
        "read large data from files in your home or from the network",
    )
