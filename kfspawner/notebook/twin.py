"""What %kf run does, as a Python function."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from IPython.core.getipython import get_ipython

from kfspawner.errors import OptionRefused
from kfspawner.notebook.display import say
from kfspawner.notebook.runs import RUNS
from kfspawner.packaging import Source, cell_source, folder_source, script_source
from kfspawner.training.submission import RunOptions

if TYPE_CHECKING:
    from kfspawner.training.run import Run


class RunKeywords(TypedDict, total=False):
    """How a run is to be; all of it optional.

    Attributes
    ----------
    name
        What to call it; without, the script's name or ``cell``, and a suffix.
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


def run(
    script: str | os.PathLike[str] | None = None,
    args: Sequence[str] = (),
    *,
    folder: str | os.PathLike[str] | None = None,
    code: str | None = None,
    **options: Unpack[RunKeywords],
) -> Run:
    """Package a script or code, start a run of it, and return that at once.

    >>> run = kfspawner.run("train.py", ["--lr", "0.1"], cpu="2")
    >>> run.wait().state

    Parameters
    ----------
    script
        The path of a Python script.
    args
        What the script finds in ``sys.argv[1:]``.
    folder
        What goes along, and where the script is and begins: see `folder_source`.
    code
        Python code, in place of a script. In a notebook, what it uses of
        earlier cells goes along.
    **options
        See RunKeywords.

    Raises
    ------
    OptionRefused
        If there is neither or both of `script` and `code`, or an option is
        unknown or not of its kind.
    SourceRefused
        If the code cannot be packaged.
    RegistryError, ClusterError
        If the image cannot be made, or the run not created.
    """
    unknown = sorted(options.keys() - RunKeywords.__annotations__.keys())
    if unknown:
        raise OptionRefused(
            "starting a run",
            f"there is no option {unknown[0]!r}",
            f"use {', '.join(RunKeywords.__annotations__)}",
        )
    if code is not None and script is None and not args and folder is None:
        shell = get_ipython()
        source = cell_source(code, shell.user_ns if shell else {}, options.get("name") or "cell")
    elif script is not None and code is None:
        source = _script(script, args, folder)
    else:
        raise OptionRefused(
            "starting a run",
            "it takes a script with its arguments, or else code",
            'write kfspawner.run("train.py", ["--lr", "0.1"]) or kfspawner.run(code="…")',
        )
    for note in source.notes:
        say(note)
    cpu = options.get("cpu")
    given = RunOptions(
        name=options.get("name"),
        image=options.get("image"),
        cpu=f"{cpu:g}" if isinstance(cpu, int | float) else cpu,
        memory=options.get("memory"),
        gpu=options.get("gpu") or 0,
        env=options.get("env") or {},
    )
    return RUNS.start(source, given).run


def _script(
    script: str | os.PathLike[str], args: Sequence[str], folder: str | os.PathLike[str] | None
) -> Source:
    if folder is None:
        return script_source(Path(script).expanduser(), args)
    return folder_source(Path(folder).expanduser(), os.fspath(script), args)
