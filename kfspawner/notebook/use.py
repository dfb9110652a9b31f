"""Whether anybody uses a server, and what they are told before it is stopped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

# Jupyter Server counts requests there. An open window of JupyterLab sends them for ever.
_REQUESTS = "api_last_activity"
_LAST = "_last_activity"
# A notice that is longer is no notice.
LONGEST = 500


@dataclass
class Use:
    """What our own page tells of a person, and what it is to show them.

    Attributes
    ----------
    last
        When they last touched a key, a mouse or a screen.
    notice
        What is shown; empty for nothing.
    """

    last: datetime
    notice: str = ""

    def take(self, now: datetime) -> None:
        """Take note that the person is there, so that there is nothing to warn of."""
        self.last = now
        self.notice = ""


def last_use(use: Use, settings: Mapping[str, Any]) -> datetime:
    """Return when a person, or a program of theirs, last did something.

    Parameters
    ----------
    use
        What the page told.
    settings
        Those of Jupyter Server's application.
    """
    moments: list[datetime] = [
        use.last,
        settings["started"],
        settings["kernel_manager"].last_kernel_activity,
    ]
    moments += [it for name, it in settings.items() if name.endswith(_LAST) and name != _REQUESTS]
    moments += (settings.get("last_activity_times") or {}).values()
    return max(moments)


def at_work(
    kernels: Iterable[Mapping[str, Any]], shells: Collection[int], proc: Path = Path("/proc")
) -> str:
    """Return what is at work, or an empty text.

    Parameters
    ----------
    kernels
        Jupyter Server's models of them.
    shells
        The process of each terminal. What one has started, in front or behind, is a job.
    proc
        Where the kernel of the machine tells of processes.
    """
    if any(it.get("execution_state") == "busy" for it in kernels):
        return "a kernel is at work"
    if shells and not set(shells).isdisjoint(_parents(proc)):
        return "a job of a terminal is at work"
    return ""


def _parents(proc: Path) -> Iterable[int]:
    for path in proc.glob("[0-9]*/stat"):
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue  # it has ended
        # After the name, which may hold anything: the state, and the parent.
        yield int(text.rpartition(")")[2].split()[1])
