"""Run a command of the machine, and turn its failure into an error that says why."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.errors import DeployError

# A command's last words: enough to see the cause, not a whole log.
_TAIL_CHARACTERS = 800


def call(
    command: Sequence[str | Path],
    way_out: str,
    *,
    stdin: str | bytes = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run `command` to its end and return what it printed.

    Raises
    ------
    DeployError
        If its exit status is not 0: with its last words and `way_out`.
    """
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(command, input=given, capture_output=True, cwd=cwd, env=env, check=False)
    out = done.stdout.decode(errors="replace")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or out.strip()
        doing = " ".join([Path(command[0]).name, *map(str, command[1:4])])
        cause = said[-_TAIL_CHARACTERS:] or f"exit status {done.returncode}"
        raise DeployError(doing, cause.replace("\n", " | "), way_out)
    return out
