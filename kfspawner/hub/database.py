"""How the hub writes its database, where that is a file of its own volume."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any


class Ahead(sqlite3.Connection):
    """A connection to an SQLite database whose commits wait for no disk.

    They go to the file's journal (`-wal`), which outlives the hub whatever ends
    it. Should the machine lose power, the database is whole, and lacks its
    last seconds at most. Copy it with SQLite's own backup, or with its journal:
    the file alone is old.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA journal_mode = WAL").close()
        self.execute("PRAGMA synchronous = NORMAL").close()


# For `c.JupyterHub.db_kwargs`, where `db_url` is a file. A start is ten commits,
# and for each the hub would stand still until the disk has it.
SQLITE: Mapping[str, Any] = {"connect_args": {"check_same_thread": False, "factory": Ahead}}
