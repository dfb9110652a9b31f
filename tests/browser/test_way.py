"""The whole way in a browser: sign in, choose a GPU, start, run the example."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from deploy import browser
from tests.cluster.conftest import People
from tests.cluster.people import Hub

RUN_MS = 240_000


def test_from_the_sign_in_to_a_run(page: Page, people: People, hub: Hub) -> None:
    name = people.new().name
    browser.sign_in(page, hub.url, name, hub.password)
    browser.choose(page, "GPU")
    card = page.locator('.kf-card[data-profile="gpu"]')
    expect(card.get_by_label("CPU cores")).to_be_visible()
    expect(page.locator('.kf-card[data-profile="cpu"]').get_by_label("CPU cores")).to_be_hidden()
    browser.start(page)
    expect(page).to_have_url(re.compile(rf"{re.escape(hub.url)}/user/{name}/lab"))

    browser.open_notebook(page, f"{hub.url}/user/{name}/", "examples/digits.ipynb")
    browser.run_all(page)
    output = browser.output_of(browser.cell_with(page, "%%kf run"))
    # Lines of the log come while it runs, and its end after them.
    expect(output).to_contain_text(
        re.compile(r"epoch=\d+ loss=[\d.]+ accuracy=[\d.]+"), timeout=RUN_MS
    )
    expect(output).to_contain_text(re.compile(r"run \S+ Succeeded in"), timeout=RUN_MS)
    expect(page.locator('[data-mime-type="application/vnd.jupyter.error"]')).to_have_count(0)


def test_the_spawn_page_by_keyboard_alone(page: Page, people: People, hub: Hub) -> None:
    browser.sign_in(page, hub.url, people.new().name, hub.password)
    page.get_by_role("radio", name="CPU", exact=True).focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="GPU", exact=True)).to_be_checked()
    expect(page.get_by_role("radio", name="GPU", exact=True)).to_be_focused()
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(_NAME_OF_FOCUSED))
    assert reached == ["CPU cores", "Memory in G", "Start"]


def test_every_control_of_the_spawn_page_has_a_label(page: Page, people: People, hub: Hub) -> None:
    browser.sign_in(page, hub.url, people.new().name, hub.password)
    controls = page.locator("#spawn_form input:not([type=hidden])")
    assert controls.count() == 6
    for control in controls.all():
        assert control.evaluate("element => element.labels.length") == 1
        assert control.evaluate("element => element.labels[0].innerText.trim()")


def test_a_value_out_of_range_is_not_sent(page: Page, people: People, hub: Hub) -> None:
    browser.sign_in(page, hub.url, people.new().name, hub.password)
    cores = page.locator('.kf-card[data-profile="cpu"]').get_by_label("CPU cores")
    cores.fill("1000")
    page.get_by_role("button", name="Start").click()
    assert cores.evaluate("element => element.validity.rangeOverflow")
    assert page.url.endswith("/hub/spawn")


_NAME_OF_FOCUSED = """() => {
    const element = document.activeElement;
    return (element.labels && element.labels.length ? element.labels[0] : element).innerText.trim();
}"""
