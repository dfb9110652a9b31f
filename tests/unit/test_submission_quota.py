"""A run and the quota of its profile: refused at once, and nothing of it stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kfspawner.errors import ClusterDenied, ClusterUnreachable
from tests.fakes.cluster import FakeCluster
from tests.unit.test_run import Clock
from tests.unit.test_submission import Packaging
from tests.unit.test_submission import cluster as cluster  # noqa: PLC0414 - a fixture
from tests.unit.test_submission import context as context  # noqa: PLC0414 - a fixture
from tests.unit.test_submission import environment as environment  # noqa: PLC0414 - a fixture
from tests.unit.test_submission import packaging as packaging  # noqa: PLC0414 - a fixture
from tests.unit.test_submission import submit as submit  # noqa: PLC0414 - a fixture

GPU = "requests.nvidia.com/gpu"
FULL = (
    'Error creating: pods "digits-abcde" is forbidden: exceeded quota: kf-resource-quota, '
    f"requested: {GPU}=1, used: {GPU}=1, limited: {GPU}=1"
)
WORDS = (
    "creating run digits: the quota of profile kf-alice leaves too little GPU: 1 asked for, "
    "1 of 1 in use by alice's run other; 0 would fit; ask for less"
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("kfspawner.training.allowance.time", made)
    return made


def use_gpu(cluster: FakeCluster) -> None:
    """Let another run of this person have a GPU."""
    pod = cluster.run_pod("other")
    pod["metadata"]["annotations"] = {"kfspawner.io/user-name": "alice"}
    pod["spec"]["containers"] = [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]


def test_over_quota_is_refused_before_anything_is_made(
    submit: Any, cluster: FakeCluster, packaging: Packaging, tmp_path: Path
) -> None:
    use_gpu(cluster)
    status = {"hard": {GPU: "1"}, "used": {GPU: "1"}}
    cluster.quotas = [{"metadata": {"name": "kf-resource-quota"}, "status": status}]
    with pytest.raises(ClusterDenied) as caught:
        submit(name="digits", gpu=1)
    assert str(caught.value).startswith(WORDS)
    assert not cluster.jobs
    assert not packaging.calls
    assert not list(tmp_path.iterdir())
    submit(name="digits")


def test_who_may_not_see_quotas_is_refused_by_the_cluster(
    submit: Any, cluster: FakeCluster
) -> None:
    cluster.refusals["list_quotas"] = [ClusterDenied("looking", "no rights", "ask")]
    assert submit(name="digits").run.name == "digits"


def test_a_quota_that_fills_meanwhile_leaves_nothing(
    submit: Any, cluster: FakeCluster, clock: Clock, tmp_path: Path
) -> None:
    use_gpu(cluster)
    cluster.report("Job", "digits", "FailedCreate", FULL)
    # What an earlier Job of that name met is no news of this one.
    cluster.events[0]["involvedObject"]["uid"] = "uid-earlier"
    looks = []

    def refuse() -> None:
        looks.append(clock.now)
        if len(looks) == 3:
            cluster.report("Job", "digits", "FailedCreate", FULL)

    cluster.on_create = lambda _name: None
    cluster.on_look = refuse
    with pytest.raises(ClusterDenied) as caught:
        submit(name="digits", gpu=1)
    assert str(caught.value).startswith(WORDS)
    assert len(looks) == 3
    assert not cluster.jobs
    assert not (tmp_path / "runs/digits").exists()


def test_a_pod_that_will_never_be_is_told_at_once(
    submit: Any, cluster: FakeCluster, clock: Clock
) -> None:
    cluster.on_create = lambda name: cluster.report(
        "Job", name, "FailedCreate", 'Error creating: pods "x" is forbidden: violates PodSecurity'
    )
    with pytest.raises(ClusterDenied, match="pod security refuses it: violates"):
        submit(name="digits")
    assert not cluster.jobs
    assert clock.now == 1000


@pytest.mark.parametrize("message", ["", 'Error creating: serviceaccount "x" not found'])
def test_a_cluster_that_takes_its_time_is_left_to_it(
    submit: Any, cluster: FakeCluster, clock: Clock, message: str
) -> None:
    cluster.on_create = lambda name: (
        cluster.report("Job", name, "FailedCreate", message) if message else None
    )
    assert submit(name="digits").run.name in cluster.jobs
    assert clock.now - 1000 == pytest.approx(3, abs=0.2)


def test_a_run_that_the_cluster_holds_back_is_not_waited_for(
    submit: Any, cluster: FakeCluster, clock: Clock
) -> None:
    cluster.on_create = lambda name: cluster.jobs[name]["spec"].update(suspend=True)
    submit(name="digits")
    assert clock.now == 1000


def test_a_run_that_cannot_be_looked_at_stays(submit: Any, cluster: FakeCluster) -> None:
    cluster.refusals["get_job"] = [ClusterUnreachable("looking", "away", "wait")]
    assert submit(name="digits").run.name in cluster.jobs


def test_an_interrupt_while_it_is_looked_at_takes_it_back(
    submit: Any, cluster: FakeCluster, tmp_path: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    cluster.on_look = interrupt
    with pytest.raises(KeyboardInterrupt):
        submit(name="digits")
    assert not cluster.jobs
    assert not (tmp_path / "runs/digits").exists()
