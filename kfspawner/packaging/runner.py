"""Runs a cell where there is no notebook.

This file is the run's ``main.py``. It is shipped as text, so it imports
nothing but the standard library; the values of earlier cells need cloudpickle,
which is imported as they are loaded.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import importlib
import inspect
import json
import linecache
import os
import pickle
import shlex
import socket
import subprocess
import sys
import tempfile
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
_shell: Any = None


class _Unpickler(pickle.Unpickler):
    """Loads values whose functions have the run's globals for their own."""

    def __init__(self, file: Any, namespace: dict[str, Any]) -> None:
        super().__init__(file)
        self._namespace = namespace

    def persistent_load(self, _: str) -> dict[str, Any]:
        return self._namespace


def load_values(about: dict[str, Any], namespace: dict[str, Any]) -> None:
    """Put what the cell takes from earlier cells into `namespace`."""
    pickled = HERE / "values.pkl"
    here = "{}.{}".format(*sys.version_info)
    try:
        if pickled.exists():
            if about["python"] != here:
                _refuse(
                    f"they were made by Python {about['python']} and this image has {here}; "
                    "choose an image with the notebook's Python"
                )
            with pickled.open("rb") as file:
                values, reached = _Unpickler(file, namespace).load()
            namespace.update(reached | values)
        for name in about["submodules"]:
            importlib.import_module(name)
        for name, module in about["imports"].items():
            namespace[name] = importlib.import_module(module)
    except ImportError as error:
        _refuse(f"{error}; choose an image that has it")
    except Exception as error:  # noqa: BLE001 -- a value's own code raises what it likes
        _refuse(f"{type(error).__name__}: {error}; make them in the cell itself")


def install(about: dict[str, Any]) -> None:
    """Have pip do what the cell's lines say."""
    folder = about.get("pip_folder", "")
    for number, line in about.get("pip", ()):
        command = f"{shlex.quote(sys.executable)} -m pip --disable-pip-version-check {line}"
        where = folder if Path(folder).is_dir() else None
        done = subprocess.run(command, shell=True, cwd=where, check=False)  # noqa: S602 -- as written
        if done.returncode:
            sys.exit(f"pip, in line {number} of the cell, ended with exit code {done.returncode}")
    importlib.invalidate_caches()


def get_ipython() -> Any:
    """Return the IPython shell of the cell's magics and commands; the first call makes it."""
    global _shell  # noqa: PLW0603 -- one process, one shell
    if _shell is None:
        try:
            shells = importlib.import_module("IPython.core.interactiveshell")
            config = importlib.import_module("traitlets.config").Config()
        except ImportError as error:
            sys.exit(f"the cell's magics need IPython: {error}; choose an image that has it")
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        cell = sys.modules["__main__"]
        settings = tempfile.mkdtemp()
        _shell = shells.InteractiveShell.instance(
            config=config, user_module=cell, user_ns=cell.__dict__, ipython_dir=settings
        )
        cell.__dict__.update(get_ipython=get_ipython, display=_display)
    return _shell


def compile_cell(code: str, filename: str) -> Iterator[types.CodeType]:
    """Yield the parts of a cell: its statements, then a last expression that is shown."""
    tree = ast.parse(code, filename)
    last = tree.body[-1]
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    if isinstance(last, ast.Expr) and not code.rstrip().endswith(";"):
        del tree.body[-1]
        yield compile(tree, filename, "exec", flags, dont_inherit=True)
        yield compile(ast.Interactive([last]), filename, "single", flags, dont_inherit=True)
    else:
        yield compile(tree, filename, "exec", flags, dont_inherit=True)


def main() -> None:
    """Run the cell that lies beside this file."""
    about = json.loads((HERE / "run.json").read_text("utf-8"))
    code = (HERE / "cell.py").read_text("utf-8")
    filename = about["filename"]
    sys.path[0] = str(HERE / "modules")
    sys.excepthook = _hook(filename)
    # Tracebacks and inspect.getsource find the cell's lines here.
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)

    cell = types.ModuleType("__main__")
    sys.modules["__main__"] = cell
    namespace = cell.__dict__
    namespace.update(__builtins__=builtins, display=_display, get_ipython=get_ipython)
    install(about)
    load_values(about, namespace)

    loop = None
    for part in compile_cell(code, filename):
        result = eval(part, namespace)  # noqa: S307 -- the person's own code, in their own run
        if part.co_flags & inspect.CO_COROUTINE:
            loop = loop or asyncio.Runner()
            loop.run(result)
    if loop:
        loop.close()
    if "result" in about:
        give_back(namespace["_result"], about["result"])


def give_back(value: object, name: str) -> None:
    """Leave what a called function returned in the run's outputs, whole or not at all."""
    try:
        try:
            # Classes of the notebook go by name, so that it gets back its own.
            pickled = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except Exception:  # noqa: BLE001 -- cloudpickle takes more, or says why not
            pickled = importlib.import_module("cloudpickle").dumps(value)
        folder = Path(os.environ.get("KFSPAWNER_OUTPUTS", "."))
        target = folder / f"{name}{socket.gethostname()}.pkl"
        target.with_suffix(".part").write_bytes(pickled)
        target.with_suffix(".part").replace(target)
    except Exception as error:  # noqa: BLE001 -- a value's own code raises what it likes
        sys.exit(
            f"giving back what the function returned: {type(error).__name__}: {error}; "
            "return values that can be pickled, or write files to /outputs"
        )


def _hook(filename: str) -> Any:
    """Return an excepthook whose tracebacks start in the cell."""

    def show(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        start = trace
        while start and start.tb_frame.f_code.co_filename != filename:
            start = start.tb_next
        traceback.print_exception(kind, error, start or trace)

    return show


def _display(*values: object) -> None:
    for value in values:
        print(repr(value))  # noqa: T201 -- this is what the cell asked for


def _refuse(cause: str) -> None:
    sys.exit(f"loading what the cell takes from earlier cells: {cause}")


if __name__ == "__main__":
    main()
