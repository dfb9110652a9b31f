"""The administrator's config file, read as JupyterHub reads it."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from traitlets.config import Config
from traitlets.config.loader import LazyConfigValue, PyFileConfigLoader

from kfspawner.errors import InputError

NAME = "jupyterhub_config.py"
# Where JupyterHub looks for it, and where the hub's pod has it.
_PLACES = (Path(NAME), Path("/etc/jupyterhub") / NAME)


def find_config() -> Path:
    """Return the config file of this directory, else of the hub's pod.

    Raises
    ------
    InputError
        If there is neither.
    """
    for place in _PLACES:
        if place.is_file():
            return place
    raise InputError(
        f"looking for {NAME}",
        f"it is neither here nor in {_PLACES[1].parent}",
        "give its path with --config",
    )


def load_config(path: Path) -> Config:
    """Return what the config file at `path` sets.

    Raises
    ------
    InputError
        If it cannot be read to its end; it names the line.
    """
    if not path.is_file():
        raise InputError(f"reading {path}", "there is no such file", "give its path with --config")
    loader = PyFileConfigLoader(path.name, path=str(path.parent.resolve()))
    try:
        return loader.load_config()
    except (Exception, SystemExit) as error:
        raise _refused(path, error) from error


def read_setting(config: Config, name: str) -> dict[str, Any]:
    """Return the dict that the config gives ``c.KfSpawner.<name>``; empty where it gives none.

    Raises
    ------
    InputError
        If it gives something else.
    """
    value = config["KfSpawner"].get(name, {})
    if isinstance(value, LazyConfigValue):
        value = value.get_value({})
    if isinstance(value, Mapping):
        return dict(value)
    raise InputError(
        f"reading c.KfSpawner.{name}", f"it is {type(value).__name__}, not a dict", "make it one"
    )


def _refused(path: Path, error: BaseException) -> InputError:
    line = f", line {found}" if (found := _line(path, error)) else ""
    missing = _missing_variable(error)
    if missing:
        return InputError(
            f"reading {path}{line}",
            f"the environment variable {missing} is not set",
            "the hub's pod has what the deployment sets: "
            "`kubectl -n kfspawner exec deploy/hub -- kfspawner ...`; or set it here",
        )
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    cause = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return InputError(f"reading {path}{line}", " ".join(cause.split())[:300], "correct the file")


def _line(path: Path, error: BaseException) -> str:
    """Return where the config failed: a line, and of which file if it is another one."""
    if isinstance(error, SyntaxError):
        where = [(error.filename or "", error.lineno)]
    else:
        where = [(it.filename, it.lineno) for it in traceback.extract_tb(error.__traceback__)]
    folder = path.parent.resolve()
    own = [(name, line) for name, line in where if Path(name).is_relative_to(folder)]
    if not own or own[-1][1] is None:
        return ""
    name, line = own[-1]
    return str(line) if Path(name) == folder / path.name else f"{line} of {name}"


def _missing_variable(error: BaseException) -> str:
    """Return the environment variable that the config asked for in vain, or nothing."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    asked = trace is not None and trace.tb_frame.f_locals.get("self") is os.environ
    return str(error.args[0]) if asked and isinstance(error, KeyError) and error.args else ""
