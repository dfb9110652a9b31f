"""A uid for each person: which there are to give, and who gets which."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kfspawner.errors import InputError

_DOING = "reading c.KfSpawner.own_uid"
# Everybody's where people have none of their own; below it are the system's.
_EVERYBODYS = 1000
_LARGEST = 999_999_999
_UID = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class UidRange:
    """The uids that people get: from `first` to `last`, both included."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many there are."""
        return self.last - self.first + 1


def read_uid_range(raw: Mapping[str, Any]) -> UidRange | None:
    """Return what `c.KfSpawner.own_uid` declares; None where people have no uid of their own.

    Raises
    ------
    InputError
        If it is no range of uids that people may have.
    """
    if not raw:
        return None
    first, last = raw.get("first"), raw.get("last")
    if set(raw) != {"first", "last"} or type(first) is not int or type(last) is not int:
        raise InputError(_DOING, f"it is {str(raw)[:80]}", "give first and last, two whole numbers")
    if not _EVERYBODYS < first <= last <= _LARGEST:
        raise InputError(
            _DOING,
            f"{first} to {last} is no range of uids for people",
            f"give a first above {_EVERYBODYS}, and a last from there to {_LARGEST}",
        )
    return UidRange(first, last)


def pick_uid(uids: UidRange, person: str, taken: Collection[int]) -> int:
    """Return a uid that nobody has: the same for a name again, while it is free.

    Raises
    ------
    InputError
        If all are given.
    """
    digest = hashlib.sha256(person.encode("utf-8", "surrogatepass")).digest()
    start = int.from_bytes(digest) % uids.size
    # One of any more than there are taken is free.
    for step in range(min(uids.size, len(taken) + 1)):
        uid = uids.first + (start + step) % uids.size
        if uid not in taken:
            return uid
    raise InputError(
        f"giving {person!r:.80} a uid",
        f"all {uids.size} of c.KfSpawner.own_uid are given",
        "ask the administrator to make the range larger: who has a uid keeps it",
    )


def read_uid(text: str) -> int | None:
    """Return the uid that a text writes; None if it writes none that a person may have."""
    return int(text) if _UID.fullmatch(text) else None
