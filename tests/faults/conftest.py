"""What breaks on purpose, and comes back."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.conftest import cluster, environment, hub, people, profiles
from tests.cluster.people import Hub
from tests.faults.node import between
from tests.faults.proxy import ApiProxy

__all__ = ["cluster", "environment", "hub", "people", "profiles"]

# The node is broken only where it is this machine's own.
collect_ignore_glob = ["test_*.py"] if os.environ.get("CONTEXT") else []


@pytest.fixture(scope="module")
def proxy(cluster: Cluster, hub: Hub) -> Iterator[ApiProxy]:
    """A proxy between the hub and the API server."""
    with between(cluster) as running:
        yield running
