"""What is known of a run: its state, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class RunState(StrEnum):
    """Where a run is on its way."""

    CREATED = "Created"
    QUEUED = "Queued"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    STOPPED = "Stopped"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in {RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPED}


@dataclass(frozen=True)
class Verdict:
    """A state, why, and whether it is a dead end: Failed without ever having started."""

    state: RunState
    reason: str = ""
    stuck: bool = False


@dataclass(frozen=True)
class RunStatus:
    """What is known of a run at one moment.

    Attributes
    ----------
    name
        The run.
    state
        Where it is on its way.
    reason
        Why it waits or ended, in words for its owner; empty where there is nothing to say.
    exit_code
        Its container's, once that ended.
    image
        The image that it starts from, by digest.
    created, started, finished
        When its Job was made, its container began, and that ended.
    stuck
        Failed because it cannot even start: it never ran, and holds its place until removed.
    """

    name: str
    state: RunState
    reason: str = ""
    exit_code: int | None = None
    image: str = ""
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    stuck: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state.ended

    def duration(self, now: datetime | None = None) -> float | None:
        """Return for how many seconds it ran, until `now` if it still does; None if it did not."""
        if self.started is None:
            return None
        if self.finished is None and self.ended:
            return None
        return ((self.finished or now or datetime.now(UTC)) - self.started).total_seconds()
