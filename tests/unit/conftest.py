"""What tests of several files share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

# Its plugin imports it where the first test fails: so deep down that CPython 3.11 cannot parse it.
import hypothesis  # noqa: F401
import pytest

from tests.fakes.hub import FakeHub


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
