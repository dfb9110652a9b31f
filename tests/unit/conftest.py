"""What tests of several files share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

# Its plugin imports it where the first test fails: so deep down that CPython 3.11 cannot parse it.
import hypothesis  # noqa: F401
import pytest

from kfspawner.packaging import Registry, conversation
from tests.fakes.hub import FakeHub
from tests.fakes.registry import FakeRegistry


@pytest.fixture
async def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeHub]:
    """Return a hub whose people have no profiles yet."""
    before = asyncio.all_tasks()
    made = FakeHub(tmp_path, monkeypatch)
    yield made
    await made.directory.end()
    await made.capacity.end()
    # KubeSpawner closes its clients when their tasks are cancelled, as JupyterHub does at its end.
    tasks = asyncio.all_tasks() - before - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRegistry]:
    """Return a registry in this process, that nobody waits long for."""
    monkeypatch.setattr(conversation, "_FIRST_PAUSE", 0.001)
    with FakeRegistry().running() as running:
        yield running


@pytest.fixture
def registry(fake: FakeRegistry) -> Iterator[Registry]:
    """Return the way to it."""
    with Registry(fake.host) as way:
        yield way
