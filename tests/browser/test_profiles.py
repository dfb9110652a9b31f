"""Profiles on the spawn page: what one person may choose, and where they land."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from deploy import browser
from deploy.person import Person
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import People, Profiles
from tests.cluster.people import Hub

TEAM = "The <team>"


@pytest.fixture(scope="module")
def person(people: People) -> Person:
    """Somebody who is in several profiles."""
    return people.new()


@pytest.fixture(scope="module")
def team(person: Person, profiles: Profiles) -> str:
    """A profile that they share; it offers GPUs and nothing else."""
    return profiles.new(
        "somebody-else",
        {
            "kfspawner.io/display-name": TEAM,
            "kfspawner.io/members": f'{{"{person.name}": "edit"}}',
            "kfspawner.io/image-profiles": "gpu",
        },
    )


@pytest.fixture(scope="module")
def museum(person: Person, profiles: Profiles) -> str:
    """A profile that they may look at."""
    return profiles.new("somebody-else", {"kfspawner.io/members": f'{{"{person.name}": "view"}}'})


def test_a_shared_profile_is_chosen_and_the_server_is_there(
    page: Page, person: Person, team: str, hub: Hub, cluster: Cluster
) -> None:
    browser.sign_in(page, hub.url, person.name, hub.password)
    choices = page.get_by_role("group", name="Choose the profile")
    own = choices.get_by_role("radio", name=person.name, exact=True)
    shared = choices.get_by_role("radio", name=TEAM, exact=True)
    cards = page.get_by_role("group", name="Choose your server")
    cpu = cards.get_by_role("radio", name="CPU", exact=True)
    gpu = cards.get_by_role("radio", name="GPU", exact=True)

    expect(own).to_be_checked()
    expect(cpu).to_be_checked()
    browser.choose(page, TEAM)
    expect(shared).to_be_checked()
    # What it does not offer is out of sight, and something is chosen all the same.
    expect(cpu).to_be_hidden()
    expect(gpu).to_be_checked()
    browser.choose(page, person.name)
    expect(cpu).to_be_visible()
    browser.choose(page, TEAM)
    try:
        browser.start(page)
        expect(page).to_have_url(re.compile(rf"{re.escape(hub.url)}/user/{person.name}/lab"))
        (pod,) = cluster.pods(team)
    finally:
        person.stop()
    assert pod["metadata"]["annotations"]["hub.jupyter.org/username"] == person.name
    (container,) = pod["spec"]["containers"]
    assert {"name": "KFSPAWNER_NAMESPACE", "value": team} in container["env"]
    assert container["image"] == cluster.images()["gpu"]

    # The last choice is the next one's proposal.
    page.goto(f"{hub.url}/hub/spawn")
    expect(shared).to_be_checked()
    expect(cpu).to_be_hidden()


def test_a_profile_to_look_at_cannot_be_chosen(
    page: Page, person: Person, museum: str, hub: Hub
) -> None:
    browser.sign_in(page, hub.url, person.name, hub.password)

    radio = page.get_by_role("radio", name=museum, exact=True)
    expect(radio).to_be_disabled()
    expect(radio).to_have_accessible_description(
        re.compile(r"your role: view.*You may look, and start no server", re.DOTALL)
    )


def test_without_javascript_the_server_refuses_what_is_not_offered(
    page_without_script: Page, person: Person, team: str, hub: Hub
) -> None:
    page = page_without_script
    browser.sign_in(page, hub.url, person.name, hub.password)
    browser.choose(page, TEAM)
    browser.choose(page, "CPU")
    page.get_by_role("button", name="Start", exact=True).click()

    expect(page.locator("body")).to_contain_text(
        f"no such image profile is offered in profile {team}; choose one of gpu"
    )
    # As it was sent.
    expect(page.get_by_role("radio", name=TEAM, exact=True)).to_be_checked()


def test_every_control_has_a_label(page: Page, person: Person, team: str, hub: Hub) -> None:
    browser.sign_in(page, hub.url, person.name, hub.password)
    expect(page.get_by_role("radio", name=TEAM, exact=True)).to_be_visible()

    for control in page.locator("#spawn_form input:not([type=hidden])").all():
        assert control.evaluate("element => element.labels.length") == 1
        assert control.evaluate("element => element.labels[0].innerText.trim()")


def test_who_has_one_profile_is_told_and_not_asked(page: Page, people: People, hub: Hub) -> None:
    name = people.new().name
    browser.sign_in(page, hub.url, name, hub.password)

    expect(page.get_by_text(f"Your server starts in profile {name} (your own).")).to_be_visible()
    assert page.get_by_role("group", name="Choose the profile").count() == 0
