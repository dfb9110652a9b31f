"""The two images that a node needs before it can pull any: one program each."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path


def make_archive(name: str, program: Path, arguments: tuple[str, ...] = ()) -> bytes:
    """Return an image of nothing but `program`, as ``docker save`` would write it.

    Parameters
    ----------
    name
        The image's name and tag.
    program
        A statically linked program; it becomes the entrypoint.
    arguments
        What it is called with, before those of a pod.
    """
    layer = _tar({program.name: (program.resolve().read_bytes(), 0o755)})
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}", *arguments], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "layer.tar": (layer, 0o644),
            "config.json": (json.dumps(config).encode(), 0o644),
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
        }
    )


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()
