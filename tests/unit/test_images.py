"""Image profiles: what the administrator may write, and what is said where they may not."""

from __future__ import annotations

from typing import Any

import pytest

from kfspawner.errors import InputError
from kfspawner.servers.amounts import read_bytes, read_cores, show_bytes
from kfspawner.servers.images import Range, read_image_profiles

SMALL: dict[str, Any] = {
    "image": "registry.example/cpu@sha256:1",
    "cpu": {"min": 0.5, "max": 4, "default": 1},
    "memory": {"min": "512M", "max": "8G"},
}


def read_one(**changes: Any) -> Any:
    return read_image_profiles({"small": {**SMALL, **changes}})["small"]


def test_the_least_that_is_needed() -> None:
    profile = read_one()

    assert profile.display_name == "small"
    assert profile.cpu == Range(0.5, 4, 1)
    assert profile.memory == Range(512 * 2**20, 8 * 2**30, 512 * 2**20)
    assert profile.gpu is None
    assert not profile.simulated


def test_all_that_can_be_said() -> None:
    profile = read_one(
        display_name="GPU",
        description="One GPU",
        gpu={"min": 0, "max": 2, "default": 1, "resource": "amd.com/gpu"},
        node_selector={"pool": "gpu"},
        tolerations=[{"key": "gpu", "operator": "Exists"}],
        simulated=True,
    )

    assert profile.gpu == Range(0, 2, 1)
    assert profile.gpu_resource == "amd.com/gpu"
    assert profile.node_selector == {"pool": "gpu"}
    assert profile.tolerations == ({"key": "gpu", "operator": "Exists"},)
    assert profile.simulated


def test_gpus_are_nvidias_unless_said() -> None:
    assert read_one(gpu={"min": 1, "max": 1}).gpu_resource == "nvidia.com/gpu"


def test_the_order_is_the_administrators() -> None:
    assert list(read_image_profiles({"z": SMALL, "a": SMALL})) == ["z", "a"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": ""}, "image is missing"),
        ({"image": None}, "image is missing"),
        ({"imgae": "x"}, "imgae is not a field"),
        ({"cpu": None}, "cpu: it is NoneType, not a dict"),
        ({"cpu": {"min": 1}}, "max missing"),
        ({"cpu": {"min": 2, "max": 1}}, "not in this order"),
        ({"cpu": {"min": 1, "max": 2, "default": 3}}, "not in this order"),
        ({"cpu": {"min": "one", "max": 2}}, "min: 'one' is not a number of cores"),
        ({"cpu": {"min": True, "max": 2}}, "min: True is not a number of cores"),
        ({"cpu": {"min": 0, "max": 2}}, "not a positive number"),
        ({"cpu": {"min": 1, "max": 2, "step": 1}}, "step is not a field"),
        ({"memory": {"min": "1X", "max": "2G"}}, "min: '1X' is not an amount of memory"),
        ({"gpu": {"min": 1, "max": 1.5}}, "max: 1.5 is not a whole number"),
        ({"gpu": 1}, "gpu: it is int, not a dict"),
        ({"gpu": {"min": 1, "max": 1, "resource": 3}}, "gpu.resource is int"),
        ({"simulated": "yes"}, "simulated is str"),
        ({"node_selector": ["gpu"]}, "node_selector is list"),
    ],
)
def test_what_cannot_be_used_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refused:
        read_one(**changes)

    assert "image profile 'small'" in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize("key", ["", "GPU", "a.b", "a--b", "1a", "a b", "-a", "a/b"])
def test_keys_are_plain_words(key: str) -> None:
    with pytest.raises(InputError, match="not a plain word"):
        read_image_profiles({key: SMALL})


def test_a_profile_that_is_no_dict_is_named() -> None:
    with pytest.raises(InputError, match=r"image profile 'small'.*it is str, not a dict"):
        read_image_profiles({"small": "registry.example/cpu"})


@pytest.mark.parametrize(
    ("text", "amount"),
    [("512M", 512 * 2**20), ("2G", 2**31), ("1.5Gi", 3 * 2**29), (4096, 4096), ("1K", 1024)],
)
def test_memory_is_read_in_powers_of_1024(text: str | int, amount: int) -> None:
    assert read_bytes(text) == amount


@pytest.mark.parametrize("amount", [1, 1023, 1024, 1536 * 2**20, 2**31, 3 * 2**40])
def test_memory_is_shown_as_it_is_read(amount: int) -> None:
    shown = show_bytes(amount)

    assert read_bytes(int(shown) if shown.isdigit() else shown) == amount


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, "1", None, True])
def test_cores_are_positive_numbers(value: object) -> None:
    with pytest.raises(ValueError, match="cores"):
        read_cores(value)


def test_a_guarantee_is_never_above_the_limit() -> None:
    offered = Range(0.5, 4, 1, guarantee=2)

    assert offered.promised(1) == 1
    assert offered.promised(4) == 2
    assert Range(0.5, 4, 1).promised(3) == 3
