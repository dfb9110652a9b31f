"""A real Chromium, and people on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from deploy.browser import launched
from tests.cluster.conftest import cluster, environment, hub, people, profiles

__all__ = ["browser", "cluster", "environment", "hub", "page", "people", "profiles"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the whole module."""
    with launched() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window without anybody's cookies."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield context.new_page()


@pytest.fixture
def page_without_script(browser: Browser) -> Iterator[Page]:
    """A window that runs no JavaScript, without anybody's cookies."""
    with browser.new_context(java_script_enabled=False) as context:
        yield context.new_page()
