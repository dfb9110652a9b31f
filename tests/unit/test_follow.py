"""A log is read to its end, each line once, whatever happens to the connections."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.errors import ClusterDenied, ClusterUnreachable
from kfspawner.training.kinds import RunRequest, make_job
from kfspawner.training.logs import Progress, follow_log, read_log
from kfspawner.training.observation import Observation, observe
from tests.fakes.cluster import BEGIN, FakeCluster
from tests.unit.test_kinds import CONTEXT, IMAGE


def nanos(moment: datetime, extra: int = 0) -> str:
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S.%f')}{extra:03}Z"


def make_cluster(lines: list[tuple[float, str]]) -> FakeCluster:
    cluster = FakeCluster()
    cluster.create_job(make_job(RunRequest("digits", IMAGE, ("true",), CONTEXT)))
    cluster.log = [f"{nanos(BEGIN + timedelta(seconds=at))} {text}" for at, text in lines]
    return cluster


def moments(cluster: FakeCluster, running: int) -> Iterator[Observation]:
    """Yield the run as it runs for some looks, and then as it has ended."""
    for _ in range(running):
        cluster.run_pod("digits")
        yield observe(cluster, "digits")
    cluster.end_pod("digits")
    yield observe(cluster, "digits")


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[float, str]]:
    """Draw a log in the order of writing, with equal times, equal lines and small disorder."""
    steps = draw(st.lists(st.sampled_from([0, 0, 0.000001, 0.4, 1, 7]), max_size=40))
    at, lines = 0.0, []
    for step in steps:
        at += step
        back = draw(st.sampled_from([0, 0, 0.5]))
        lines.append((max(0.0, at - back), draw(st.sampled_from(["", "a", "a b", " x"]))))
    return lines


@given(logs(), st.lists(st.integers(0, 30), max_size=8))
def test_no_line_is_lost_or_doubled(lines: list[tuple[float, str]], drops: list[int]) -> None:
    cluster = make_cluster(lines)
    cluster.drops = list(drops)
    found = list(follow_log(cluster, moments(cluster, running=len(drops))))
    assert found == [text for _, text in lines]


def test_connections_go_on_where_the_last_one_was() -> None:
    cluster = make_cluster([(n, str(n)) for n in range(20)])
    cluster.drops = [15]
    assert list(follow_log(cluster, moments(cluster, 1))) == [str(n) for n in range(20)]
    assert cluster.called("stream_log") == [
        ("digits-abcde", True, None),
        ("digits-abcde", False, "2024-05-04T12:00:12Z"),
    ]


def test_times_of_any_zone_and_precision_are_read() -> None:
    progress = Progress()
    lines = [
        "2024-05-04T14:00:00.123456789+02:00 one",
        "2024-05-04T12:00:03Z two",
        "unable to retrieve container logs",
    ]
    assert list(progress.new(lines)) == ["one", "two", lines[2]]
    assert progress.since == "2024-05-04T12:00:01Z"


def test_nanoseconds_tell_lines_apart() -> None:
    progress = Progress()
    lines = [f"{nanos(BEGIN, extra)} same" for extra in (1, 2)]
    assert list(progress.new(lines[:1])) == ["same"]
    assert list(progress.new(lines)) == ["same"]


def test_an_absent_node_is_asked_again() -> None:
    cluster = make_cluster([(0, "a"), (1, "b")])
    cluster.refusals["stream_log"] = [ClusterUnreachable("reading", "502", "wait")] * 2
    assert list(follow_log(cluster, moments(cluster, 3))) == ["a", "b"]


def test_a_log_that_is_forbidden_is_not_asked_for_again() -> None:
    cluster = make_cluster([(0, "a")])
    cluster.refusals["stream_log"] = [ClusterDenied("reading", "no rights", "ask")]
    with pytest.raises(ClusterDenied, match="no rights"):
        list(follow_log(cluster, moments(cluster, 1)))


def test_what_never_ran_has_no_log() -> None:
    cluster = make_cluster([(0, "a")])
    assert list(read_log(cluster, observe(cluster, "digits"))) == []
    cluster.hinder_pod("digits", "ImagePullBackOff")
    assert list(read_log(cluster, observe(cluster, "digits"))) == []
    cluster.end_pod("digits")
    assert list(read_log(cluster, observe(cluster, "digits"))) == ["a"]
