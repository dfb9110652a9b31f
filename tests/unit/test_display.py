"""What notebooks show of runs, as text and as HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from kfspawner.notebook.display import (
    RunDetails,
    RunsTable,
    format_age,
    format_seconds,
    plain,
    short_image,
)
from tests.fakes.training import CREATED, IMAGE, make_status

NOW = CREATED + timedelta(minutes=5)
EVIL = '<img src=x onerror="alert(1)">&\x1b[31m\r\n'


class Reader(HTMLParser):
    """Reads tags, the text of cells, and their titles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.titles: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.titles += [value or "" for name, value in attrs if name == "title"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 s"),
        (-3, "0.0 s"),
        (0.31, "0.3 s"),
        (9.94, "9.9 s"),
        (9.96, "10.0 s"),
        (12, "12.0 s"),
        (59.6, "59.6 s"),
        (59.96, "1 min"),
        (245, "4 min 5 s"),
        (3599.7, "1 h"),
        (7380, "2 h 3 min"),
        (47 * 3600, "47 h"),
        (50 * 3600, "2 d 2 h"),
    ],
)
def test_seconds(seconds: float, expected: str) -> None:
    assert format_seconds(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-1, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
    ],
)
def test_age(seconds: float, expected: str) -> None:
    assert format_age(seconds) == expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [(IMAGE, "abcdef01abcd"), ("registry.example/a:1", "registry.example/a:1"), ("", "")],
)
def test_short_image(image: str, expected: str) -> None:
    assert short_image(image) == expected


def test_plain_moves_no_cursor() -> None:
    assert plain("a\x1b[2Jb\rc\nd\u202ee — ü") == "a [2Jb c d e — ü"


def test_table_as_text() -> None:
    table = RunsTable(
        [
            make_status("a", "Running"),
            make_status("digits-x7k2p", "Queued", "waits for a GPU"),
            make_status("c", "Failed", "exit code 1"),
        ],
        NOW,
    )
    assert repr(table).splitlines() == [
        "name          state    age    duration    image         reason",
        "a             Running  5 min  4 min 55 s  abcdef01abcd",
        "digits-x7k2p  Queued   5 min              abcdef01abcd  waits for a GPU",
        "c             Failed   5 min  12.0 s      abcdef01abcd  exit code 1",
    ]


def test_table_as_html() -> None:
    reader = Reader(RunsTable([make_status("a", "Failed", "exit code 1")], NOW)._repr_html_())
    assert reader.open == []
    assert reader.texts[:6] == ["name", "state", "age", "duration", "image", "reason"]
    assert reader.texts[6:] == ["a", "Failed", "5 min", "12.0 s", "abcdef01abcd", "exit code 1"]
    assert reader.titles == [IMAGE, "exit code 1"]


def test_long_reason_is_cut_and_kept_as_title() -> None:
    table = RunsTable([make_status(reason="why " * 100)], NOW)
    assert max(map(len, repr(table).splitlines())) < 150
    assert "why " * 100 in Reader(table._repr_html_()).titles


def test_no_runs_says_how_to_start_one() -> None:
    assert "%%kf run" in repr(RunsTable([]))
    assert "%%kf run" in RunsTable([])._repr_html_()


def test_details() -> None:
    shown = repr(RunDetails(make_status("a", "Failed", "exit code 1"), NOW)).splitlines()
    assert shown == [
        "run        a",
        "state      Failed",
        "reason     exit code 1",
        "exit code  1",
        "created    2024-05-04 12:00:00 UTC (5 min ago)",
        "started    2024-05-04 12:00:05 UTC (4 min ago)",
        "finished   2024-05-04 12:00:17 UTC (4 min ago)",
        "duration   12.0 s",
        f"image      {IMAGE}",
        "outputs    ~/runs/a/",
    ]


def test_details_of_a_run_that_nothing_is_known_of() -> None:
    status = replace(make_status("a", "Created"), created=None, image="")
    assert repr(RunsTable([status], NOW)).splitlines()[1].split() == ["a", "Created"]
    assert "started" not in repr(RunDetails(status, NOW))


@pytest.mark.parametrize("kind", ["table", "details"])
def test_persons_text_is_never_markup(kind: str) -> None:
    status = replace(make_status(EVIL, "Failed", EVIL), image=EVIL)
    shown = RunsTable([status], NOW) if kind == "table" else RunDetails(status, NOW)
    reader = Reader(shown._repr_html_())
    assert set(reader.tags) <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert any("onerror" in text for text in reader.texts)
    assert not re.search(r"[\x1b\r]", repr(shown) + shown._repr_html_())


@pytest.mark.parametrize("html", [RunsTable([make_status()], NOW), RunDetails(make_status(), NOW)])
def test_colours_are_left_to_the_theme(html: RunsTable | RunDetails) -> None:
    colours = re.findall(r"(?:color|background)[-a-z]*:\s*(\w+)", html._repr_html_())
    assert set(colours) == {"inherit"}
