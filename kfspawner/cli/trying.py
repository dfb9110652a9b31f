"""What the cluster would say to a config: everything is sent as a dry run, and nothing is made."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from kfspawner.cli.applying import CONFIG_MANAGER, of_config
from kfspawner.errors import (
    ClusterError,
    ClusterUnreachable,
    InputError,
    ObjectExists,
    ProfileRefused,
)
from kfspawner.profiles.api import Api, Object
from kfspawner.profiles.profile import (
    Manifest,
    Profile,
    is_ready,
    make_profile,
    read_profile,
    why_not_ready,
)
from kfspawner.quota import QuotaExcess


class Trial:
    """A cluster that is asked, and changed in nothing.

    What it would refuse is an InputError; a ClusterUnreachable ends all trials.

    Parameters
    ----------
    api
        The cluster.
    known
        The Profile objects that it has, by their names.
    """

    def __init__(self, api: Api, known: Mapping[str, Object]) -> None:
        self._api = api
        self._known = known

    @classmethod
    async def begin(cls, api: Api) -> Trial:
        """Return the cluster as it is now."""
        found, _ = await api.list("Profile")
        return cls(api, {it["metadata"]["name"]: it for it in found})

    async def try_profile(self, profile: Profile) -> str:
        """Ask for a Profile as the config applies it; return what there is to say of it."""
        doing = f"applying Profile {profile.name}"
        known = self._known.get(profile.name)
        if known and not of_config(known):
            _check_owner(doing, known, profile)
        manifest = make_profile(profile)
        await _ask(doing, self._api.apply(manifest, manager=CONFIG_MANAGER, dry_run=True))
        if known and not is_ready(known):
            why = f"it is on the cluster, and not ready: {why_not_ready(known)}"
            raise InputError(doing, why, f"see `kfspawner profiles show {profile.name}`")
        return ""

    async def try_in(self, profile: Profile, manifest: Manifest) -> str:
        """Ask for a pod or a claim in a profile; return what there is to say of it.

        Where the profile's namespace is not there yet, in that of another one.
        """
        place = self._place(profile)
        if not place:
            return "rendered, and not tried: no profile is ready yet"
        elsewhere = place != profile.name
        doing = f"creating {manifest['kind']} {manifest['metadata']['name']} in {place}"
        metadata = {**manifest["metadata"], "namespace": place}
        said = f"tried in {place}, because {profile.name} is not there yet" if elsewhere else ""
        try:
            await self._api.create({**manifest, "metadata": metadata}, dry_run=True)
        except ClusterUnreachable:
            raise
        except ObjectExists:
            # Of somebody who checked before; all the rest was in order.
            return said
        except ClusterError as error:
            excess = QuotaExcess.parse(error.cause)
            if excess and (elsewhere or excess.may_fit_later):
                return said or f"just now {excess.describe(place)}"
            raise InputError(doing, error.cause, "see c.KfSpawner in the config") from error
        return said

    def _place(self, profile: Profile) -> str:
        ready = sorted(name for name, it in self._known.items() if is_ready(it))
        if profile.name in ready:
            return profile.name
        return ready[0] if ready else ""


def _check_owner(doing: str, known: Object, profile: Profile) -> None:
    try:
        owner = read_profile(known).owner
    except ProfileRefused:
        return
    if owner != profile.owner:
        raise InputError(
            doing,
            f"there is one of that name which the config did not make, and it belongs to "
            f"{owner.kind.lower()} {owner.name}",
            "give the config's another name, or its owner",
        )


async def _ask(doing: str, work: Awaitable[object]) -> None:
    try:
        await work
    except ClusterUnreachable:
        raise
    except ClusterError as error:
        raise InputError(doing, error.cause, error.way_out) from error
