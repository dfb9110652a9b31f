"""How the profiles of one person stand on the spawn page."""

from __future__ import annotations

import pytest

from kfspawner.profiles.directory import Choice
from kfspawner.profiles.profile import Owner, Profile, Role
from kfspawner.profiles.standing import Standing
from kfspawner.servers.images import read_image_profiles
from kfspawner.servers.places import in_order, make_offers, make_places
from tests.fakes.profiles import PROFILES

IMAGES = read_image_profiles(PROFILES)


def choice(
    name: str,
    role: Role = Role.EDIT,
    standing: Standing | None = None,
    image_profiles: tuple[str, ...] = (),
    owner: Owner | None = None,
) -> Choice:
    of = owner or Owner("User", "bob")
    profile = Profile(name, of, image_profiles=image_profiles)
    return Choice(profile, role, standing or Standing(profile, ready=True))


BROKEN = Standing(None, ready=False, why="NamespaceTaken: not ours", final=True)
COMING = Standing(None, ready=False, why="nobody has looked at it yet")


def test_ones_own_comes_first_and_what_is_closed_last() -> None:
    choices = [
        choice("a-museum", Role.VIEW),
        choice("b-broken", standing=BROKEN),
        choice("c-team"),
        choice("kf-alice", Role.ADMIN),
    ]

    names = [it.profile.name for it in in_order(choices, "kf-alice")]

    assert names == ["kf-alice", "c-team", "a-museum", "b-broken"]


def test_offers_are_what_each_profile_and_role_allow() -> None:
    offers = make_offers(
        [
            choice("all"),
            choice("gpus", image_profiles=("gpu", "gone")),
            choice("museum", Role.VIEW),
            choice("broken", standing=BROKEN),
        ],
        IMAGES,
    )

    assert {name: list(it) for name, it in offers.profiles.items()} == {
        "all": ["cpu", "gpu"],
        "gpus": ["gpu"],
        "broken": ["cpu", "gpu"],
    }
    assert offers.looks == ["museum"]


@pytest.mark.parametrize(
    ("chosen", "about", "note", "is_open"),
    [
        (choice("x", owner=Owner("User", "alice")), "Your own", "", True),
        (choice("x"), "Owned by bob; your role: edit", "", True),
        (
            choice("x", Role.ADMIN, owner=Owner("Group", "leads")),
            "Owned by group leads; your role: admin",
            "",
            True,
        ),
        (choice("x", Role.VIEW), "Owned by bob; your role: view", "You may look, and start", False),
        (choice("x", standing=BROKEN), "Owned by bob; your role: edit", "not ours", False),
        (choice("x", standing=COMING), "Owned by bob; your role: edit", "being prepared", True),
    ],
)
def test_places(chosen: Choice, about: str, note: str, is_open: bool) -> None:  # noqa: FBT001
    (place,) = make_places([chosen], "alice", make_offers([chosen], IMAGES))

    assert place.about == about
    assert note in place.note
    assert bool(note) == bool(place.note)
    assert place.open is is_open
