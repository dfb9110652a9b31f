"""A run from its submission to its end, over a cluster in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kfspawner.errors import (
    ClusterDenied,
    ClusterUnreachable,
    NameRefused,
    ObjectExists,
    ObjectMissing,
    RunError,
)
from kfspawner.training.kinds import RunRequest
from kfspawner.training.observation import observations
from kfspawner.training.run import Run, check_can_submit, list_runs, submit
from kfspawner.training.state import RunState
from tests.fakes.cluster import FakeCluster, stamp
from tests.unit.test_kinds import CONTEXT, IMAGE

REQUEST = RunRequest("digits", IMAGE, ("true",), CONTEXT)
AWAY = ClusterUnreachable("looking up run digits", "it does not answer", "try again")


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in ("observation", "run"):
        monkeypatch.setattr(f"kfspawner.training.{module}.time", made)
    return made


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def run(cluster: FakeCluster, clock: Clock) -> Run:
    return submit(REQUEST, cluster)


def at(clock: Clock, *events: tuple[float, Callable[[], object]]) -> Callable[[], None]:
    """Return what makes each of `events` happen once so many seconds have passed."""
    left = sorted(events, key=lambda event: event[0])

    def look() -> None:
        while left and clock.now - 1000 >= left[0][0]:
            left.pop(0)[1]()

    return look


# Submitting.


def test_checking_leaves_nothing(cluster: FakeCluster) -> None:
    check_can_submit(REQUEST, cluster)
    assert not cluster.jobs
    submit(REQUEST, cluster)
    with pytest.raises(ObjectExists):
        check_can_submit(REQUEST, cluster)


def test_a_lost_answer_is_no_lost_run(cluster: FakeCluster) -> None:
    submit(REQUEST, cluster)
    cluster.refusals["create_job"] = [AWAY]
    assert submit(REQUEST, cluster).name == "digits"


def test_a_lost_answer_without_a_job_is_told(cluster: FakeCluster) -> None:
    cluster.refusals["create_job"] = [AWAY]
    with pytest.raises(ClusterUnreachable):
        submit(REQUEST, cluster)
    cluster.create_job({"metadata": {"name": "digits"}, "spec": other_spec()})
    cluster.refusals["create_job"] = [AWAY]
    with pytest.raises(ClusterUnreachable):
        submit(REQUEST, cluster)


def other_spec() -> dict[str, object]:
    return {"template": {"spec": {"containers": [{"image": IMAGE, "args": ["false"]}]}}}


def test_an_interrupt_takes_the_job_back(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = cluster.create_job

    def interrupted(*args: object, **options: object) -> None:
        make(*args, **options)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "create_job", interrupted)
    with pytest.raises(KeyboardInterrupt):
        submit(REQUEST, cluster)
    assert not cluster.jobs


# Finding.


def test_attach_finds_what_is_there(run: Run, cluster: FakeCluster) -> None:
    assert Run.attach("digits", cluster).status().state is RunState.CREATED
    assert repr(Run.attach("digits", cluster)) == "<Run digits in kf-alice>"


def test_attach_refuses_what_is_no_run(cluster: FakeCluster) -> None:
    with pytest.raises(ObjectMissing, match="%kf ls"):
        Run.attach("digits", cluster)
    cluster.create_job({"metadata": {"name": "backup"}, "spec": {}})
    with pytest.raises(ObjectMissing, match="it is no run"):
        Run.attach("backup", cluster)
    with pytest.raises(NameRefused):
        Run.attach("../pods", cluster)


def test_list_is_newest_first_with_reasons(cluster: FakeCluster) -> None:
    for name in ("one", "two", "three"):
        submit(RunRequest(name, IMAGE, ("true",), CONTEXT), cluster)
    cluster.create_job({"metadata": {"name": "backup"}, "spec": {}})
    cluster.end_pod("one")
    cluster.run_pod("two")
    cluster.report("Job", "three", "FailedCreate", 'Error creating: pods "three-x" not found')
    found = list_runs(cluster)
    assert [(each.name, each.state) for each in found] == [
        ("three", RunState.QUEUED),
        ("two", RunState.RUNNING),
        ("one", RunState.SUCCEEDED),
    ]
    assert "not found" in found[0].reason


# Waiting.


def test_wait_returns_the_end(run: Run, cluster: FakeCluster, clock: Clock) -> None:
    cluster.on_look = at(
        clock,
        (1, lambda: cluster.run_pod("digits")),
        (30, lambda: cluster.end_pod("digits", 3)),
    )
    status = run.wait()
    assert (status.state, status.exit_code) == (RunState.FAILED, 3)
    assert clock.now - 1030 <= 2
    assert not cluster.called("patch_job")


def test_wait_asks_less_and_less(run: Run, cluster: FakeCluster, clock: Clock) -> None:
    cluster.on_look = at(clock, (3600, lambda: cluster.end_pod("digits")))
    run.wait()
    assert len(cluster.called("get_job")) < 1900


def test_wait_gives_up_waiting_and_not_the_run(run: Run, cluster: FakeCluster) -> None:
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    cluster.put_pod("digits", conditions=[scheduled | {"message": message}])
    with pytest.raises(RunError, match="after 10 s it is Queued, waits for a GPU"):
        run.wait(10)
    assert not cluster.called("patch_job")


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "InvalidImageName", "CreateContainerError"])
def test_what_cannot_start_is_given_up_soon(
    run: Run, cluster: FakeCluster, clock: Clock, reason: str
) -> None:
    cluster.hinder_pod("digits", reason, "no such image")
    status = run.wait()
    assert status.state is RunState.FAILED
    assert "no such image" in status.reason
    assert clock.now - 1000 <= 10
    cluster.pods.clear()
    assert cluster.jobs["digits"]["spec"]["suspend"] is True
    assert run.status().state is RunState.FAILED
    assert run.status().reason == status.reason
    assert list(run.logs(follow=True)) == []


def test_a_hindrance_that_passes_is_forgiven(run: Run, cluster: FakeCluster, clock: Clock) -> None:
    cluster.hinder_pod("digits", "CreateContainerConfigError", "configmap not found")
    cluster.on_look = at(clock, (2, lambda: cluster.end_pod("digits")))
    assert run.wait().state is RunState.SUCCEEDED
    assert not cluster.called("patch_job")


def test_a_short_outage_is_waited_out(run: Run, cluster: FakeCluster, clock: Clock) -> None:
    cluster.on_look = at(clock, (7200, lambda: cluster.end_pod("digits")))
    cluster.run_pod("digits")
    moments = observations(cluster, "digits")
    assert next(moments).status.state is RunState.RUNNING
    # A log was read for two hours.
    clock.sleep(7200)
    cluster.refusals["get_job"] = [AWAY] * 30
    assert next(moments).status.state is RunState.SUCCEEDED


def test_a_long_outage_is_told(run: Run, cluster: FakeCluster, clock: Clock) -> None:
    cluster.refusals["get_job"] = [AWAY] * 1000
    with pytest.raises(ClusterUnreachable):
        run.wait()
    assert 60 <= clock.now - 1000 <= 70


def test_a_refusal_is_told_at_once(run: Run, cluster: FakeCluster, clock: Clock) -> None:
    cluster.refusals["get_job"] = [ClusterDenied("looking", "no rights", "ask")]
    with pytest.raises(ClusterDenied):
        run.wait()
    assert clock.now == 1000


# The log.


def test_log_is_followed_from_before_the_start(
    run: Run, cluster: FakeCluster, clock: Clock
) -> None:
    cluster.log = [f"{stamp(n)} line {n}" for n in range(5)]
    cluster.drops = [2, 1]
    cluster.on_look = at(
        clock,
        (3, lambda: cluster.run_pod("digits")),
        (9, lambda: cluster.end_pod("digits")),
    )
    assert list(run.logs(follow=True)) == [f"line {n}" for n in range(5)]
    assert list(run.logs()) == [f"line {n}" for n in range(5)]


def test_log_of_nothing_is_empty(run: Run) -> None:
    assert list(run.logs()) == []


# Ending.


def test_stop_keeps_the_run_and_says_so(run: Run, cluster: FakeCluster) -> None:
    cluster.run_pod("digits")
    run.stop()
    assert run.status().state is RunState.STOPPED
    assert cluster.jobs["digits"]["spec"]["suspend"] is True
    run.stop()
    assert len(cluster.called("patch_job")) == 1


def test_stop_of_what_has_ended_changes_nothing(run: Run, cluster: FakeCluster) -> None:
    cluster.end_pod("digits")
    run.stop()
    assert run.status().state is RunState.SUCCEEDED
    assert not cluster.called("patch_job")


def test_stop_of_what_cannot_start_keeps_it_failed(run: Run, cluster: FakeCluster) -> None:
    cluster.hinder_pod("digits", "ImagePullBackOff", "no such image")
    run.stop()
    cluster.pods.clear()
    assert run.status().state is RunState.FAILED


def test_delete_needs_an_end_or_force(run: Run, cluster: FakeCluster) -> None:
    cluster.run_pod("digits")
    with pytest.raises(RunError, match=r"it is Running; %kf stop digits first"):
        run.delete()
    run.delete(force=True)
    assert not cluster.jobs
    with pytest.raises(ObjectMissing):
        run.delete()


def test_delete_of_what_has_ended(run: Run, cluster: FakeCluster) -> None:
    cluster.end_pod("digits", 1)
    run.delete()
    assert not cluster.jobs
