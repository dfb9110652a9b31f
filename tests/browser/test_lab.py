"""JupyterLab as a person uses it: whatever a server does without when it starts, nobody misses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Download, Locator, Page, expect

from deploy import browser as person_in
from tests.cluster.conftest import People
from tests.cluster.people import Hub

# What begins, is loaded or drawn on a busy machine.
SLOW_MS = 60_000
DARK = "JupyterLab Dark"


@pytest.fixture(scope="module")
def name(people: People) -> str:
    """Somebody without a server."""
    return people.new().name


@pytest.fixture(scope="module")
def lab(browser: Browser, hub: Hub, name: str) -> Iterator[Page]:
    """JupyterLab of a server that was started on the spawn page, its dialogs answered."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        person_in.sign_in(page, hub.url, name, hub.password)
        person_in.choose(page, "CPU")
        person_in.start(page)
        page.locator(".jp-DirListing-item", has_text="examples").wait_for()
        yield page


def open_lab(page: Page, hub: Hub, name: str) -> None:
    """Begin anew: an empty workspace, with the launcher alone."""
    page.goto(f"{hub.url}/user/{name}/lab?reset")
    page.locator(".jp-Launcher-body").wait_for()


def item(page: Page, name: str) -> Locator:
    """Return an item of the menu that is open; its key is not of its name."""
    label = page.locator(".lm-Menu-itemLabel", has_text=re.compile(rf"^{re.escape(name)}$"))
    return page.locator(".lm-Menu-item:visible", has=label)


def menu(page: Page, *path: str) -> None:
    """Choose from the menus by their names."""
    page.get_by_role("menubar").get_by_text(path[0], exact=True).click()
    for name in path[1:-1]:
        item(page, name).hover()
    item(page, path[-1]).click()


def answer(page: Page, button: str) -> None:
    """Answer the dialog that is open."""
    page.locator(".jp-Dialog-button", has_text=button).click()


def file(page: Page, name: str) -> Locator:
    """Return a file of the list at the left."""
    return page.locator(".jp-DirListing-item", has=page.get_by_text(name, exact=True))


def choose_for(page: Page, name: str, *path: str) -> None:
    """Choose from the context menu of a file."""
    file(page, name).click(button="right")
    for it in path[:-1]:
        item(page, it).hover()
    item(page, path[-1]).click()


def text_of(download: Download) -> str:
    return Path(download.path()).read_text()


def new_notebook(page: Page) -> Locator:
    """Open a new notebook from the launcher, and return its first cell."""
    page.locator(".jp-LauncherCard", has_text="Python 3").first.click()
    page.locator(".jp-StatusBar-TextItem", has_text="| Idle").wait_for(timeout=SLOW_MS)
    return page.locator(".jp-Notebook .jp-Cell").first


def write(page: Page, cell: Locator, code: str) -> None:
    """Put `code` in place of what a cell has."""
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.type(code)


def again(page: Page, action: Callable[[], None], seen: Locator) -> None:
    """Do something until `seen` is there, as a person does who waits for it."""
    for _ in range(20):
        action()
        page.wait_for_timeout(1000)
        if seen.is_visible():
            return
    expect(seen).to_be_visible()


def refresh(page: Page) -> Callable[[], None]:
    return page.get_by_role("button", name="Refresh the file browser").click


def test_a_new_notebook_runs_saves_and_goes_back(lab: Page, hub: Hub, name: str) -> None:
    open_lab(lab, hub, name)
    cell = new_notebook(lab)

    write(lab, cell, "answer = 6 * 7; answer")
    lab.keyboard.press("Shift+Enter")
    expect(cell.locator(".jp-OutputArea-output")).to_have_text("42", timeout=SLOW_MS)

    lab.keyboard.press("Control+S")
    lab.locator(".jp-Dialog").get_by_role("textbox").fill("lab.ipynb")
    answer(lab, "Rename and Save")
    again(lab, refresh(lab), file(lab, "lab.ipynb"))

    write(lab, cell, "answer = 0")
    menu(lab, "File", "Revert Notebook to Checkpoint…")
    answer(lab, "Revert")
    expect(cell.locator(".cm-content")).to_have_text("answer = 6 * 7; answer")


def test_code_is_completed_and_explained(lab: Page, hub: Hub, name: str) -> None:
    open_lab(lab, hub, name)
    cell = new_notebook(lab)

    write(lab, cell, "import os")
    lab.keyboard.press("Shift+Enter")
    below = lab.locator(".jp-Notebook .jp-Cell").nth(1)
    write(lab, below, "os.get")
    proposal = lab.locator(".jp-Completer-item", has_text="getcwd").first
    again(lab, lambda: lab.keyboard.press("Tab"), proposal)
    proposal.click()
    expect(below.locator(".cm-content")).to_have_text("os.getcwd")

    lab.keyboard.press("Shift+Tab")
    expect(lab.locator(".jp-Tooltip")).to_contain_text(
        "Return a unicode string representing the current working directory", timeout=SLOW_MS
    )


