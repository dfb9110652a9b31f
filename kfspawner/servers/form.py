"""The spawn page's form: profiles to choose from, and what can be started in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from kfspawner.errors import OptionRefused
from kfspawner.servers.cards import Card, Sent, first_of, make_card, make_stock_card
from kfspawner.servers.fitting import (
    ANYWHERE,
    NOTHING_KNOWN,
    Capacity,
    Finding,
    Placement,
    describe_options,
)
from kfspawner.servers.free import show_free, show_left
from kfspawner.servers.image_contents import Labels, show_frameworks
from kfspawner.servers.images import ImageProfile
from kfspawner.servers.options import (
    INSTEAD,
    Offers,
    Options,
    ServerOptions,
    StockProfiles,
    form_to_json,
    read_sizes,
    to_instead,
)
from kfspawner.servers.places import Place
from kfspawner.servers.stock import UNLISTED


@dataclass(frozen=True)
class Page:
    """What one person's page offers.

    Attributes
    ----------
    places
        Their profiles, the default first.
    image_profiles
        All that there are, the default first.
    trouble
        What keeps the page from being as it should be, in a sentence; may be empty.
    capacity
        What is free now.
    placement
        Where servers may go.
    entries
        Those of KubeSpawner's `profile_list`.
    labels
        What is known of images' labels, by image profile.
    """

    places: Sequence[Place]
    image_profiles: Mapping[str, ImageProfile]
    trouble: str = ""
    capacity: Capacity = NOTHING_KNOWN
    placement: Placement = ANYWHERE
    entries: StockProfiles = field(default_factory=dict)
    labels: Mapping[str, Labels] = field(default_factory=dict)

    def place(self, *names: str) -> Place | None:
        """Return the first place that can be chosen: of `names`, then of all."""
        choosable = {place.name: place for place in self.places if place.open}
        return next(
            (choosable[name] for name in (*names, *choosable) if name in choosable),
            None,
        )

    @cached_property
    def keys(self) -> list[str]:
        """What is offered in any place that can be chosen; everything, if there is none."""
        offered = {key for place in self.places if place.open for key in place.image_profiles}
        known = [
            *self.image_profiles,
            *(it for it in self.entries if it not in self.image_profiles),
        ]
        return [key for key in known if key in offered] or known

    @cached_property
    def offers(self) -> Offers:
        """What may be sent."""
        opened = [it for it in self.places if it.open]
        sized, entries = self.image_profiles, self.entries
        return Offers(
            {it.name: {k: sized[k] for k in it.image_profiles if k in sized} for it in opened},
            stock={
                it.name: {k: entries[k] for k in it.image_profiles if k in entries} for it in opened
            },
        )

    def find(self, card: Card, place: Place | None) -> Finding:
        """Return whether what the fields of a card say fits in a place now."""
        if place is None or card.key not in self.offers.image_profiles(place.name):
            return Finding()
        form = {"profile": [place.name], "image_profile": [card.key]}
        form |= {f"{card.key}.{it.name}": [it.value] for it in card.fields}
        form |= {it.name: [it.value] for it in card.lists}
        try:
            options = read_sizes(form_to_json(form, self.offers), self.offers)
        except OptionRefused:
            # What is typed is outside of what is offered, and the browser says so.
            return Finding()
        return self.capacity.find(options, self.offers, self.placement)


def render_form(page: Page, chosen: Options | None = None, sent: Sent | None = None) -> str:
    """Return the form's HTML.

    Parameters
    ----------
    page
        What is offered.
    chosen
        What the person's last server had, which the form proposes again.
    sent
        The form as it was just sent and refused, or is filled in: shown as it was typed.
    """
    sent = sent or {}
    place = page.place(first_of(sent, "profile"), chosen.profile if chosen else "")
    keys = place.image_profiles if place else page.keys
    wanted = (first_of(sent, "image_profile"), chosen.image_profile if chosen else "", *keys)
    cards = [_make_card(page, key, chosen, sent) for key in page.keys]
    return _template().render(
        page=page,
        place=place,
        left={it.name: show_left(page.capacity.left(it.name)) for it in page.places if it.open},
        cards=[_with_capacity(card, page, place) for card in cards],
        selected=next((key for key in wanted if key in page.keys), ""),
        instead_name=INSTEAD,
        unlisted=UNLISTED,
    )


def _make_card(page: Page, key: str, chosen: Options | None, sent: Sent) -> Card:
    if key in page.image_profiles:
        return make_card(page.image_profiles[key], chosen, sent)
    return make_stock_card(page.entries[key], chosen, sent)


def _with_capacity(card: Card, page: Page, place: Place | None) -> Card:
    """Return the card with what is in its image, what is free for it, and whether it fits."""
    profile = page.image_profiles.get(card.key)
    if profile is None:
        return card
    found = page.find(card, place)
    card = replace(
        card,
        frameworks=show_frameworks(page.labels.get(card.key, {})),
        free=_show_free(profile, page),
        why=found.why,
    )
    if found.nearest is None:
        return card
    instead = _call_instead(found.nearest, card.key, page, place)
    return replace(card, instead=instead, instead_value=to_instead(found.nearest))


def _show_free(profile: ImageProfile, page: Page) -> str:
    if page.capacity.rooms is None:
        return ""
    kinds = [profile.of_kind(key) for key in profile.kinds] or [profile]
    shown = [(it, show_free(it, page.capacity.rooms_of(it, page.placement))) for it in kinds]
    return ", ".join(f"{it.gpu_called}: {free}" if it.gpu_called else free for it, free in shown)


def _call_instead(options: ServerOptions, key: str, page: Page, place: Place | None) -> str:
    profile = page.image_profiles[options.image_profile]
    words = ["Start"]
    if options.image_profile != key:
        words.append(profile.display_name)
    words.append(f"with {describe_options(options, profile)}")
    if place is not None and options.profile != place.name:
        title = next(it.title for it in page.places if it.name == options.profile)
        words.append(f"in {title}")
    return " ".join([*words, "instead"])


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("kfspawner", "servers"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("form.html")
