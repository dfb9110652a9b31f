"""How parts of the local node are stopped and started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.node.layout import Layout

ROOT = Path(__file__).parents[2]
LAYOUT = Layout.from_env()


def deploy(command: str) -> str:
    """Run one of the commands behind `make`, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def in_node(*words: str) -> str:
    """Run a command in the node, and return what it prints."""
    done = _try_in_node(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _try_in_node(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.node", "exec", "--", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def supervise(*words: str) -> None:
    """Tell the node's supervisor to start or stop a part."""
    ctl = [str(LAYOUT.venv / "bin" / "supervisorctl"), f"-c{LAYOUT.etc}/supervisord.conf"]
    subprocess.run([*ctl, *words], capture_output=True, timeout=60, check=True)


@contextmanager
def stopped_part(name: str) -> Iterator[None]:
    """Keep a part of the node from running."""
    supervise("stop", name)
    try:
        yield
    finally:
        supervise("start", name)
