"""Staying with a run: waiting, interrupts, and every way it can end."""

from __future__ import annotations

from typing import Any

import pytest

import kfspawner.notebook.attachment
from kfspawner.errors import ClusterUnreachable, RunFailed
from kfspawner.notebook.attachment import attach
from kfspawner.training.status import RunStatus
from tests.fakes.training import FakeRun, make_status


class Seconds:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


def test_waiting_is_explained_once_per_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Seconds()
    monkeypatch.setattr(kfspawner.notebook.attachment, "time", clock)
    gpu = make_status(state="Queued", reason="waits for a GPU: 0 of 1 nodes have one free")
    fetch = make_status(state="Queued", reason="its node is fetching the image and starting it")
    attach(FakeRun([fetch, *[gpu] * 30, *[fetch] * 10, make_status()], ["x"]), clock.sleep)  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines() == [
        "run digits-x7k2p Queued: waits for a GPU: 0 of 1 nodes have one free",
        "run digits-x7k2p Queued: its node is fetching the image and starting it",
        "x",
        "run digits-x7k2p Succeeded in 12.0 s",
    ]


class AwayRun(FakeRun):
    """A run whose cluster does not answer for the first `away` questions."""

    away = 0

    def status(self) -> RunStatus:
        self.away -= 1
        if self.away >= 0:
            raise ClusterUnreachable("looking up run x", "no answer", "try again")
        return super().status()


def test_cluster_may_be_away_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Seconds()
    monkeypatch.setattr(kfspawner.notebook.attachment, "time", clock)
    run = AwayRun([make_status()])
    run.away = 60
    attach(run, clock.sleep)  # type: ignore[arg-type]
    run.away = 400
    with pytest.raises(ClusterUnreachable):
        attach(run, clock.sleep)  # type: ignore[arg-type]
    assert 0 < run.away < 390
    assert clock.now < 60


def test_short_wait_needs_no_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Seconds()
    monkeypatch.setattr(kfspawner.notebook.attachment, "time", clock)
    fetch = make_status(state="Queued", reason="its node is fetching the image and starting it")
    attach(FakeRun([*[fetch] * 8, make_status()]), clock.sleep)  # type: ignore[arg-type]
    assert capsys.readouterr().out == "run digits-x7k2p Succeeded in 12.0 s\n"


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


DETACHED = (
    "detached from digits-x7k2p; it goes on. %kf logs -f digits-x7k2p to re-attach, "
    "%kf stop digits-x7k2p to stop it."
)


@pytest.mark.parametrize(
    "run",
    [
        FakeRun([make_status(state="Queued")]),
        FakeRun([make_status(state="Running")], ["line"], before_line=_interrupt),
    ],
    ids=["while it waits", "while its log streams"],
)
def test_interrupt_detaches(capsys: pytest.CaptureFixture[str], run: FakeRun) -> None:
    attach(run, _interrupt)  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines() == [DETACHED]
    assert "stop" not in run.calls


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ("Stopped", "its owner stopped it", "Stopped: its owner stopped it; it ran for 12.0 s"),
        ("Failed", "out of memory: it used more than its 1Gi", "Failed: out of memory: it used"),
        ("Failed", "", "Failed: exit code 1; it ran for 12.0 s"),
    ],
)
def test_end_without_success_says_why(state: str, reason: str, said: str) -> None:
    with pytest.raises(RunFailed, match=f"^run digits-x7k2p {said}"):
        attach(FakeRun([make_status(state=state, reason=reason)]))  # type: ignore[arg-type]


def test_run_that_never_started_has_no_log_to_point_at() -> None:
    failed: Any = make_status(state="Queued")
    stuck = type(failed)(
        failed.name, make_status(state="Failed").state, "it cannot start", stuck=True
    )
    with pytest.raises(RunFailed) as raised:
        attach(FakeRun([stuck]))  # type: ignore[arg-type]
    assert str(raised.value) == (
        "run digits-x7k2p Failed: it cannot start; %kf status digits-x7k2p shows the rest, "
        "%kf rm digits-x7k2p removes it"
    )
