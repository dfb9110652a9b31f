"""Several kinds of GPU for one image: declared, chosen, looked for, and refused."""

from __future__ import annotations

from typing import Any

import pytest

from kfspawner.errors import InputError, OptionRefused
from kfspawner.servers.capacity import find_rooms, read_node
from kfspawner.servers.fitting import Capacity, describe_options
from kfspawner.servers.form import Page, render_form
from kfspawner.servers.images import ImageProfile, read_image_profiles
from kfspawner.servers.options import (
    Offers,
    ServerOptions,
    form_to_json,
    make_overrides,
    read_options,
    read_sizes,
    to_instead,
)
from kfspawner.servers.places import Place
from tests.fakes.hub import FakeHub, pod_of
from tests.fakes.nodes import make_node

GIB = 2**30
SLICE = "nvidia.com/mig-1g.5gb"
GPU: dict[str, Any] = {
    "display_name": "GPU",
    "image": "registry.example/gpu",
    "cpu": {"min": 1, "max": 2},
    "memory": {"min": "1G", "max": "2G"},
    "node_selector": {"pool": "gpu"},
    "gpu": {
        "min": 1,
        "max": 2,
        "kinds": {
            "a100": {"display_name": "A100", "node_selector": {"product": "A100"}},
            "slice": {
                "display_name": "A100 slice",
                "resource": SLICE,
                "tolerations": [{"key": "slices", "operator": "Exists"}],
            },
        },
    },
}
PROFILES = read_image_profiles({"gpu": GPU})
OFFERS = Offers({"kf-alice": PROFILES})
OWN = Place("kf-alice", "alice", "Your own", "", True, ("gpu",))


def read_with(**changes: Any) -> dict[str, ImageProfile]:
    return read_image_profiles({"gpu": {**GPU, "gpu": {**GPU["gpu"], **changes}}})


def slices(count: int) -> Capacity:
    """Return a cluster with slices, and no whole A100."""
    node = make_node(labels={"pool": "gpu"})
    node["status"]["allocatable"][SLICE] = str(count)
    return Capacity(find_rooms([read_node(node)], []))


def test_the_first_kind_is_the_default() -> None:
    assert read_options({}, OFFERS) == ServerOptions("kf-alice", "gpu", 1, GIB, 1, "a100")


def test_a_kind_says_which_resource_and_where() -> None:
    options = read_sizes({"gpu_kind": "slice", "gpu": 2}, OFFERS)

    overrides = make_overrides(PROFILES["gpu"], options)

    assert overrides["extra_resource_limits"] == {SLICE: "2"}
    assert overrides["node_selector"] == {"pool": "gpu"}
    assert overrides["tolerations"] == [{"key": "slices", "operator": "Exists"}]
    first = make_overrides(PROFILES["gpu"], read_sizes({}, OFFERS))
    assert first["extra_resource_limits"] == {"nvidia.com/gpu": "1"}
    assert first["node_selector"] == {"pool": "gpu", "product": "A100"}


@pytest.mark.parametrize("value", ["t4", "a100\n", ["a100"], {"a100": 1}, 7, False])
def test_another_kind_is_refused(value: object) -> None:
    with pytest.raises(OptionRefused, match="choose one of a100, slice") as refused:
        read_options({"gpu_kind": value}, OFFERS)

    assert "gpu_kind=" in refused.value.doing


def test_where_there_is_one_kind_none_is_chosen() -> None:
    one = Offers({"kf-alice": read_with(kinds={})})

    assert read_sizes({"gpu_kind": ""}, one).gpu_kind == ""
    assert "gpu_kind" not in read_options({}, one).to_json()
    with pytest.raises(OptionRefused, match="leave gpu_kind out"):
        read_options({"gpu_kind": "a100"}, one)


def test_by_form_by_button_and_stored() -> None:
    options = read_sizes({"gpu_kind": "slice"}, OFFERS)

    for form in ({"gpu.gpu_kind": ["slice"]}, {"instead": [to_instead(options)]}):
        assert read_options(form_to_json(form, OFFERS), OFFERS) == options
    assert read_options(options.to_json(), OFFERS) == options


def test_another_kind_that_is_free_is_proposed() -> None:
    found = slices(3).find(read_sizes({}, OFFERS), OFFERS)

    assert found.why.startswith("Cannot start: no node of the kind")
    assert found.nearest == ServerOptions("kf-alice", "gpu", 1, GIB, 1, "slice")
    assert describe_options(found.nearest, PROFILES["gpu"]) == "1 core, 1G and 1 A100 slice"


def test_the_page_lets_choose_and_says_what_is_free_of_each() -> None:
    page = Page((OWN,), PROFILES, capacity=slices(3))
    chosen = ServerOptions("kf-alice", "gpu", 1, GIB, 1, "slice")

    html = render_form(page, chosen)

    assert "1 to 2 GPUs: A100, A100 slice" in html
    assert "A100: 0 of 0 free now, A100 slice: 3 of 3 free now" in html
    assert '<option value="slice" selected>A100 slice</option>' in html
    assert 'name="instead"' not in html
    assert "Start with 1 core, 1G and 1 A100 slice instead" in render_form(page)


async def test_a_server_has_the_kind_that_was_chosen(hub: FakeHub) -> None:
    spawner = hub.make_spawner(image_profiles={"gpu": GPU})

    pod = await pod_of(spawner, gpu_kind="slice")
    again = await pod_of(spawner)

    limits = [it["spec"]["containers"][0]["resources"]["limits"] for it in (pod, again)]
    assert [SLICE in it for it in limits] == [True, False]
    assert [it["spec"]["nodeSelector"].get("product") for it in (pod, again)] == [None, "A100"]


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (["a100"], "kinds is list"),
        ({"A 100": {}}, "not a plain word"),
        ({"a100": "A100"}, "it is str, not a dict"),
        ({"a100": {"count": 2}}, "count is not a field of it"),
        ({"a100": {"resource": 1}}, "resource is int"),
    ],
)
def test_what_cannot_be_used_is_named(kinds: object, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        read_with(kinds=kinds)

    assert "gpu.kinds" in str(refused.value)
