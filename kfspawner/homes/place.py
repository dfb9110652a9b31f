"""Whose directory is where on an NFS export, and what its volume is called.

The layout is ``<export>/<profile>/<person>``. A person is their slug, which
begins with a letter; what begins with an underscore is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from kfspawner.names import home_claim_name, slug

# The claim of the files that all of a profile share, and their directory.
FOLDER_CLAIM = "profile-folder"
# Where it is mounted in a home, below this directory.
FOLDERS = "shared"
_FOLDER = "_shared"
_ARCHIVE = "_archive"
_STAMP = "%Y%m%dt%H%M%S"


@dataclass(frozen=True)
class Place:
    """Where one person's files in one profile are, or those that all of it share.

    Attributes
    ----------
    profile
        The profile's name, and its namespace's.
    person
        The person's JupyterHub name; empty for the profile's folder.
    """

    profile: str
    person: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether it is the profile's, and nobody's own."""
        return not self.person

    @property
    def directory(self) -> str:
        """Its directory below the export."""
        return f"{self.profile}/{self._stem}"

    @property
    def claim(self) -> str:
        """The name of its claim, in the profile's namespace."""
        return FOLDER_CLAIM if self.is_folder else home_claim_name(self.person)

    @property
    def volume(self) -> str:
        """The name of its PersistentVolume: one place has one, whoever makes it."""
        if self.is_folder:
            return f"folder.{self.profile}"
        return f"home.{self.profile}.{slug(self.person)}"

    @property
    def shared_claim(self) -> str:
        """The name of a claim of these files in another profile's namespace."""
        return f"shared-{self.claim}"

    def archived(self, stamp: str) -> Archived:
        """Return where its files go when they are archived at `stamp`."""
        return Archived(self, stamp)

    @property
    def _stem(self) -> str:
        return _FOLDER if self.is_folder else slug(self.person)

    def __str__(self) -> str:
        """Return what messages call it."""
        if self.is_folder:
            return f"the folder of profile {self.profile}"
        return f"the home of {self.person!r:.80} in profile {self.profile}"


@dataclass(frozen=True)
class Archived:
    """Where files are that were a place's until a moment.

    Attributes
    ----------
    place
        Whose they were.
    stamp
        When they were put away: ``20261124t101500-250z``.
    """

    place: Place
    stamp: str

    @property
    def directory(self) -> str:
        """Its directory below the export."""
        return f"{_ARCHIVE}/{self.place.directory}.{self.stamp}"

    @property
    def volume(self) -> str:
        """The name of its PersistentVolume."""
        return f"archive.{self.place.volume}.{self.stamp}"


def make_stamp(moment: datetime) -> str:
    """Return a moment as it stands in the names of what is archived."""
    at = moment.astimezone(UTC)
    # To the millisecond: one place may be archived twice in a second.
    return f"{at.strftime(_STAMP)}-{at.microsecond // 1000:03}z"
