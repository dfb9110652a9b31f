"""What is to be done about a place next: a pure function of what the cluster says.

One step at a time, each of which may be done again: whoever is killed between
two of them, or in one, goes on from what stands. The steps of putting files away
are written on the volume before the first is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from kfspawner.homes.ledger import Claim, Namespace, Request, Volume


class Step(StrEnum):
    """One thing to do about a place."""

    # The directory is made, then its volume.
    PROVISION = "provision"
    # All files are given to the person whom the claim says.
    OWN = "own"
    # The volume that is there is given to the claim that is there now.
    REBIND = "rebind"
    # The volume bears where its files go from now on.
    MARK = "mark"
    # The claim has its volume, and goes on saying that it has trouble, or asks for it.
    CLEAR = "clear"
    # The claim is deleted; the cluster keeps it until no pod uses it.
    UNCLAIM = "unclaim"
    # The directory moves, its volume is made there, the old one goes.
    ARCHIVE = "archive"
    RESTORE = "restore"
    HAND_OVER = "hand over"
    PURGE = "purge"
    # What was asked for cannot be done.
    REFUSE = "refuse"


@dataclass(frozen=True)
class Standing:
    """What the cluster says of one place.

    Attributes
    ----------
    claim, volume
        Those of the place itself; None where there is none.
    archives
        The volumes of what was archived from there, the newest first.
    namespace
        The profile's, as it is now; None if there is none of that name.
    """

    claim: Claim | None
    volume: Volume | None
    archives: Sequence[Volume]
    namespace: Namespace | None

    @property
    def asked(self) -> Volume | None:
        """The archive that something is asked for, if there is one."""
        return next((it for it in self.archives if it.request), None)

    @property
    def is_restoring(self) -> bool:
        """Whether the volume is there because an archive is being given back."""
        asked = self.asked
        return bool(self.volume and asked and self.volume.restored_from == asked.archived_as)


def next_step(standing: Standing) -> Step | None:
    """Return what is to be done about a place; None if nothing is, or if it must wait."""
    claim, volume = standing.claim, standing.volume
    if standing.is_restoring:
        return Step.RESTORE
    if volume and (volume.archived_as or is_over(standing, volume)):
        return _put_away(volume, claim)
    if claim and claim.request == Request.ARCHIVE and not claim.ending:
        # Nothing was made for it yet.
        return Step.UNCLAIM
    if claim and not claim.ending and is_profiles(standing.namespace):
        step = _serve(claim, volume)
        if step:
            return step
    return _answer(standing, standing.asked) if standing.asked else None


def is_over(standing: Standing, volume: Volume) -> bool:
    """Say whether files are to be put away: somebody asks for it, or their profile is gone."""
    asked = Request.ARCHIVE in (volume.request, standing.claim and standing.claim.request)
    there = standing.namespace
    return asked or there is None or there.uid != volume.namespace_uid


def is_profiles(namespace: Namespace | None) -> bool:
    """Say whether a namespace is there, and a Profile's."""
    return namespace is not None and namespace.is_profiles


def _serve(claim: Claim, volume: Volume | None) -> Step | None:
    if volume is None:
        return Step.PROVISION
    if volume.ids != claim.ids and not volume.place.is_folder:
        return Step.OWN
    if volume.claim != (claim.namespace, claim.name, claim.uid):
        return Step.REBIND
    return Step.CLEAR if claim.trouble or claim.request == Request.OWN else None


def _answer(standing: Standing, archive: Volume) -> Step:
    if archive.request == Request.PURGE:
        return Step.PURGE
    if archive.request == Request.HAND_OVER and archive.heir:
        return Step.HAND_OVER
    free = standing.volume is None and standing.claim is None and is_profiles(standing.namespace)
    return Step.RESTORE if free and archive.request == Request.RESTORE else Step.REFUSE


def _put_away(volume: Volume, claim: Claim | None) -> Step | None:
    if not volume.archived_as:
        return Step.MARK
    # A claim that came after it has its turn when this is done.
    if claim and claim.uid == volume.claim[2]:
        return Step.UNCLAIM
    return Step.ARCHIVE


def by_place(
    claims: Sequence[Claim], volumes: Sequence[Volume], namespaces: Mapping[str, Namespace]
) -> dict[str, Standing]:
    """Return how each place stands, by the name of its volume.

    An archive that is to be deleted stands for itself, by its own name: nobody
    waits until all files in it are gone.

    Parameters
    ----------
    claims, volumes
        All of ours in the cluster.
    namespaces
        All there are, by their names.
    """
    claimed = {it.place.volume: it for it in claims if it.place}
    live = {it.place.volume: it for it in volumes if not it.is_archive}
    archived: dict[str, list[Volume]] = {}
    purged = {it.name: it for it in volumes if it.is_archive and it.request == Request.PURGE}
    for it in sorted(volumes, key=lambda it: it.archived_as, reverse=True):
        if it.is_archive and it.name not in purged:
            archived.setdefault(it.place.volume, []).append(it)
    places = {it.place for it in volumes} | {it.place for it in claims if it.place}
    alone = {name: Standing(None, None, (it,), None) for name, it in purged.items()}
    return alone | {
        name: Standing(
            claim=claimed.get(name),
            volume=live.get(name),
            archives=tuple(archived.get(name, ())),
            namespace=namespaces.get(place.profile),
        )
        for name, place in ((it.volume, it) for it in places)
    }
