"""How the hub's database is written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from jupyterhub import orm
from sqlalchemy import text

from kfspawner.hub.database import SQLITE


def test_a_commit_is_in_the_journal_and_waits_for_no_disk(tmp_path: Path) -> None:
    path = tmp_path / "jupyterhub.sqlite"
    session = orm.new_session_factory(f"sqlite:///{path}", **SQLITE)()
    try:
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        # 1 is NORMAL: it is synced where the journal goes into the file, not at each commit.
        assert session.execute(text("PRAGMA synchronous")).scalar() == 1
        session.add(orm.User(name="alice"))
        session.commit()
        # As if the hub were killed now: what opens the file next has all.
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT name FROM users").fetchall() == [("alice",)]
        assert path.with_name("jupyterhub.sqlite-wal").exists()
    finally:
        session.close()
        session.get_bind().dispose()
    assert [it.name for it in tmp_path.iterdir()] == ["jupyterhub.sqlite"]


def test_a_database_of_before_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jupyterhub.sqlite'}"
    for settings in ({}, SQLITE):
        session = orm.new_session_factory(url, **settings)()
        session.add(orm.User(name=f"user-{len(settings)}"))
        session.commit()
        names = [user.name for user in session.query(orm.User).order_by(orm.User.id)]
        session.close()
        session.get_bind().dispose()
    assert names == ["user-0", "user-1"]
