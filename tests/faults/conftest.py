"""What breaks on purpose, and comes back."""

from __future__ import annotations

import os

# The node is asked to end only where it is this machine's own.
collect_ignore = ["test_nfs.py", "test_recovery.py"] if os.environ.get("CONTEXT") else []
