"""What a person may choose, by form, link and API, and how the rest is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.errors import OptionRefused
from kfspawner.servers.images import read_image_profiles
from kfspawner.servers.options import (
    FIELDS,
    Offers,
    ServerOptions,
    form_to_json,
    make_overrides,
    read_options,
    read_sizes,
    to_instead,
)
from tests.fakes import profiles

GIB = 2**30
PROFILES = read_image_profiles(profiles.PROFILES)
OFFERS = Offers(
    {"kf-alice": PROFILES, "vision": {"gpu": PROFILES["gpu"]}, "empty": {}}, looks=["museum"]
)


@pytest.mark.parametrize(
    ("raw", "options"),
    [
        ({}, ServerOptions("kf-alice", "cpu", 1, 2 * GIB, 0)),
        ({"image_profile": "gpu"}, ServerOptions("kf-alice", "gpu", 1, GIB, 1)),
        ({"cpu": 4, "memory": "512M"}, ServerOptions("kf-alice", "cpu", 4, GIB // 2, 0)),
        ({"cpu": 0.5, "gpu": 0}, ServerOptions("kf-alice", "cpu", 0.5, 2 * GIB, 0)),
        ({"image_profile": "gpu", "gpu": 2}, ServerOptions("kf-alice", "gpu", 1, GIB, 2)),
        ({"memory": 3 * GIB}, ServerOptions("kf-alice", "cpu", 1, 3 * GIB, 0)),
        ({"profile": "kf-alice"}, ServerOptions("kf-alice", "cpu", 1, 2 * GIB, 0)),
        ({"profile": "vision"}, ServerOptions("vision", "gpu", 1, GIB, 1)),
    ],
)
def test_what_is_offered_is_taken(raw: dict[str, Any], options: ServerOptions) -> None:
    assert read_options(raw, OFFERS) == options


@pytest.mark.parametrize(
    ("raw", "field", "said"),
    [
        ({"image_profile": "tpu"}, "image_profile='tpu'", "choose one of cpu, gpu"),
        ({"image_profile": ""}, "image_profile=''", "choose one of"),
        ({"image_profile": ["cpu"]}, "image_profile=['cpu']", "choose one of"),
        ({"profile": "secret"}, "profile='secret'", "none of that name that you may start"),
        ({"profile": "museum"}, "profile='museum'", "your role there is view"),
        ({"profile": ["vision"]}, "profile=['vision']", "choose one of kf-alice, vision, empty"),
        ({"profile": ""}, "profile=''", "none of that name"),
        ({"profile": "empty"}, "profile empty", "no image profile is offered there"),
        (
            {"profile": "vision", "image_profile": "cpu"},
            "image_profile='cpu'",
            "offered in profile vision; choose one of gpu",
        ),
        ({"owner": "me"}, "owner", "the options are profile, image_profile, cpu, memory, gpu"),
        ({"image": "evil"}, "image", "there is no such option"),
        ({"cpu": 4.01}, "cpu=4.01", "'cpu' offers 0.5 to 4 cores"),
        ({"cpu": 0.1}, "cpu=0.1", "0.5 to 4 cores"),
        ({"cpu": "2"}, "cpu='2'", "not a number of cores"),
        ({"cpu": True}, "cpu=True", "not a number of cores"),
        ({"cpu": None}, "cpu=None", "not a number of cores"),
        ({"cpu": float("nan")}, "cpu=nan", "not a positive number"),
        ({"cpu": float("inf")}, "cpu=inf", "not a positive number"),
        ({"cpu": 10**400}, "cpu=1000", "not a positive number"),
        ({"memory": 10**400}, "memory=1000", "512M to 8G of memory"),
        ({"image_profile": "gpu", "gpu": 10**400}, "gpu=1000", "1 to 2 GPU"),
        ({"memory": "9G"}, "memory='9G'", "512M to 8G of memory"),
        ({"memory": "lots"}, "memory='lots'", "such as 512M or 2G"),
        ({"memory": -1}, "memory=-1", "not an amount of memory"),
        ({"memory": {"min": 1}}, "memory={'min': 1}", "not an amount of memory"),
        ({"gpu": 1}, "gpu=1", "'cpu' has no GPU"),
        ({"gpu": False}, "gpu=False", "'cpu' has no GPU"),
        ({"image_profile": "gpu", "gpu": 3}, "gpu=3", "1 to 2 GPU"),
        ({"image_profile": "gpu", "gpu": 0}, "gpu=0", "1 to 2 GPU"),
        ({"image_profile": "gpu", "gpu": 1.0}, "gpu=1.0", "whole number"),
    ],
)
def test_the_rest_is_refused_by_name(raw: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(OptionRefused) as refused:
        read_options(raw, OFFERS)

    assert field in refused.value.doing
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_was_sent_is_not_repeated_at_length() -> None:
    with pytest.raises(OptionRefused) as refused:
        read_options({"image_profile": "x" * 10_000}, OFFERS)

    assert len(str(refused.value)) < 300


def test_nothing_is_offered_without_image_profiles() -> None:
    with pytest.raises(OptionRefused, match=r"set c\.KfSpawner\.image_profiles"):
        read_options({}, Offers({"kf-alice": {}}))


def test_nothing_is_offered_to_who_has_no_profile() -> None:
    with pytest.raises(OptionRefused, match="there is none that you may start servers in"):
        read_options({}, Offers({}))


@pytest.mark.parametrize(
    ("form", "raw"),
    [
        ({}, {"image_profile": "cpu"}),
        ({"image_profile": ["gpu"]}, {"image_profile": "gpu"}),
        (
            {"image_profile": ["gpu"], "gpu.cpu": ["2"], "gpu.memory": ["1.5"], "cpu.cpu": ["9"]},
            {"image_profile": "gpu", "cpu": 2, "memory": "1.5G"},
        ),
        ({"cpu.memory": ["512M"], "cpu.cpu": [""]}, {"image_profile": "cpu", "memory": "512M"}),
        ({"cpu": ["2"], "memory": [" 4 "]}, {"image_profile": "cpu", "cpu": 2, "memory": "4G"}),
        ({"cpu.cpu": ["two"]}, {"image_profile": "cpu", "cpu": "two"}),
        ({"_xsrf": ["2|a"], "cpu.cpu": ["1.5"]}, {"image_profile": "cpu", "cpu": 1.5}),
        (
            {"profile": ["vision"], "gpu.cpu": ["2"], "cpu.cpu": ["3"]},
            {"profile": "vision", "image_profile": "gpu", "cpu": 2},
        ),
        ({"profile": ["secret"]}, {"profile": "secret"}),
        (
            {"instead": ["image_profile=gpu&memory=2G&gpu=1"], "image_profile": ["cpu"]},
            {"image_profile": "gpu", "memory": "2G", "gpu": 1},
        ),
    ],
)
def test_a_form_becomes_json(form: dict[str, list[str]], raw: dict[str, Any]) -> None:
    assert form_to_json(form, OFFERS) == raw


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"tpu.cpu": ["1"]}, "tpu.cpu: there is no such field"),
        ({"cpu.image": ["x"]}, "cpu.image: there is no such field"),
        ({"cpu.cpu": ["1", "2"]}, "cpu.cpu: it was given more than once"),
        ({"instead": ["cpu"]}, "instead='cpu': no button of it says so"),
        ({"instead": ["cpu=1&" * 9 + "cpu=1"]}, "no button of it says so"),
        ({"instead": ["cpu=" + "1" * 1000]}, "no button of it says so"),
        ({"instead": ["cpu=1&cpu=2"]}, "cpu: it was given more than once"),
        ({"instead": ["owner=me"]}, "owner: there is no such field"),
    ],
)
def test_a_form_that_was_not_offered_is_refused(form: dict[str, list[str]], said: str) -> None:
    with pytest.raises(OptionRefused, match=said):
        form_to_json(form, OFFERS)


def test_form_and_api_are_refused_alike() -> None:
    with pytest.raises(OptionRefused) as by_form:
        read_options(form_to_json({"cpu.cpu": ["16"]}, OFFERS), OFFERS)
    with pytest.raises(OptionRefused) as by_api:
        read_options({"cpu": 16}, OFFERS)

    assert str(by_form.value) == str(by_api.value)


@given(
    st.sampled_from(sorted(PROFILES)),
    st.floats(1, 4),
    st.integers(GIB, 8 * GIB),
)
def test_what_is_stored_is_read_back(key: str, cpu: float, memory: int) -> None:
    options = read_options({"image_profile": key, "cpu": cpu, "memory": memory}, OFFERS)

    stored = json.loads(json.dumps(options.to_json()))

    assert read_options(stored, OFFERS) == options


@given(st.sampled_from(sorted(PROFILES)), st.floats(1, 4), st.integers(GIB, 8 * GIB))
def test_a_button_asks_for_what_it_says(key: str, cpu: float, memory: int) -> None:
    options = read_sizes({"image_profile": key, "cpu": cpu, "memory": memory}, OFFERS)

    pressed = read_options(form_to_json({"instead": [to_instead(options)]}, OFFERS), OFFERS)

    assert pressed == replace(options, memory=memory - memory % 1024)


@given(st.dictionaries(st.text(max_size=10), st.lists(st.text(max_size=10), max_size=3)))
def test_no_form_does_more_than_be_refused(form: dict[str, list[str]]) -> None:
    try:
        options = read_options(form_to_json(form, OFFERS), OFFERS)
    except OptionRefused:
        return
    assert options.image_profile in PROFILES


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=9), JSON, max_size=4))
def test_no_json_does_more_than_be_refused(raw: dict[str, Any]) -> None:
    try:
        options = read_options(raw, OFFERS)
    except OptionRefused:
        return
    assert options.image_profile in PROFILES


def test_overrides_of_a_cpu_server() -> None:
    options = read_sizes({"cpu": 2, "memory": "4G"}, OFFERS)

    assert make_overrides(PROFILES["cpu"], options) == {
        "image": "registry.example/cpu@sha256:1",
        "cpu_limit": 2,
        "cpu_guarantee": 0.1,
        "mem_limit": 4 * GIB,
        "mem_guarantee": 4 * GIB,
        "extra_resource_limits": {},
        "extra_resource_guarantees": {},
        "node_selector": {},
        "tolerations": [],
    }


def test_overrides_of_a_gpu_server() -> None:
    options = read_sizes({"image_profile": "gpu", "gpu": 2}, OFFERS)

    overrides = make_overrides(PROFILES["gpu"], options)

    assert overrides["extra_resource_limits"] == {"nvidia.com/gpu": "2"}
    assert overrides["extra_resource_guarantees"] == {"nvidia.com/gpu": "2"}
    assert overrides["node_selector"] == {"pool": "gpu"}
    assert overrides["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
