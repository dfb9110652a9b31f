"""``python -m deploy.screenshots``: the README's pictures, of what is really there."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page

from deploy import browser
from deploy.demo import NOTEBOOK, Settings
from deploy.errors import DeployError
from deploy.person import Person
from deploy.steps import Steps

# A member of the local overlay's shared profile.
USER = "bob"

_FOLDER = Path(__file__).parent / "screenshots"
_WIDTH = 1280
_MARGIN = 24
_RUN_MS = 240_000


def take(settings: Settings, steps: Steps) -> None:
    """Take both pictures, as a person who comes for the first time sees them."""
    _FOLDER.mkdir(exist_ok=True)
    with Person(settings.hub_url, USER) as person:
        person.sign_in(settings.password)
        person.stop()
    with browser.launched() as chromium:
        page = chromium.new_page(viewport={"width": _WIDTH, "height": 900}, color_scheme="light")
        with steps.step("the spawn page"):
            browser.sign_in(page, settings.hub_url, USER, settings.password)
            browser.choose(page, "GPU")
            # What is in the image, and what is free, come a moment later.
            page.locator("#kf-gpu-frameworks .kf-chip").first.wait_for()
            page.get_by_text("free now").first.wait_for()
            _picture(page, "spawn-page", "#spawn_form")
        with steps.step("a server"):
            browser.choose(page, "CPU")
            browser.start(page)
        with steps.step("a run under its cell"):
            server = f"{settings.hub_url}/user/{USER}/"
            browser.open_notebook(page, server, NOTEBOOK)
            browser.run_all(page)
            cell = browser.cell_with(page, "%%kf run")
            browser.output_of(cell).get_by_text("Succeeded in").wait_for(timeout=_RUN_MS)
            page.set_viewport_size({"width": _WIDTH, "height": 1200})
            cell.scroll_into_view_if_needed()
            # Away from where a tooltip or a toolbar would show.
            page.mouse.move(0, 0)
            cell.screenshot(path=_FOLDER / "run-under-cell.png")
    with Person(settings.hub_url, USER) as person:
        person.sign_in(settings.password)
        person.stop()
    for picture in sorted(_FOLDER.glob("*.png")):
        print(f"{picture.relative_to(Path.cwd())}: {picture.stat().st_size / 1000:.0f} kB")


def _picture(page: Page, name: str, down_to: str) -> None:
    """Take the top of the page, down to the end of an element."""
    box = page.locator(down_to).bounding_box()
    if box is None:
        raise DeployError(f"taking {name}.png", f"{down_to} is not on the page", "look at it")
    height = box["y"] + box["height"] + _MARGIN
    clip = {"x": 0.0, "y": 0.0, "width": float(_WIDTH), "height": height}
    page.screenshot(path=_FOLDER / f"{name}.png", clip=clip)  # type: ignore[arg-type]


if __name__ == "__main__":
    try:
        take(Settings.from_env(), Steps())
    except DeployError as error:
        sys.exit(f"\n{error}")
