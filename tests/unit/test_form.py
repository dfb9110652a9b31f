"""The spawn page's form, read back as a browser would read it."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import pytest

from kfspawner.servers import form
from kfspawner.servers.capacity import find_rooms, read_node, read_use
from kfspawner.servers.fitting import NOTHING_KNOWN, Capacity
from kfspawner.servers.images import ImageProfile, read_image_profiles
from kfspawner.servers.options import Offers, ServerOptions, form_to_json, read_options
from kfspawner.servers.places import Place
from tests.fakes.nodes import make_node, make_quota, make_taken

GPU: dict[str, Any] = {
    "display_name": "GPU",
    "image": "registry.example/gpu",
    "cpu": {"min": 1, "max": 8, "default": 2},
    "memory": {"min": "1G", "max": "16G", "default": "1536M"},
    "gpu": {"min": 1, "max": 1},
}
CPU: dict[str, Any] = {
    "display_name": "CPU <small>",
    "description": "For <b>everyone</b>",
    "image": "registry.example/cpu",
    "cpu": {"min": 0.5, "max": 4, "default": 1},
    "memory": {"min": "512M", "max": "8G", "default": "2G"},
}


class Page(HTMLParser):
    """The inputs, labels and text of a page, and what it would fetch."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.inputs: dict[str, dict[str, str | None]] = {}
        self.labelled: set[str | None] = set()
        self.ids: set[str | None] = set()
        self.fetched: list[str | None] = []
        self.hidden: dict[str | None, str | None] = {}
        self.buttons: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids.add(given.get("id"))
        if given.get("type") == "hidden":
            self.hidden[given["name"]] = given["value"]
        elif tag == "input":
            self.inputs[given["id"] or ""] = given
        elif tag == "button":
            self.buttons.append(given)
        if tag == "label":
            self.labelled.add(given["for"])
        if tag in {"link", "img", "script"}:
            self.fetched += [given[name] for name in ("src", "href") if name in given]

    def handle_data(self, data: str) -> None:
        self.text += data

    def sent(self) -> dict[str, list[str]]:
        """Return the form as a browser without JavaScript would send it."""
        sent = {str(name): [str(value)] for name, value in self.hidden.items()}
        return sent | {
            str(given["name"]): [str(given["value"])]
            for given in self.inputs.values()
            if "disabled" not in given and (given["type"] != "radio" or "checked" in given)
        }


def profiles(**changes: dict[str, Any]) -> dict[str, ImageProfile]:
    return read_image_profiles({"cpu": CPU, "gpu": GPU, **changes})


OWN = Place("kf-alice", "alice", "Your own", "", True, ("cpu", "gpu"))
VISION = Place("vision", "Vision & <co>", "Owned by bob; your role: edit", "", True, ("gpu",))
CLOSED = Place("broken", "Broken", "Owned by bob; your role: edit", "Why <not>", False, ())


def render(
    offered: dict[str, ImageProfile],
    chosen: ServerOptions | None = None,
    sent: dict[str, list[str]] | None = None,
    places: tuple[Place, ...] = (OWN,),
    capacity: Capacity = NOTHING_KNOWN,
) -> str:
    return form.render_form(form.Page(places, offered, "", capacity), chosen, sent)


def in_use(left: Mapping[str, tuple[str, str]]) -> Capacity:
    """Return a cluster of one node whose GPU is in use, and a quota of alice's profile."""
    taken = read_use(make_taken(gpus="1"))
    assert taken
    rooms = find_rooms([read_node(make_node(gpus=1))], [taken])
    return Capacity(rooms, {"kf-alice": (make_quota(left),)})


def offers(*places: Place) -> Offers:
    offered = profiles()
    return Offers({it.name: {key: offered[key] for key in it.image_profiles} for it in places})


def test_sent_as_it_comes_it_asks_for_the_default() -> None:
    page = Page(render(profiles()))

    options = read_options(form_to_json(page.sent(), offers(OWN)), offers(OWN))

    assert options == read_options({}, offers(OWN))


def test_the_last_choice_is_proposed_again() -> None:
    chosen = ServerOptions("vision", "gpu", 8, 2**30, 1)
    page = Page(render(profiles(), chosen, places=(OWN, VISION)))

    both = offers(OWN, VISION)
    assert read_options(form_to_json(page.sent(), both), both) == chosen


