"""What a notebook has after some cells, and what an image does with a source."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfspawner.packaging.source import RUN_DIR, Source, cell_source


def notebook(code: str) -> dict[str, Any]:
    """Return what a notebook has after its earlier cells."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(textwrap.dedent(code), namespace)
    return namespace


def run(source: Source, folder: Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `source` as an image would that has it in `folder`; it begins in `cwd`."""
    for path in source.files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(source.read(path))
    words = [word.replace(RUN_DIR, str(folder)) for word in source.command]
    command = [sys.executable if word == "python" else word for word in words]
    return subprocess.run(
        command, cwd=cwd or folder, capture_output=True, text=True, timeout=60, check=False
    )


def run_cell(
    code: str, folder: Path, variables: Mapping[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    return run(cell_source(textwrap.dedent(code), variables or {}), folder)
