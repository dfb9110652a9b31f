"""What the benchmark of lists reads from the API server, and what it says of that."""

from __future__ import annotations

from collections import Counter

from tests.bench.listing import Lists, read_lists, report_lists

METRICS = """# TYPE apiserver_request_total counter
apiserver_request_total{code="200",resource="pods",scope="cluster",subresource="",verb="LIST"} 10
apiserver_request_total{code="200",resource="pods",scope="namespace",verb="LIST"} 1.5e+03
apiserver_request_total{code="200",resource="pods",scope="cluster",subresource="",verb="WATCH"} 99
apiserver_request_total{code="403",resource="events",scope="cluster",subresource="",verb="LIST"} 2
apiserver_request_terminations_total{code="200",resource="pods",subresource="",verb="LIST"} 7
"""


def measured(*rates: float) -> list[Lists]:
    stock = {"user-namespaces": 12.0, "namespace-each": 1200.0}
    kinds = Counter({"pods": 12})
    return [
        Lists(count, [rate, rate], kinds, stock)
        for count, rate in zip((1, 100, 1), rates, strict=True)
    ]


def test_lists_are_counted_by_resource_whoever_asked_and_whatever_the_answer() -> None:
    assert read_lists(METRICS) == {"pods": 1510, "events": 2}


def test_as_many_as_with_one_hold_the_bound() -> None:
    lines = report_lists(measured(12, 13, 12))
    assert [line.holds for line in lines if line.holds is not None] == [True]


def test_more_than_with_one_do_not() -> None:
    lines = list(report_lists(measured(12, 15, 12)))
    assert [line.holds for line in lines if line.holds is not None] == [False]
    assert any("+1200.0" in line.text for line in lines)
