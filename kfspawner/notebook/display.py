"""What a notebook shows: lines, a table of runs, one run in detail.

Colours are the theme's own, so that it reads in the dark as well; whatever a
person could have written is escaped.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from kfspawner.training.status import RunStatus

if TYPE_CHECKING:
    from kfspawner.packaging.restore import Restored

_COLUMNS = ("name", "state", "age", "duration", "image", "reason")
_DIGEST_SHOWN = 12
_REASON_SHOWN = 80
_CELL = "text-align: left; padding: 0.2em 1em 0.2em 0; border: none; vertical-align: top"
_SHORT = f"{_CELL}; white-space: nowrap"
_LONG = f"{_CELL}; overflow-wrap: anywhere"
_TABLE = "border-collapse: collapse; border: none; margin: 0; color: inherit"


def say(line: str) -> None:
    """Show one line now."""
    print(line, flush=True)  # noqa: T201 -- a cell's output is what print writes


def format_seconds(seconds: float) -> str:
    """Return a duration as people say it: ``0.3 s``, ``4 min 5 s``, ``2 h 3 min``."""
    if seconds < 59.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    minutes, whole = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {whole} s" if whole else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def format_age(seconds: float) -> str:
    """Return how long ago something was, in its largest unit: ``5 s``, ``4 min``, ``3 d``."""
    whole = max(int(seconds), 0)
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (172_800, 3600, "h")):
        if whole < limit:
            return f"{whole // size} {unit}"
    return f"{whole // 86_400} d"


def duration(status: RunStatus, now: datetime) -> float | None:
    """Return for how many seconds a run ran, until `now` if it still does; None if unknown."""
    if status.started is None or (status.state.ended and status.finished is None):
        return None
    return _since(status.started, status.finished or now)


def short_image(image: str) -> str:
    """Return the start of the image's digest, or the image where it has none."""
    _, at, digest = image.partition("@sha256:")
    return digest[:_DIGEST_SHOWN] if at else image


def plain(text: str) -> str:
    """Return `text` on one line, without what would move a terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in text)


@dataclass(frozen=True)
class RunsTable:
    """Runs in the order given, as text and as HTML.

    Attributes
    ----------
    runs
        What to show.
    now
        The moment that ages count from.
    """

    runs: Sequence[RunStatus]
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __repr__(self) -> str:
        if not self.runs:
            return _NO_RUNS
        rows = [_COLUMNS, *(self._row(status) for status in self.runs)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def _repr_html_(self) -> str:
        if not self.runs:
            return f"<p>{escape(_NO_RUNS)}</p>"
        body = "".join(self._html_row(status) for status in self.runs)
        return (
            f'<table style="{_TABLE}"><thead>{_html_cells("th", _COLUMNS)}</thead>'
            f"<tbody>{body}</tbody></table>"
        )

    def _row(self, status: RunStatus) -> tuple[str, ...]:
        ran = duration(status, self.now)
        reason = plain(status.reason)
        return (
            plain(status.name),
            str(status.state),
            "" if status.created is None else format_age(_since(status.created, self.now)),
            "" if ran is None else format_seconds(ran),
            plain(short_image(status.image)),
            reason if len(reason) <= _REASON_SHOWN else f"{reason[: _REASON_SHOWN - 1]}…",
        )

    def _html_row(self, status: RunStatus) -> str:
        cells = self._row(status)
        titles = {"image": plain(status.image), "reason": plain(status.reason)}
        return _html_cells("td", cells, titles)


@dataclass(frozen=True)
class RunDetails:
    """All that is known of one run, as text and as HTML."""

    status: RunStatus
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __repr__(self) -> str:
        return "\n".join(f"{label:<10} {plain(text)}" for label, text in self._rows())

    def _repr_html_(self) -> str:
        body = "".join(
            f'<tr><th style="{_SHORT}">{label}</th>'
            f'<td style="{_LONG}">{escape(plain(text))}</td></tr>'
            for label, text in self._rows()
        )
        return f'<table style="{_TABLE}"><tbody>{body}</tbody></table>'

    def _rows(self) -> Iterable[tuple[str, str]]:
        status = self.status
        ran = duration(status, self.now)
        yield "run", status.name
        yield "state", str(status.state)
        if status.reason:
            yield "reason", status.reason
        if status.exit_code is not None:
            yield "exit code", str(status.exit_code)
        for label, moment in (
            ("created", status.created),
            ("started", status.started),
            ("finished", status.finished),
        ):
            if moment is not None:
                yield label, self._moment(moment)
        if ran is not None:
            yield "duration", format_seconds(ran)
        yield "image", status.image
        yield "outputs", outputs_place(status.name)

    def _moment(self, moment: datetime) -> str:
        ago = format_age(_since(moment, self.now))
        return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC ({ago} ago)"


def describe_restored(restored: Restored) -> Iterable[str]:
    """Yield lines that say where a run's code is, and what it was."""
    yield f"the code of {restored.image} is in {restored.folder}"
    told = restored.provenance
    what = " ".join(filter(None, (told.kind, told.path)))
    commit = f"commit {told.commit}" if told.commit else ""
    changed = "with changes that are not in it" if told.commit and told.dirty else ""
    facts = ", ".join(filter(None, (what, commit, changed)))
    if facts:
        yield plain(f"it was: {facts}")
    if restored.command:
        yield plain(f"it ran: {shlex.join(restored.command)}")


def outputs_place(name: str) -> str:
    """Return where a person finds what a run left in its /outputs."""
    return f"~/runs/{name}/"


def _since(moment: datetime, now: datetime) -> float:
    return (now - moment).total_seconds()


_NO_RUNS = "no runs yet; %%kf run at the top of a cell starts one"


def _html_cells(tag: str, cells: Iterable[str], titles: dict[str, str] | None = None) -> str:
    shown = []
    for column, cell in zip(_COLUMNS, cells, strict=True):
        title = (titles or {}).get(column)
        more = f' title="{escape(title)}"' if title else ""
        style = _LONG if column == "reason" else _SHORT
        shown.append(f'<{tag} style="{style}"{more}>{escape(cell)}</{tag}>')
    return f"<tr>{''.join(shown)}</tr>"
