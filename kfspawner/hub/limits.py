"""For how long a server may be idle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True)
class Limits:
    """Spans after which what is idle is stopped; what has none is not.

    Attributes
    ----------
    all
        Of every server for which nothing else stands; None for never.
    image_profiles, profiles
        Of servers of an image profile, by its key, and in a profile, by its name.
    both
        Of servers of an image profile in a profile, by the name and the key.
    """

    all: timedelta | None = None
    image_profiles: Mapping[str, timedelta] = field(default_factory=dict)
    profiles: Mapping[str, timedelta] = field(default_factory=dict)
    both: Mapping[tuple[str, str], timedelta] = field(default_factory=dict)

    def of(self, profile: str, image_profile: str) -> timedelta | None:
        """Return what holds for a server: what is said of most it is, then the shorter."""
        exact = self.both.get((profile, image_profile))
        if exact is not None:
            return exact
        found = (self.image_profiles.get(image_profile), self.profiles.get(profile))
        return min((it for it in found if it is not None), default=self.all)


def read_limits(
    span: timedelta | None,
    image_profiles: Iterable[tuple[str, timedelta]],
    profiles: Iterable[tuple[str, timedelta]],
) -> Limits:
    """Return the limits that a command line gives.

    Parameters
    ----------
    span
        For all.
    image_profiles
        By key.
    profiles
        By name, or as ``name/key`` for one image profile there.
    """
    given = dict(profiles)
    both = {(name, key): it for at, it in given.items() for name, _, key in [at.partition("/")]}
    return Limits(
        all=span,
        image_profiles=dict(image_profiles),
        profiles={name: it for (name, key), it in both.items() if not key},
        both={at: it for at, it in both.items() if at[1]},
    )
