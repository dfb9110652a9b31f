"""What an image tells of where its code came from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.packaging.provenance import Provenance, read_commit, without_provenance

WHOLE = Provenance(
    "notebook", "työ/a.ipynb", "a" * 40, dirty=True, person="Ålice", profile="vision"
)


def test_what_is_told() -> None:
    assert WHOLE.labels == {
        "io.kfspawner.kind": "notebook",
        "io.kfspawner.path": "työ/a.ipynb",
        "io.kfspawner.commit": "a" * 40,
        "io.kfspawner.dirty": "true",
        "io.kfspawner.person": "Ålice",
        "io.kfspawner.profile": "vision",
    }
    assert WHOLE.annotations == {**WHOLE.labels, "org.opencontainers.image.revision": "a" * 40}


def test_what_is_not_known_is_not_told() -> None:
    assert Provenance().annotations == {}
    assert "io.kfspawner.dirty" not in Provenance("cell", dirty=True).labels
    assert Provenance(commit="a" * 40).labels["io.kfspawner.dirty"] == "false"


def test_it_comes_back() -> None:
    assert Provenance.parse(WHOLE.labels) == Provenance.parse(WHOLE.annotations) == WHOLE
    assert Provenance.parse({}) == Provenance()


@given(st.text(), st.text(max_size=3000))
def test_any_text_can_be_a_label(path: str, person: str) -> None:
    labels = Provenance("cell", path, person=person).labels
    for value in labels.values():
        assert len(value) <= 1024
        assert value.isprintable() or "\n" not in value
        value.encode()
    assert Provenance.parse(labels).labels == labels


def test_a_base_that_is_a_run_itself_passes_nothing_on() -> None:
    labels = {**WHOLE.labels, "io.kfspawner.image": "cpu", "a": "b"}
    assert without_provenance(labels) == {"io.kfspawner.image": "cpu", "a": "b"}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    place = tmp_path / "work"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    return place


def git(place: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Alice", "-c", "user.email=alice@example.org"]
    command = ["git", *who, "-C", str(place), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(place: Path) -> str:
    (place / "train.py").write_text("1\n")
    git(place, "add", ".")
    git(place, "commit", "-q", "-m", "one")
    return git(place, "rev-parse", "HEAD")


def test_a_commit(repository: Path) -> None:
    head = commit(repository)
    assert read_commit(repository) == (head, False)
    (repository / "train.py").write_text("2\n")
    assert read_commit(repository) == (head, True)
    git(repository, "add", ".")
    assert read_commit(repository) == (head, True)


def test_files_that_git_does_not_know_are_in_no_commit(repository: Path) -> None:
    head = commit(repository)
    (repository / "new.py").write_text("")
    assert read_commit(repository) == (head, True)
    (repository / ".gitignore").write_text("*\n")
    assert read_commit(repository) == (head, False)


def test_only_the_folder_itself_counts(repository: Path) -> None:
    (repository / "sub").mkdir()
    (repository / "sub" / "a.py").write_text("")
    head = commit(repository)
    (repository / "train.py").write_text("2\n")
    assert read_commit(repository / "sub") == (head, False)


def test_where_there_is_none(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_commit(repository) == ("", False), "nothing is committed yet"
    assert read_commit(tmp_path) == ("", False), "no repository"
    assert read_commit(tmp_path / "missing") == ("", False)
    commit(repository)
    monkeypatch.setenv("PATH", "/nowhere")
    assert read_commit(repository) == ("", False), "no git"
