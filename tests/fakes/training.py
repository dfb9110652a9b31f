"""Runs without a cluster: they live through the states that a test gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from kfspawner.errors import Error, InputError, ObjectMissing
from kfspawner.packaging import Reference, Source
from kfspawner.packaging.provenance import Provenance
from kfspawner.packaging.restore import Restored
from kfspawner.training.status import RunState, RunStatus
from kfspawner.training.submission import RunOptions

CREATED = datetime(2024, 5, 4, 12, 0, 0, tzinfo=UTC)
STARTED = datetime(2024, 5, 4, 12, 0, 5, tzinfo=UTC)
FINISHED = datetime(2024, 5, 4, 12, 0, 17, tzinfo=UTC)
IMAGE = f"registry.example/kf-alice/runs@sha256:{'abcdef01' * 8}"


def make_status(
    name: str = "digits-x7k2p", state: str = "Succeeded", reason: str = ""
) -> RunStatus:
    """Return a status such as a cluster would tell, with the times that fit the state."""
    kind = RunState(state)
    waiting = kind in {RunState.CREATED, RunState.QUEUED}
    return RunStatus(
        name=name,
        state=kind,
        reason=reason,
        exit_code={"Succeeded": 0, "Failed": 1}.get(state),
        image=IMAGE,
        created=CREATED,
        started=None if waiting else STARTED,
        finished=FINISHED if kind.ended else None,
    )


@dataclass
class FakeRun:
    """A run that is in the next of `statuses` each time it is asked, and stays in the last."""

    statuses: list[RunStatus]
    lines: Sequence[str] = ()
    # Called before each line of a log that is followed.
    before_line: Callable[[], None] = lambda: None
    calls: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.statuses[-1].name

    def status(self) -> RunStatus:
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        self.calls.append(f"logs follow={follow}")
        for line in self.lines:
            if follow:
                self.before_line()
            yield line

    def wait(self) -> RunStatus:
        self.statuses[:] = self.statuses[-1:]
        return self.statuses[0]

    def stop(self) -> None:
        self.calls.append("stop")
        self.statuses[:] = [replace(self.statuses[-1], state=RunState.STOPPED)]

    def delete(self, *, force: bool = False) -> None:
        self.calls.append(f"delete force={force}")


@dataclass(frozen=True)
class FakeSubmitted:
    run: FakeRun
    image: Reference
    packaging_seconds: float
    notes: tuple[str, ...] = ()


@dataclass
class FakeRuns:
    """What `kfspawner.notebook.runs.Runs` does, with the runs that a test gives it."""

    # What the next start makes, or why it cannot.
    next: FakeRun | Error = field(default_factory=lambda: FakeRun([make_status()]))
    known: dict[str, FakeRun] = field(default_factory=dict)
    started: list[tuple[Source, RunOptions]] = field(default_factory=list)
    restored: list[tuple[str | None, Path | None]] = field(default_factory=list)
    checked: list[tuple[Source, RunOptions]] = field(default_factory=list)
    last: str | None = None
    notes: tuple[str, ...] = ()

    def start(self, source: Source, options: RunOptions) -> FakeSubmitted:
        self.started.append((source, options))
        if isinstance(self.next, Error):
            raise self.next
        self.last = self.next.name
        self.known[self.next.name] = self.next
        return FakeSubmitted(self.next, Reference.parse(IMAGE), 0.31, self.notes)

    def check(self, source: Source, options: RunOptions) -> None:
        self.checked.append((source, options))
        if isinstance(self.next, Error):
            raise self.next

    def attach(self, name: str | None = None) -> FakeRun:
        wanted = name or self.last
        if wanted is None:
            raise InputError("choosing a run", "no name was given", "give its name")
        if wanted not in self.known:
            raise ObjectMissing(f"looking up run {wanted}", "there is none of that name", "%kf ls")
        return self.known[wanted]

    def restore(self, name: str | None, folder: Path | None) -> Restored:
        self.restored.append((name, folder))
        if isinstance(self.next, Error):
            raise self.next
        told = Provenance("script", "train.py", commit="ab" * 20, dirty=True)
        return Restored(
            folder or Path("/home/jovyan/restored/digits"),
            Reference.parse(IMAGE),
            "registry.example/cpu@sha256:0",
            ("python", "train.py", "a b"),
            told,
        )

    def list(self) -> list[RunStatus]:
        return [run.status() for run in self.known.values()]
