"""Image profiles as an administrator writes them."""

from __future__ import annotations

from typing import Any

PROFILES: dict[str, Any] = {
    "cpu": {
        "image": "registry.example/cpu@sha256:1",
        "cpu": {"min": 0.5, "max": 4, "default": 1, "guarantee": 0.1},
        "memory": {"min": "512M", "max": "8G", "default": "2G"},
    },
    "gpu": {
        "image": "registry.example/gpu@sha256:2",
        "cpu": {"min": 1, "max": 8},
        "memory": {"min": "1G", "max": "16G"},
        "gpu": {"min": 1, "max": 2},
        "node_selector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    },
}