def test_what_was_refused_is_shown_as_it_was_typed() -> None:
    sent = {"image_profile": ["gpu"], "gpu.cpu": ['9"><script>'], "gpu.memory": ["2"]}
    html = render(profiles(), None, sent)
    page = Page(html)

    assert page.inputs["kf-gpu-cpu"]["value"] == '9"><script>'
    assert page.inputs["kf-gpu-memory"]["value"] == "2"
    assert "checked" in page.inputs["kf-gpu"]
    assert '9"><script>' not in html


def test_an_unknown_choice_falls_back_to_the_first() -> None:
    page = Page(render(profiles(), None, {"image_profile": ["tpu"]}))

    assert "checked" in page.inputs["kf-cpu"]


def test_ranges_are_on_the_inputs() -> None:
    inputs = Page(render(profiles())).inputs

    assert (inputs["kf-cpu-cpu"]["min"], inputs["kf-cpu-cpu"]["max"]) == ("0.5", "4")
    assert (inputs["kf-cpu-memory"]["min"], inputs["kf-cpu-memory"]["value"]) == ("0.5", "2")
    assert inputs["kf-gpu-memory"]["value"] == "1.5"


@pytest.mark.parametrize("places", [(OWN,), (OWN, VISION, CLOSED), (CLOSED,)])
def test_every_input_has_a_label_and_a_description(places: tuple[Place, ...]) -> None:
    page = Page(render(profiles(), places=places))

    assert set(page.inputs) <= page.labelled
    assert {given["aria-describedby"] for given in page.inputs.values()} <= page.ids


def test_a_gpu_count_is_asked_for_only_where_there_is_a_choice() -> None:
    one = Page(render(profiles()))
    some = Page(render(profiles(gpu={**GPU, "gpu": {"min": 1, "max": 4}})))

    assert "kf-gpu-gpu" not in one.inputs
    assert "1 GPU (nvidia.com/gpu)" in one.text
    assert some.inputs["kf-gpu-gpu"]["max"] == "4"
    assert "1 to 4 GPUs (nvidia.com/gpu)" in some.text


@pytest.mark.parametrize("simulated", [True, False])
def test_simulated_gpus_are_called_so(simulated: bool) -> None:  # noqa: FBT001
    page = Page(render(profiles(gpu={**GPU, "simulated": simulated})))

    assert ("Simulated." in page.text) is simulated


def test_the_administrators_words_are_text() -> None:
    html = render(profiles())

    assert "<b>everyone" not in html
    assert "CPU <small>" in Page(html).text


def test_nothing_is_fetched_from_elsewhere() -> None:
    html = render(profiles())

    assert Page(html).fetched == []
    assert "http" not in html


def test_one_profile_is_a_line_of_text() -> None:
    page = Page(render(profiles()))

    assert page.sent()["profile"] == ["kf-alice"]
    assert not [it for it in page.inputs.values() if it["name"] == "profile"]
    assert "Your server starts in profile alice (your own)." in " ".join(page.text.split())


def test_profiles_are_chosen_from_by_their_titles() -> None:
    html = render(profiles(), places=(OWN, VISION))
    page = Page(html)

    own, vision = page.inputs["kf--kf-alice"], page.inputs["kf--vision"]
    assert ("checked" in own, "checked" in vision) == (True, False)
    assert (own["data-offers"], vision["data-offers"]) == ("cpu gpu", "gpu")
    assert "Vision & <co>" in page.text
    assert "Owned by bob; your role: edit · vision" in page.text
    assert "<co>" not in html


def test_a_closed_profile_is_shown_with_the_reason_and_cannot_be_chosen() -> None:
    html = render(profiles(), ServerOptions("broken", "gpu", 1, 2**30, 1), places=(OWN, CLOSED))
    page = Page(html)

    closed = page.inputs["kf--broken"]
    assert "disabled" in closed
    assert "checked" not in closed
    assert "value" not in closed
    assert "Why <not>" in page.text
    assert page.sent()["profile"] == ["kf-alice"]


