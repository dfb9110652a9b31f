"""Spans of time on the command line."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import click

_AGE = re.compile(r"([0-9]{1,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class AgeType(click.ParamType):  # type: ignore[type-arg]
    """A span of time: ``30d``, ``12h``, ``90s``."""

    name = "AGE"

    def convert(self, value: Any, param: Any, ctx: Any) -> timedelta:
        """Return the span that `value` writes."""
        if isinstance(value, timedelta):
            return value
        match = _AGE.fullmatch(value.strip())
        if not match:
            self.fail(f"{value!r} is no span of time: write 30d, 12h, 45m or 90s", param, ctx)
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