def test_a_cell_of_markdown_is_shown(lab: Page, hub: Hub, name: str) -> None:
    open_lab(lab, hub, name)
    cell = new_notebook(lab)

    write(lab, cell, "# A *heading*\n\nwith $x^2$")
    lab.keyboard.press("Escape")
    lab.keyboard.press("m")
    lab.keyboard.press("Shift+Enter")
    expect(lab.locator(".jp-MarkdownOutput h1")).to_contain_text("A heading", timeout=SLOW_MS)
    expect(lab.locator(".jp-MarkdownOutput mjx-container")).to_be_visible(timeout=SLOW_MS)


def test_a_notebook_is_exported(lab: Page, hub: Hub, name: str) -> None:
    open_lab(lab, hub, name)
    file(lab, "examples").dblclick()
    file(lab, "digits.ipynb").dblclick()
    lab.locator(".jp-StatusBar-TextItem", has_text="| Idle").wait_for(timeout=SLOW_MS)

    with lab.expect_download() as waiting:
        menu(lab, "File", "Save and Export Notebook As", "HTML")
        answer(lab, "Ok")
    assert waiting.value.suggested_filename == "digits.html"
    assert "<html" in text_of(waiting.value)


def test_a_terminal_runs_what_is_typed(lab: Page, hub: Hub, name: str) -> None:
    open_lab(lab, hub, name)
    lab.locator(".jp-LauncherCard", has_text="Terminal").click()
    lab.locator(".jp-Terminal .xterm-screen").wait_for()
    lab.locator(".jp-Terminal").click()
    # What it shows is a picture; what it does is not.
    typed = file(lab, "typed.txt")
    lab.keyboard.type("echo $((6 * 7)) > ~/typed.txt\n")

    again(lab, refresh(lab), typed)
    typed.dblclick()
    expect(lab.locator(".jp-FileEditor .cm-content")).to_have_text("42", timeout=SLOW_MS)


def test_files_go_up_get_another_name_and_come_down(
    lab: Page, hub: Hub, name: str, tmp_path: Path
) -> None:
    open_lab(lab, hub, name)
    mine = tmp_path / "notes.md"
    mine.write_text("# Notes\n\n- one\n")
    with lab.expect_file_chooser() as waiting:
        lab.get_by_role("button", name="Upload Files").click()
    waiting.value.set_files(mine)
    expect(file(lab, "notes.md")).to_be_visible(timeout=SLOW_MS)

    choose_for(lab, "notes.md", "Rename")
    lab.keyboard.press("Control+A")
    lab.keyboard.type("kept.md")
    lab.keyboard.press("Enter")
    expect(file(lab, "kept.md")).to_be_visible(timeout=SLOW_MS)
    expect(file(lab, "notes.md")).to_have_count(0)

    with lab.expect_download() as coming:
        choose_for(lab, "kept.md", "Download")
    assert coming.value.suggested_filename == "kept.md"
    assert text_of(coming.value) == mine.read_text()

    choose_for(lab, "kept.md", "Open With", "Markdown Preview")
    expect(lab.locator(".jp-MarkdownViewer h1")).to_contain_text("Notes", timeout=SLOW_MS)

    choose_for(lab, "kept.md", "Delete")
    answer(lab, "Delete")
    expect(file(lab, "kept.md")).to_have_count(0)


def test_settings_are_opened_and_kept(lab: Page, hub: Hub, name: str) -> None:
    open_lab(lab, hub, name)
    menu(lab, "Settings", "Settings Editor")
    expect(lab.locator(".jp-PluginList-entry").first).to_be_visible(timeout=SLOW_MS)

    menu(lab, "Settings", "Theme", DARK)
    expect(lab.locator("body")).to_have_attribute("data-jp-theme-name", DARK, timeout=SLOW_MS)
    open_lab(lab, hub, name)
    expect(lab.locator("body")).to_have_attribute("data-jp-theme-name", DARK, timeout=SLOW_MS)


def test_from_the_hubs_pages_and_out(lab: Page, hub: Hub, name: str) -> None:
    open_lab(lab, hub, name)
    with lab.context.expect_page() as opening:
        menu(lab, "File", "Hub Control Panel")
    expect(opening.value).to_have_url(f"{hub.url}/hub/home")
    expect(opening.value.get_by_role("button", name="Stop My Server")).to_be_visible()
    opening.value.close()

    menu(lab, "File", "Log Out")
    expect(lab).to_have_url(re.compile(rf"{re.escape(hub.url)}/hub/log"))
    lab.goto(f"{hub.url}/user/{name}/lab")
    expect(lab.get_by_label("Username:")).to_be_visible()
