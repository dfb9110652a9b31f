"""The profiles of one person: what may be started where, and how the page shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kfspawner.profiles.directory import Choice
from kfspawner.profiles.profile import Owner, Role
from kfspawner.servers.options import ImageProfiles, Offers, StockProfiles


@dataclass(frozen=True)
class Place:
    """One Profile on the spawn page.

    Attributes
    ----------
    name, title
        What the cluster calls it, and people.
    about
        Whose it is, and what the person may do there.
    note
        Why nothing can be started there, or why it takes a moment; may be empty.
    open
        Whether it can be chosen.
    image_profiles
        The keys of those that it offers.
    """

    name: str
    title: str
    about: str
    note: str
    open: bool
    image_profiles: Sequence[str]


def in_order(choices: Iterable[Choice], personal: str) -> list[Choice]:
    """Return the choices as they are offered: the person's own, shared, then closed ones."""

    def rank(choice: Choice) -> int:
        if choice.profile.name == personal:
            return 0
        return 1 if choice.role.may_spawn and not choice.standing.final else 2

    return sorted(choices, key=rank)


def make_offers(
    choices: Iterable[Choice],
    image_profiles: ImageProfiles,
    entries: StockProfiles | None = None,
) -> Offers:
    """Return what may be started in which of `choices`, in their order.

    `entries` are those of KubeSpawner's `profile_list`, which a profile offers like others.
    A profile that is not ready is among them: why it is not is said when a
    server is started in it.
    """
    profiles: dict[str, ImageProfiles] = {}
    stock: dict[str, StockProfiles] = {}
    looks = []
    for choice in choices:
        if choice.role.may_spawn:
            name, offers = choice.profile.name, choice.profile.offers
            profiles[name] = {key: it for key, it in image_profiles.items() if offers(key)}
            stock[name] = {key: it for key, it in (entries or {}).items() if offers(key)}
        else:
            looks.append(choice.profile.name)
    return Offers(profiles, looks, stock)


def make_places(choices: Iterable[Choice], user: str, offers: Offers) -> list[Place]:
    """Return what the page shows of `choices`, in their order."""
    return [_make_place(choice, user, offers) for choice in choices]


def _make_place(choice: Choice, user: str, offers: Offers) -> Place:
    profile, standing = choice.profile, choice.standing
    own = profile.owner == Owner("User", user)
    about = (
        "Your own" if own else f"Owned by {_whose(profile.owner)}; your role: {choice.role.value}"
    )
    note = ""
    if choice.role is Role.VIEW:
        note = "You may look, and start no server."
    elif standing.final:
        note = f"Nothing can be started here: {standing.why}"
    elif not standing.ready:
        note = "It is being prepared; your server waits for it."
    return Place(
        name=profile.name,
        title=profile.title,
        about=about,
        note=note,
        open=choice.role.may_spawn and not standing.final,
        image_profiles=(*offers.image_profiles(profile.name), *offers.entries(profile.name)),
    )


def _whose(owner: Owner) -> str:
    return f"group {owner.name}" if owner.kind == "Group" else owner.name
