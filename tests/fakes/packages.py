"""Distributions as pip installs them, made by hand."""

from __future__ import annotations

import io
import json
import shutil
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

from kfspawner.packaging.base import recorded_files
from kfspawner.packaging.layer import Layer


def install(
    site: Path, name: str, files: Mapping[str, bytes], version: str = "1", about: object = None
) -> Path:
    """Install a distribution of `files`, paths relative to `site`; return its metadata's place."""
    metadata = site / f"{name}-{version}.dist-info"
    texts = {"METADATA": f"Name: {name}\nVersion: {version}\n", "INSTALLER": "pip\n"}
    if about is not None:
        texts["direct_url.json"] = json.dumps(about)
    there = {**files, **{f"{metadata.name}/{path}": text.encode() for path, text in texts.items()}}
    for path, content in there.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)
    lines = [f"{path},sha256={hash(content)},{len(content)}" for path, content in there.items()]
    (metadata / "RECORD").write_text("\n".join([*lines, f"{metadata.name}/RECORD,,"]) + "\n")
    return metadata


def uninstall(metadata: Path) -> None:
    """Remove a distribution, and the directories that it leaves empty."""
    for path in list(recorded_files((metadata / "RECORD").read_bytes())):
        file = metadata.parent / path
        file.unlink(missing_ok=True)
        if file.parent != metadata.parent and not any(file.parent.iterdir()):
            file.parent.rmdir()
    shutil.rmtree(metadata, ignore_errors=True)


def apply(layer: Layer, root: Path) -> None:
    """Do to the tree at `root` what a container engine does with `layer`."""
    with tarfile.open(fileobj=io.BytesIO(layer.data)) as tar:
        for member in tar.getmembers():
            place = root / member.name
            if place.name.startswith(".wh."):
                gone = place.with_name(place.name.removeprefix(".wh."))
                shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        for member in tar.getmembers():
            content = tar.extractfile(member)
            if content and not Path(member.name).name.startswith(".wh."):
                (root / member.name).parent.mkdir(parents=True, exist_ok=True)
                (root / member.name).write_bytes(content.read())


def shared_object(*libraries: str) -> bytes:
    """Return an ELF file that says it needs `libraries`, and nothing else."""
    names, entries, headers = b"\0", b"", 64 + 2 * 56
    for library in libraries:
        entries += struct.pack("<QQ", 1, len(names))
        names += library.encode() + b"\0"
    size = len(entries) + 32
    entries += struct.pack("<QQQQ", 5, 0x1000 + headers + size, 0, 0)
    whole = headers + size + len(names)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x1000, 0x1000, whole, whole, 0x1000)
    dynamic = struct.pack(
        "<IIQQQQQQ", 2, 6, headers, 0x1000 + headers, 0x1000 + headers, size, size, 8
    )
    return head + load + dynamic + entries + names
