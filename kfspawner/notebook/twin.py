"""What %kf run does, as a Python function."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

from IPython.core.getipython import get_ipython

from kfspawner.errors import OptionRefused
from kfspawner.notebook.display import say
from kfspawner.notebook.runs import RUNS
from kfspawner.packaging import (
    Source,
    cell_source,
    folder_source,
    function_source,
    script_source,
)
from kfspawner.training.submission import RunOptions

if TYPE_CHECKING:
    from kfspawner.training.run import Run

_STARTING = "starting a run"


class RunKeywords(TypedDict, total=False):
    """How a run is to be; all of it optional.

    Attributes
    ----------
    name
        What to call it; without, the script's or function's name or ``cell``, and a suffix.
    image
        The image to start from; without, the server's own.
    cpu, memory
        Cores and memory as Kubernetes writes them: ``2`` or ``"500m"``, ``"4Gi"``.
    gpu
        How many whole GPUs.
    env
        Environment variables.
    """

    name: str | None
    image: str | None
    cpu: str | float | None
    memory: str | None
    gpu: int | None
    env: Mapping[str, str] | None


@overload
def run(
    source: str | os.PathLike[str] | None = None,
    args: Sequence[str] = (),
    *,
    folder: str | os.PathLike[str] | None = None,
    code: str | None = None,
    **options: Unpack[RunKeywords],
) -> Run: ...


@overload
def run(source: Callable[..., object], args: Sequence[object] = (), **options: Any) -> Run: ...


def run(
    source: str | os.PathLike[str] | Callable[..., object] | None = None,
    args: Sequence[Any] = (),
    *,
    folder: str | os.PathLike[str] | None = None,
    code: str | None = None,
    **options: Any,
) -> Run:
    """Package a script, a function or code, start a run of it, and return that at once.

    >>> run = kfspawner.run("train.py", ["--lr", "0.1"], cpu="2")
    >>> run.wait().state
    >>> kfspawner.run(train, lr=0.1, gpu=1).result()

    Parameters
    ----------
    source
        The path of a Python script, or a function.
    args
        What the script finds in ``sys.argv[1:]``, or the function's positional
        arguments.
    folder
        What goes along, and where the script is and begins: see `folder_source`.
    code
        Python code, in place of `source`. In a notebook, what it uses of
        earlier cells goes along.
    **options
        See RunKeywords; whatever else there is goes to the function. Where that
        has a parameter of such a name, use `functools.partial`.

    Raises
    ------
    OptionRefused
        If there is neither or both of `source` and `code`, or an option is
        unknown, not of its kind, or also a parameter of the function.
    SourceRefused
        If the code cannot be packaged.
    RegistryError, ClusterError
        If the image cannot be made, or the run not created.
    """
    own = {name: value for name, value in options.items() if name in RunKeywords.__annotations__}
    others = {name: value for name, value in options.items() if name not in own}
    if callable(source):
        ours = {"folder": folder, "code": code}
        given = {name for name, value in ours.items() if value is not None} | own.keys()
        packaged = _function(source, args, given, others)
    elif others:
        raise OptionRefused(
            _STARTING,
            f"there is no option {min(others)!r}",
            f"use {', '.join(RunKeywords.__annotations__)}",
        )
    else:
        packaged = _file_or_code(source, args, folder, code, own.get("name") or "cell")
    for note in packaged.notes:
        say(note)
    submitted = RUNS.start(packaged, _options(own))
    for note in submitted.notes:
        say(note)
    return submitted.run


def _options(given: Mapping[str, Any]) -> RunOptions:
    cpu = given.get("cpu")
    return RunOptions(
        name=given.get("name"),
        image=given.get("image"),
        cpu=f"{cpu:g}" if isinstance(cpu, int | float) else cpu,
        memory=given.get("memory"),
        gpu=given.get("gpu") or 0,
        env=given.get("env") or {},
    )


def _function(
    function: Callable[..., object],
    args: Sequence[object],
    given: Set[str],
    keywords: Mapping[str, object],
) -> Source:
    parameters: set[str] = set()
    with suppress(ValueError, TypeError):  # some that are written in C do not say what they take
        parameters.update(inspect.signature(function).parameters)
    if isinstance(function, partial):
        parameters -= function.keywords.keys()
    for name in sorted(given & {*parameters, "code", "folder"}):
        raise OptionRefused(
            "starting a run of a function",
            f"{name!r} is an option of runs, and not for the function",
            f"give it to the function by functools.partial(function, {name}=…)"
            if name in parameters
            else "leave it out: a function takes along what it uses",
        )
    return function_source(function, args, keywords, _variables())


def _variables() -> Mapping[str, object]:
    """Return the notebook's names, or else those of the script that runs here."""
    shell = get_ipython()
    return shell.user_ns if shell else vars(sys.modules["__main__"])


def _file_or_code(
    script: str | os.PathLike[str] | None,
    args: Sequence[str],
    folder: str | os.PathLike[str] | None,
    code: str | None,
    stem: str,
) -> Source:
    if code is not None and script is None and not args and folder is None:
        return cell_source(code, _variables(), stem)
    if script is not None and code is None:
        return _script(script, args, folder)
    raise OptionRefused(
        _STARTING,
        "it takes a script with its arguments, or a function with its own, or else code",
        'write kfspawner.run("train.py", ["--lr", "0.1"]), kfspawner.run(train, lr=0.1) '
        'or kfspawner.run(code="…")',
    )


def _script(
    script: str | os.PathLike[str], args: Sequence[str], folder: str | os.PathLike[str] | None
) -> Source:
    if folder is None:
        return script_source(Path(script).expanduser(), args)
    return folder_source(Path(folder).expanduser(), os.fspath(script), args)
