"""KubeSpawner's `profile_list` beside image profiles: by form, by API, and refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kfspawner.errors import InputError, OptionRefused
from kfspawner.servers.images import read_image_profiles
from kfspawner.servers.options import Offers, form_to_json, read_options
from kfspawner.servers.stock import StockOptions, make_stock_overrides, read_profile_list
from tests.fakes import profiles

BOMB = "{userid:>1000000000}"
# As KubeSpawner 7.1 documents it.
PROFILE_LIST: list[dict[str, Any]] = [
    {
        "display_name": "Demo - profile_list entry 1",
        "description": "A <b>demonstration</b>",
        "slug": "demo-1",
        "profile_options": {
            "image": {
                "display_name": "Image",
                "choices": {
                    "base": {
                        "display_name": "Base",
                        "kubespawner_override": {"image": "quay.io/jupyter/base:1"},
                    },
                    "minimal": {
                        "display_name": "Minimal",
                        "default": True,
                        "kubespawner_override": {"image": "quay.io/jupyter/minimal:1"},
                    },
                },
                "unlisted_choice": {
                    "enabled": True,
                    "display_name": "Image of yours",
                    "display_name_in_choices": "Enter image manually",
                    "validation_regex": "^quay.io/.+:.+$",
                    "validation_message": "It is of quay.io",
                    "kubespawner_override": {"image": "{value}"},
                },
            },
        },
        "kubespawner_override": {"default_url": "/lab", "environment": {"A": "1"}},
    },
    {
        "display_name": "Demo two",
        "profile_options": {
            "size": {
                "display_name": "Size",
                "choices": {
                    "small": {"display_name": "Small", "kubespawner_override": {"cpu_limit": 1}},
                    "large": {"display_name": "Large", "kubespawner_override": {"cpu_limit": 4}},
                },
            },
            "tag": {
                "display_name": "Tag",
                "unlisted_choice": {
                    "enabled": True,
                    "kubespawner_override": {
                        "image": "quay.io/team/image:{value}",
                        "extra_annotations": {"{value}": "{username} {value:>9} {{}}"},
                    },
                },
            },
        },
    },
]
ENTRIES = read_profile_list(PROFILE_LIST)
SIZED = read_image_profiles(profiles.PROFILES)
OFFERS = Offers(
    {"kf-alice": SIZED, "vision": {}},
    looks=["museum"],
    stock={"kf-alice": ENTRIES, "vision": {"demo-1": ENTRIES["demo-1"]}},
)


def overrides(raw: dict[str, Any], *registries: str) -> list[dict[str, Any]]:
    options = read_options(raw, OFFERS)
    assert isinstance(options, StockOptions)
    entry = OFFERS.entries(options.profile)[options.image_profile]
    return [dict(it) for it in make_stock_overrides(entry, options, registries)]


@pytest.mark.parametrize(
    ("raw", "place", "chosen", "typed"),
    [
        # KubeSpawner's own format.
        ({"profile": "demo-1"}, "kf-alice", {"image": "minimal"}, {}),
        ({"profile": "demo-1", "image": "base"}, "kf-alice", {"image": "base"}, {}),
        ({"profile": "demo-1", "image": ""}, "kf-alice", {"image": "minimal"}, {}),
        (
            {"profile": "demo-1", "image--unlisted-choice": "quay.io/team/x:1", "image": "base"},
            "kf-alice",
            {},
            {"image": "quay.io/team/x:1"},
        ),
        # Ours, with the Profile that it runs in.
        (
            {"profile": "vision", "image_profile": "demo-1", "image": "base"},
            "vision",
            {"image": "base"},
            {},
        ),
        ({"profile": "vision"}, "vision", {"image": "minimal"}, {}),
        ({"image_profile": "demo-1"}, "kf-alice", {"image": "minimal"}, {}),
        (
            {"profile": "demo-two", "tag": None, "tag--unlisted-choice": "2"},
            "kf-alice",
            {"size": "small"},
            {"tag": "2"},
        ),
    ],
)
def test_what_is_offered_is_taken(
    raw: dict[str, Any], place: str, chosen: dict[str, str], typed: dict[str, str]
) -> None:
    options = read_options(raw, OFFERS)

    assert isinstance(options, StockOptions)
    assert (options.profile, options.chosen, options.typed) == (place, chosen, typed)
    stored = json.loads(json.dumps(options.to_json()))
    assert read_options(stored, OFFERS) == options


@pytest.mark.parametrize(
    ("raw", "field", "said"),
    [
        ({"image": "tiny"}, "image='tiny'", "choose one of base, minimal"),
        ({"image": ["base"]}, "image=['base']", "there is no such choice"),
        ({"image": {"a": 1}}, "image={'a': 1}", "there is no such choice"),
        ({"image": 7}, "image=7", "there is no such choice"),
        ({"garbage": "x"}, "garbage", "its options are image"),
        ({"cpu": 2}, "cpu", "has no such option"),
        ({"image--unlisted-choice": "docker.io/x:1"}, "docker.io/x:1", "It is of quay.io"),
        # Not matched whole.
        ({"image--unlisted-choice": "quay.io/x:1\n"}, "quay.io/x:1", "other than plain ones"),
        ({"image--unlisted-choice": "quay.io/x:1\nevil"}, "quay.io", "other than plain ones"),
        ({"image--unlisted-choice": "evil.io/quay.io/x:1"}, "evil.io", "It is of quay.io"),
        ({"image--unlisted-choice": f"quay.io/x:{BOMB}"}, "userid", "braces"),
        ({"image--unlisted-choice": "quay.io/$(SECRET):1"}, "SECRET", "$("),
        ({"image--unlisted-choice": "quay.io/x:ä"}, "quay.io", "other than plain ones"),
        ({"image--unlisted-choice": ["quay.io/x:1"]}, "['quay.io/x:1']", "it is list"),
        ({"image--unlisted-choice": True}, "True", "it is bool"),
        ({"image--unlisted-choice": "quay.io/x:" + "1" * 1_000_000}, "quay.io", "1000010 char"),
    ],
)
def test_the_rest_is_refused_by_name(raw: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(OptionRefused) as refused:
        overrides({"profile": "demo-1", **raw})

    assert field in refused.value.doing
    assert said in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "image",
    [
        "quay.io/../x:1",
        "quay.io/x/..:1",
        "quay.io/X:1",
        "quay.io/x@sha256:123:1",
        "quay.io/x:1@sha256:zz",
        "quay.io/x y:1",
        "quay.io/x:1:2",
    ],
)
def test_what_is_no_image_is_refused(image: str) -> None:
    with pytest.raises(OptionRefused, match="reading the image reference"):
        overrides({"profile": "demo-1", "image--unlisted-choice": image})


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"profile": "secret"}, "none of that name"),
        ({"profile": "museum"}, "your role there is view"),
        ({"profile": "museum", "image_profile": "demo-1"}, "your role there is view"),
        ({"profile": "vision", "image_profile": "demo-two"}, "choose one of demo-1"),
        ({"profile": "demo-two"}, "there is no default; type one"),
        ({"profile": "demo-two", "size": "large"}, "tag=None"),
        ({"image_profile": "demo"}, "choose one of cpu, gpu, demo-1, demo-two"),
    ],
)
def test_nobody_gets_more_than_their_profiles_offer(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionRefused, match=said):
        read_options(raw, OFFERS)


def test_image_profiles_are_read_as_before() -> None:
    assert read_options({}, OFFERS).image_profile == "cpu"
    with pytest.raises(OptionRefused, match="the options are profile"):
        read_options({"image": "base"}, OFFERS)


def test_without_image_profiles_the_default_entry_is_taken() -> None:
    second = read_profile_list([PROFILE_LIST[0], {"display_name": "Two", "default": True}])

    assert read_options({}, Offers({"a": {}}, stock={"a": second})).image_profile == "two"
    assert read_options({}, Offers({"a": {}}, stock={"a": ENTRIES})).image_profile == "demo-1"


def test_what_it_sets_is_kubespawners() -> None:
    assert overrides({"profile": "demo-1"}) == [
        {"default_url": "/lab", "environment": {"A": "1"}},
        {"image": "quay.io/jupyter/minimal:1"},
    ]


def test_what_is_typed_is_put_in_and_not_formatted() -> None:
    made = overrides({"profile": "demo-two", "tag--unlisted-choice": "2"})

    assert made[2] == {
        "image": "quay.io/team/image:2",
        "extra_annotations": {"2": "{username} {value:>9} {}"},
    }


@pytest.mark.parametrize(
    ("registries", "taken"),
    [
        ((), True),
        (("quay.io",), True),
        (("docker.io", "quay.io/team/"), True),
        (("quay.io/tea",), False),
        (("docker.io",), False),
    ],
)
def test_registries_may_be_limited(registries: tuple[str, ...], *, taken: bool) -> None:
    raw = {"profile": "demo-1", "image--unlisted-choice": "quay.io/team/x:1"}
    if taken:
        assert overrides(raw, *registries)[1] == {"image": "quay.io/team/x:1"}
    else:
        with pytest.raises(OptionRefused, match=r"images of quay\.io are not offered"):
            overrides(raw, *registries)


@pytest.mark.parametrize(
    ("form", "raw"),
    [
        ({"image_profile": ["demo-1"]}, {"image_profile": "demo-1"}),
        # As KubeSpawner's own form sends it.
        (
            {"profile": ["demo-1"], "profile-option-demo-1--image": ["base"]},
            {"profile": "demo-1", "image": "base"},
        ),
        (
            {
                "profile": ["vision"],
                "image_profile": ["demo-1"],
                "profile-option-demo-1--image": ["unlisted-choice"],
                "profile-option-demo-1--image--unlisted-choice": ["quay.io/x:1"],
                "cpu.cpu": ["2"],
            },
            {
                "profile": "vision",
                "image_profile": "demo-1",
                "image--unlisted-choice": "quay.io/x:1",
            },
        ),
        # Without JavaScript both are sent, and the list says which counts.
        (
            {
                "image_profile": ["demo-1"],
                "profile-option-demo-1--image": ["base"],
                "profile-option-demo-1--image--unlisted-choice": ["quay.io/x:1"],
            },
            {"image_profile": "demo-1", "image": "base"},
        ),
    ],
)
def test_a_form_becomes_json(form: dict[str, list[str]], raw: dict[str, Any]) -> None:
    assert form_to_json(form, OFFERS) == raw


def test_a_form_with_another_field_is_refused() -> None:
    with pytest.raises(OptionRefused, match="profile-option-demo-1--size: there is no such"):
        form_to_json({"profile-option-demo-1--size": ["x"]}, OFFERS)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        "demo",
        {"display_name": "A", "profile_options": {"x": None}},
        {
            "display_name": "A",
            "profile_options": {
                "x": {"unlisted_choice": {"enabled": True, "validation_regex": "("}}
            },
        },
    ],
)
def test_an_entry_that_cannot_be_used_is_named(entry: Any) -> None:
    with pytest.raises(InputError, match=r"c\.KfSpawner\.profile_list"):
        read_profile_list([entry])
