"""deploy/RIGHTS.md, read back: which role holds which rules, and who has which role where."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[1] / "deploy" / "RIGHTS.md"

# Where a role is held.
CLUSTER = "the cluster"
PROFILE = "the profile"

_HEADING = re.compile(r"## `(?P<role>[^`]+)`.*")


@dataclass(frozen=True)
class Right:
    """One verb on one resource; `name` is empty where all objects are meant."""

    group: str
    resource: str
    verb: str
    name: str = ""


@dataclass(frozen=True)
class Grant:
    """Who has which role, and where: in `CLUSTER`, in `PROFILE`, or in one namespace."""

    who: str
    role: str
    where: str


@dataclass(frozen=True)
class Row:
    """One line of a role's table."""

    rights: frozenset[Right]
    why: str


def expand(rules: Iterable[Mapping[str, Any]]) -> frozenset[Right]:
    """Return what rules allow, as RBAC writes them."""
    return frozenset(
        Right(*combination)
        for rule in rules
        for combination in itertools.product(
            rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames") or [""]
        )
    )


def read_roles() -> dict[str, list[Row]]:
    """Return the documented rules of every role."""
    roles: dict[str, list[Row]] = {}
    role = ""
    for line in DOCUMENT.read_text().splitlines():
        if heading := _HEADING.fullmatch(line):
            role = heading["role"]
            roles[role] = []
        elif line.startswith("## "):
            role = ""
        elif role and (cells := _cells(line)):
            group, resources, verbs, names, why = cells
            rule = {
                "apiGroups": ["" if word == "core" else word for word in _words(group)],
                "resources": _words(resources),
                "verbs": _words(verbs),
                "resourceNames": _words(names),
            }
            roles[role].append(Row(expand([rule]), why))
    return roles


def read_grants() -> list[Grant]:
    """Return the documented table of who has which role."""
    return list(_read_grants())


def _read_grants() -> Iterator[Grant]:
    inside = False
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("## "):
            inside = line == "## Who has which role"
        elif inside and (cells := _cells(line)):
            yield Grant(*(cell.replace("`", "") for cell in cells))


def _cells(line: str) -> list[str]:
    """Return the cells of a line of a table; nothing for its head and for other lines."""
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    is_body = "`" in line and line.startswith("|")
    return cells if is_body else []


def _words(cell: str) -> list[str]:
    return [word.strip(" `") for word in cell.split(",") if word.strip(" `")]
