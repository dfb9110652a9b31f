"""A config in order, and `kfspawner check` on it with something at its end."""

from __future__ import annotations

from pathlib import Path

from click.testing import Result

from tests.fakes.api import FakeApi
from tests.fakes.cli import kf

CONFIG = """\
c = get_config()
c.JupyterHub.spawner_class = "kfspawner"
c.KfSpawner.registry_prefix = "registry.example/team"
c.KfSpawner.profiles = {
    "vision": {"owner": "alice", "quota": {"requests.nvidia.com/gpu": "1", "pods": "5"}},
    "nlp": {"owner": "bob", "image_profiles": ["cpu"]},
}
c.KfSpawner.personal_profile = {"image_profiles": ["cpu"]}
c.KfSpawner.image_profiles = {
    "cpu": {
        "image": "registry.example/cpu@sha256:1",
        "cpu": {"min": 0.5, "max": 4, "default": 1},
        "memory": {"min": "512M", "max": "8G", "default": "2G"},
    },
    "gpu": {
        "image": "registry.example/gpu@sha256:2",
        "cpu": {"min": 1, "max": 8},
        "memory": {"min": "1G", "max": "16G"},
        "gpu": {"min": 1, "max": 1},
    },
}
"""


def check(config: Path, api: FakeApi | None = None, more: str = "") -> Result:
    """Return what is said of the config with `more` at its end; without a cluster, offline."""
    config.write_text(CONFIG + more)
    args = ["check", "--config", str(config)]
    return kf(api, *args) if api else kf(FakeApi(), *args, "--offline")


def wrong(result: Result) -> list[str]:
    """Return the lines of what is wrong."""
    return [line for line in result.stdout.splitlines() if line.startswith("wrong")]
