"""The first process of a run: signals reach Python, and its end is the run's."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from kfspawner.packaging.entrypoint import make_entrypoint


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (["tini", "-g", "--", "/opt/kfspawner/start.sh"], ["tini", "-g", "--"]),
        (["/usr/bin/tini", "--"], ["/usr/bin/tini", "-g", "--"]),
        (["/usr/bin/dumb-init", "--", "/entry.sh"], ["/usr/bin/dumb-init", "--"]),
    ],
)
def test_the_init_of_the_base_is_kept(base: list[str], expected: list[str]) -> None:
    assert make_entrypoint(base) == expected


@pytest.mark.parametrize("base", [[], ["/entry.sh", "tini"], ["/opt/nvidia/entrypoint.sh"]])
def test_without_one_there_is_ours(base: list[str]) -> None:
    assert make_entrypoint(base) == make_entrypoint([])
    assert make_entrypoint(base)[:2] == ["python", "-ISc"]


PAUSE = "import signal; print('ready', flush=True); signal.pause()"


def start(*command: str) -> subprocess.Popen[str]:
    """Start `command` by our init, as an image would."""
    entrypoint = [sys.executable, *make_entrypoint([])[1:]]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*entrypoint, *command], text=True, **pipes)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    ("command", "code", "out"),
    [
        (["sh", "-c", 'echo $# "$1"; exit 7', "sh", "-x y"], 7, "1 -x y\n"),
        (["sh", "-c", "kill -KILL $$"], 137, ""),
        (["true"], 0, ""),
        # A pipe that nobody reads ends who writes it, as it does elsewhere.
        (["sh", "-c", "yes | head -n1"], 0, "y\n"),
        # What a child leaves behind does not end the run.
        (["sh", "-c", "(sleep 0 &) ; sleep 0.1; echo done"], 0, "done\n"),
    ],
)
def test_it_ends_as_the_command_does(command: list[str], code: int, out: str) -> None:
    process = start(*command)
    assert process.communicate(timeout=30)[0] == out
    assert process.returncode == code


def test_a_command_that_is_not_there() -> None:
    process = start("no-such-command")
    assert process.communicate(timeout=30)[1] == "no-such-command: No such file or directory\n"
    assert process.returncode == 127


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_reach_python(number: signal.Signals) -> None:
    code = (
        "import signal, sys\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(42))\n"
        "print('ready', flush=True)\n"
        "signal.pause()\n"
    )
    # As runs are started: a shell that becomes Python.
    process = start("sh", "-c", 'exec "$@" 2>&1', "sh", sys.executable, "-c", code)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 42


def test_a_signal_that_nobody_handles_ends_the_run() -> None:
    process = start(sys.executable, "-c", PAUSE)
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
