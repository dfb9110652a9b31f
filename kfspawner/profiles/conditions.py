"""What the controller says of a Profile, in the Profile's status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_TYPES = ("Ready", "Plugins")
_MESSAGE_LIMIT = 1000


@dataclass(frozen=True)
class Condition:
    """One thing that is so, or is not, and why."""

    type: str
    holds: bool
    reason: str
    message: str = ""

    def write(self, since: str) -> dict[str, str]:
        """Return it as it stands in a status."""
        return {
            "type": self.type,
            "status": str(self.holds),
            "reason": self.reason,
            "message": self.message[:_MESSAGE_LIMIT],
            "lastTransitionTime": since,
        }

    def stands_in(self, written: Mapping[str, Any]) -> bool:
        """Say whether `written` says this; Kubeflow's own definition keeps no reason."""
        expected = self.write("")
        return (
            all(written.get(part) == expected[part] for part in ("type", "status", "message"))
            and written.get("reason", self.reason) == self.reason
        )


def ready(message: str) -> Condition:
    """Return that all is as the Profile says."""
    return Condition("Ready", holds=True, reason="Ready", message=message)


def not_ready(reason: str, message: str) -> Condition:
    """Return that it is not, and why."""
    return Condition("Ready", holds=False, reason=reason, message=message)


def revise(
    written: Iterable[Mapping[str, Any]], conditions: Iterable[Condition]
) -> list[Mapping[str, Any]] | None:
    """Return the conditions that a status should have; None if it has them.

    Parameters
    ----------
    written
        Those that it has. Those of types that are not ours stay.
    conditions
        Ours, all of them.
    """
    before = {str(it.get("type")): it for it in written}
    revised = [it for name, it in before.items() if name not in _TYPES]
    for condition in conditions:
        old = before.get(condition.type, {})
        if condition.stands_in(old):
            revised.append(old)
            continue
        same = old.get("status") == str(condition.holds)
        revised.append(condition.write((same and old.get("lastTransitionTime")) or _now()))
    # The order says nothing.
    return None if {id(it) for it in revised} == {id(it) for it in before.values()} else revised


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
