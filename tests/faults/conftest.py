"""What breaks on purpose, and comes back."""

from __future__ import annotations

import os

from tests.cluster.conftest import cluster, environment, hub, people, profiles

__all__ = ["cluster", "environment", "hub", "people", "profiles"]

# The node is broken only where it is this machine's own.
collect_ignore_glob = ["test_*.py"] if os.environ.get("CONTEXT") else []