def test_where_nothing_is_open_nothing_is_sent() -> None:
    page = Page(render(profiles(), places=(CLOSED,)))

    assert "profile" not in page.sent()
    assert "Why <not>" in page.text


def test_what_was_refused_keeps_its_profile() -> None:
    sent = {"profile": ["vision"], "gpu.cpu": ["99"]}
    page = Page(render(profiles(), None, sent, (OWN, VISION)))

    assert page.sent()["profile"] == ["vision"]
    assert page.sent()["image_profile"] == ["gpu"]


def test_a_profile_proposes_what_it_offers() -> None:
    page = Page(render(profiles(), places=(VISION, OWN)))

    assert (page.sent()["profile"], page.sent()["image_profile"]) == (["vision"], ["gpu"])


def test_image_profiles_that_nobody_offers_are_not_shown() -> None:
    page = Page(render(profiles(), places=(VISION,)))

    assert "kf-cpu" not in page.inputs
    assert "kf-gpu" in page.inputs


def test_trouble_is_told_as_text() -> None:
    html = form.render_form(form.Page((), profiles(), "no <b>answer"))

    assert "no <b>answer" in Page(html).text
    assert "<b>answer" not in html
    assert "kf-cpu" in Page(html).inputs


def test_what_is_free_is_on_the_cards_and_what_is_left_on_the_profiles() -> None:
    left = {"requests.cpu": ("16", "2"), "requests.nvidia.com/gpu": ("1", "0")}
    one = Page(render(profiles(), capacity=in_use(left)))
    several = Page(render(profiles(), places=(OWN, VISION), capacity=in_use(left)))

    assert "0 of 1 GPU free now" in one.text
    assert "4 cores and 16G of memory free on one node" in one.text
    assert "Left of its quota: 14 cores, 1 GPU." in one.text
    assert "Left: 14 cores, 1 GPU" in several.text


def test_what_does_not_fit_says_why_and_what_does_is_a_button() -> None:
    page = Page(render(profiles(), capacity=in_use({})))

    assert "Waits until there is a place: the only GPU is in use." in page.text
    assert "Start CPU <small> with 1 core and 2G instead" in page.text
    (button,) = [it for it in page.buttons if it.get("name")]
    pressed = {**page.sent(), str(button["name"]): [str(button["value"])]}
    both = offers(OWN)
    wanted = ServerOptions("kf-alice", "cpu", 1, 2 * 2**30, 0)
    assert read_options(form_to_json(pressed, both), both) == wanted


def test_a_button_may_lead_elsewhere() -> None:
    left = {"requests.nvidia.com/gpu": ("0", "0")}
    rooms = find_rooms([read_node(make_node(gpus=1))], [])
    full = Capacity(rooms, {"kf-alice": (make_quota(left),)})

    page = Page(render(profiles(), places=(OWN, VISION), capacity=full))

    assert "Start with 2 cores, 1536M and 1 GPU in Vision & <co> instead" in page.text


def test_what_is_typed_is_what_is_looked_for() -> None:
    sent = {"profile": ["kf-alice"], "image_profile": ["cpu"], "cpu.memory": ["8"]}
    full = in_use({"requests.memory": ("8Gi", "4Gi")})

    assert "8Gi asked for, 4Gi of 8Gi in use; 4Gi would fit" in render(
        profiles(), None, sent, capacity=full
    )
    assert "would fit" not in render(profiles(), capacity=full)


def test_what_cannot_be_read_is_left_to_the_browser() -> None:
    sent = {"profile": ["kf-alice"], "image_profile": ["gpu"], "gpu.cpu": ["many"]}

    page = Page(render(profiles(), None, sent, capacity=in_use({})))

    assert "Waits until" not in page.text


def test_what_is_in_the_image_is_told() -> None:
    labels = {"gpu": {"io.kfspawner.frameworks": "tensorflow=2.21.0 torch=2.15.0"}}
    page = Page(form.render_form(form.Page((OWN,), profiles(), labels=labels)))

    assert "TensorFlow 2.21.0 PyTorch 2.15.0" in " ".join(page.text.split())


def test_enter_presses_no_button_of_a_card() -> None:
    page = Page(render(profiles(), capacity=in_use({})))

    assert page.buttons[0] == {"type": "submit", "hidden": None}
    assert len(page.buttons) == 2
