"""Whether a pod answers, asked from its node each 20 ms, and no API server in between.

``python -m tests.bench.door`` is what asks, in the node's network, whose pods
the machine itself does not reach. It reads lines ``<address> <port> <path>``
and prints one for each: ``open``, or ``closed`` after minutes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Self

from deploy.errors import DeployError
from deploy.node.layout import Layout
from deploy.node.lifecycle import init_pid

PERIOD = 0.02
_PATIENCE = 120.0
_LIMIT = 2.0
_OPEN, _CLOSED = "open", "closed"


class Door:
    """Knocks from the local node; a context."""

    def __init__(self, layout: Layout) -> None:
        pid = init_pid(layout)
        if pid is None:
            raise DeployError(
                "asking pods from their node", "it does not run here", "start it with `make up`"
            )
        inside = ["nsenter", f"--target={pid}", "--net", "--"]
        self._process = subprocess.Popen(
            [*inside, sys.executable, "-m", "tests.bench.door"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Standard input closes, and with it ends what reads it.
        self._process.terminate()
        self._process.__exit__(kind, error, trace)

    def wait(self, address: str, port: int, path: str) -> None:
        """Return as soon as a server answers there with success."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{address} {port} {path}\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().strip()
        if said != _OPEN:
            raise AssertionError(f"nothing answers at {address}:{port}{path}: {said}")


def _answers(address: str, port: int, path: str) -> bool:
    connection = HTTPConnection(address, port, timeout=_LIMIT)
    try:
        connection.request("GET", path)
        return 200 <= connection.getresponse().status < 300
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _knock(address: str, port: int, path: str) -> str:
    deadline = time.monotonic() + _PATIENCE
    while not _answers(address, port, path):
        if time.monotonic() > deadline:
            return _CLOSED
        time.sleep(PERIOD)
    return _OPEN


if __name__ == "__main__":
    for line in sys.stdin:
        where, number, what = line.split()
        print(_knock(where, int(number), what), flush=True)
