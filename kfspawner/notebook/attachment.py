"""A run as lines: why it waits, its log, how it ended; and letting go of it, or stopping it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kfspawner.errors import ClusterUnreachable, RunFailed
from kfspawner.notebook.display import duration, format_seconds, plain, say
from kfspawner.training.status import RunState, RunStatus

if TYPE_CHECKING:
    from kfspawner.training.run import Run

_POLL = 0.3
# Who waits for a GPU waits for minutes: then the API is asked less often.
_SLOW_POLL = 2.0
_SLOW_AFTER = 20.0
# A run that starts at once needs no words about waiting.
_PATIENCE = 3.0
# For so many seconds the API may be away.
_AWAY = 30.0
_WAITING = (RunState.CREATED, RunState.QUEUED)


def attach(run: Run, sleep: Callable[[float], None] = time.sleep) -> None:
    """Show `run` until it ends; an interrupt ends only the showing.

    Raises
    ------
    RunFailed
        If it ends without success.
    """
    with _detaching(run):
        status = _show_waiting(run, sleep)
        # One that ended before it started has no log.
        logged = status.started is not None or not status.state.ended
        if logged:
            for line in run.logs(follow=True):
                say(line)
        _show_end(run.wait(), logged=logged)


def show_log(run: Run) -> None:
    """Show a run's log as far as it is written."""
    shown = False
    for line in run.logs():
        shown = True
        say(line)
    if not shown:
        status = run.status()
        because = f", {plain(status.reason)}" if status.reason else ""
        say(f"run {run.name} has no log: it is {status.state}{because}")


def stop(run: Run) -> None:
    """Stop a run, and say so; one that ended is left as it is."""
    state = run.status().state
    if state.ended:
        say(f"run {run.name} is {state} already")
        return
    run.stop()
    say(f"run {run.name} stopped")


@contextmanager
def _detaching(run: Run) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(
            f"detached from {run.name}; it goes on. %kf logs -f {run.name} to re-attach, "
            f"%kf stop {run.name} to stop it."
        )


def _show_waiting(run: Run, sleep: Callable[[float], None]) -> RunStatus:
    """Return once `run` has started or ended; say why it has not, once per reason."""
    begun = answered = time.monotonic()
    said = ""
    while True:
        try:
            status = run.status()
            answered = time.monotonic()
        except ClusterUnreachable:
            if time.monotonic() - answered >= _AWAY:
                raise
        else:
            if status.state not in _WAITING:
                return status
            reason = plain(status.reason).strip()
            if reason and reason != said and answered - begun >= _PATIENCE:
                said = reason
                say(f"run {run.name} {status.state}: {reason}")
        sleep(_POLL if time.monotonic() - begun < _SLOW_AFTER else _SLOW_POLL)


def _show_end(status: RunStatus, *, logged: bool) -> None:
    seconds = duration(status, datetime.now(UTC))
    took = "" if seconds is None else format_seconds(seconds)
    if status.state is RunState.SUCCEEDED:
        say(f"run {status.name} {status.state}" + (f" in {took}" if took else ""))
        return
    cause = plain(status.reason).strip()
    if not cause:
        cause = "it ended early" if status.exit_code is None else f"exit code {status.exit_code}"
    ways_out = [f"it ran for {took}"] if took else []
    ways_out += ["its log is above"] if logged else []
    ways_out += [f"%kf status {status.name} shows the rest"]
    ways_out += [] if logged else [f"%kf rm {status.name} removes it"]
    raise RunFailed(f"run {status.name} {status.state}", cause, ", ".join(ways_out))
