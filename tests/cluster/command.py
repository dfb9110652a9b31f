"""`kfspawner` on this machine, as the cluster's administrator or with another kubeconfig."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    status: int
    text: str


def kfspawner(*args: str, kubeconfig: str = "", text: str = "") -> Said:
    """Run `kfspawner` here, as the cluster's administrator unless told otherwise.

    Parameters
    ----------
    args
        The command's own.
    kubeconfig
        With whose rights.
    text
        What it reads from its standard input.
    """
    environ = {**os.environ, **({"KUBECONFIG": kubeconfig} if kubeconfig else {})}
    program = Path(sys.executable).with_name("kfspawner")
    done = subprocess.run(
        [program, *args],
        env=environ,
        input=text,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return Said(done.returncode, done.stdout + done.stderr)
