"""Which pods and events count for a run, and what is left of one that was given up."""

from __future__ import annotations

import pytest

from kfspawner.training.kinds import RunRequest, make_job
from kfspawner.training.state import RunState
from kfspawner.training.status import read_status
from tests.fakes.cluster import FakeCluster, Object, stamp
from tests.unit.test_kinds import CONTEXT, IMAGE

REQUEST = RunRequest("digits", IMAGE, ("true",), CONTEXT)


@pytest.fixture
def cluster() -> FakeCluster:
    made = FakeCluster()
    made.create_job(make_job(REQUEST))
    return made


def job_of(cluster: FakeCluster) -> Object:
    return cluster.jobs["digits"]


def test_what_it_is_and_when(cluster: FakeCluster) -> None:
    status = read_status(job_of(cluster), [cluster.end_pod("digits", 3)])
    assert (status.name, status.image) == ("digits", IMAGE)
    assert (status.state, status.exit_code) == (RunState.FAILED, 3)
    times = [status.created, status.started, status.finished]
    assert [time.isoformat() for time in times if time] == [
        f"2024-05-04T12:00:{second:02}+00:00" for second in (0, 5, 17)
    ]
    assert status.duration() == 12


def test_pods_of_an_earlier_job_do_not_count(cluster: FakeCluster) -> None:
    pod = cluster.end_pod("digits", 1)
    assert read_status(job_of(cluster), [pod]).state is RunState.FAILED
    pod["metadata"]["ownerReferences"][0]["uid"] = "uid-before"
    assert read_status(job_of(cluster), [pod]).state is RunState.CREATED


def test_events_of_an_earlier_job_do_not_count(cluster: FakeCluster) -> None:
    cluster.report("Job", "digits", "FailedCreate", 'Error creating: pods "a" is forbidden: no')
    assert read_status(job_of(cluster), [], cluster.events).state is RunState.FAILED
    cluster.events[0]["involvedObject"]["uid"] = "uid-before"
    assert read_status(job_of(cluster), [], cluster.events).state is RunState.CREATED


def give_up(job: Object) -> None:
    job["metadata"]["annotations"]["kfspawner.io/failed"] = "its image is gone"
    job["spec"]["suspend"] = True
    suspended = {"type": "Suspended", "status": "True", "lastTransitionTime": stamp(9)}
    job["status"]["conditions"] = [suspended]


def test_given_up_stays_failed_with_its_reason(cluster: FakeCluster) -> None:
    give_up(job_of(cluster))
    status = read_status(job_of(cluster), [])
    assert (status.state, status.reason) == (RunState.FAILED, "its image is gone")
    assert status.stuck
    assert status.finished is not None
    assert status.finished.second == 9


def test_given_up_while_its_pod_goes_is_failed(cluster: FakeCluster) -> None:
    give_up(job_of(cluster))
    pod = cluster.hinder_pod("digits", "ImagePullBackOff", "again")
    assert read_status(job_of(cluster), [pod]).reason == "its image is gone"


def test_what_succeeded_all_the_same_has_succeeded(cluster: FakeCluster) -> None:
    give_up(job_of(cluster))
    assert read_status(job_of(cluster), [cluster.end_pod("digits")]).state is RunState.SUCCEEDED


def test_resumed_by_hand_is_tried_again(cluster: FakeCluster) -> None:
    give_up(job_of(cluster))
    job_of(cluster)["spec"]["suspend"] = False
    assert read_status(job_of(cluster), [cluster.run_pod("digits")]).state is RunState.RUNNING


@pytest.mark.parametrize("state", list(RunState))
def test_ended_means_that_nothing_more_happens(state: RunState) -> None:
    assert state.ended == (state in {"Succeeded", "Failed", "Stopped"})
