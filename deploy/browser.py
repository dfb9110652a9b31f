"""A person in Chromium: what the browser tests and the README's pictures do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from deploy.errors import DeployError

# Enough for a server on a busy machine, in milliseconds as Playwright counts.
START_MS = 180_000
PAGE_MS = 60_000

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The machine's proxy is not for the hub on its own loopback.
    "--no-proxy-server",
)


@contextmanager
def launched() -> Iterator[Browser]:
    """Run a headless Chromium, the one of ``CHROMIUM`` or of the machine.

    Raises
    ------
    DeployError
        If there is none.
    """
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not program:
        raise DeployError(
            "starting a browser", "no chromium on the PATH", "run `python3 -m deploy browser`"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def sign_in(page: Page, hub_url: str, name: str, password: str) -> None:
    """Go to the hub, sign in by its form, and stay on the spawn page."""
    page.set_default_timeout(PAGE_MS)
    page.goto(f"{hub_url}/hub/spawn")
    page.get_by_label("Username:").fill(name)
    page.get_by_label("Password:", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("group", name="Choose your server").wait_for()


def choose(page: Page, image_profile: str) -> None:
    """Choose an image profile by the name that its card shows."""
    radio = page.get_by_role("radio", name=image_profile, exact=True)
    page.locator("label", has=radio).click()


def start(page: Page) -> None:
    """Send the form and return when JupyterLab is there."""
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator(".jp-LabShell").first.wait_for(timeout=START_MS)


def open_notebook(page: Page, server_url: str, path: str) -> None:
    """Open a notebook alone on the page, without the file browser, its kernel ready."""
    page.goto(f"{server_url}doc/tree/{path}")
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    # The status bar alone tells a kernel that is there from one to be chosen yet.
    page.locator(".jp-StatusBar-TextItem", has_text="| Idle").wait_for()


def run_all(page: Page) -> None:
    """Clear what stands under the cells, and run all of them, both from the menus."""
    for menu, item in (("Edit", "Clear Outputs of All Cells"), ("Run", "Run All Cells")):
        page.get_by_role("menubar").get_by_text(menu, exact=True).click()
        page.get_by_role("menuitem", name=item, exact=True).click()


def cell_with(page: Page, code: str) -> Locator:
    """Return the code cell that has `code` in its editor."""
    editor = page.locator(".jp-InputArea-editor", has_text=code)
    return page.locator(".jp-CodeCell", has=editor).first


def output_of(cell: Locator) -> Locator:
    """Return all that stands under a cell."""
    return cell.locator(".jp-Cell-outputArea")
