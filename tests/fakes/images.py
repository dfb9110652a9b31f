"""Small base images to put on a registry that understands the distribution specification."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kfspawner.packaging.layer import sha256
from kfspawner.packaging.manifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_MANIFEST,
)
from tests.fakes.registry import FakeRegistry

ZSTD_LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"


def make_config(layers: int, **settings: Any) -> dict[str, Any]:
    """Return a config for that many layers."""
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-02T03:04:05Z",
        "config": {"Env": ["PATH=/opt/venv/bin:/usr/bin"], **settings},
        "rootfs": {"type": "layers", "diff_ids": [sha256(b"%d" % n) for n in range(layers)]},
        "history": [{"created_by": f"step {n}"} for n in range(layers)],
    }


def add_image(
    registry: FakeRegistry,
    repository: str,
    tag: str,
    layers: Sequence[bytes] = (b"bottom", b"top"),
    *,
    docker: bool = False,
    config: dict[str, Any] | None = None,
) -> str:
    """Put an image into `registry`; return its digest."""
    kind, config_kind = (DOCKER_MANIFEST, DOCKER_CONFIG) if docker else (OCI_MANIFEST, OCI_CONFIG)
    configured = json.dumps(config or make_config(len(layers))).encode()

    def describe(content: bytes, media_type: str) -> dict[str, Any]:
        digest = registry.add_blob(repository, content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    layer_kind = DOCKER_LAYER if docker else ZSTD_LAYER
    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": describe(configured, config_kind),
        "layers": [
            {**describe(layer, layer_kind), "annotations": {"of": "base"}} for layer in layers
        ],
    }
    return registry.add_manifest(repository, document, kind, tag)
