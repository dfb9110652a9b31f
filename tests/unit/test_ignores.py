"""What of a folder goes along: as git sees it, up to 100 MiB, with what stays behind named."""

from __future__ import annotations

import gzip
import io
import os
import socket
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from kfspawner.errors import SourceRefused
from kfspawner.packaging.ignores import choose_files
from kfspawner.packaging.layer import make_layer
from kfspawner.packaging.source import folder_source
from tests.fakes.notebook import run


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return folder


@pytest.mark.parametrize(
    ("ignore", "paths", "kept"),
    [
        ("", "a.py d/b.csv", "a.py d/b.csv"),
        ("# all data\n\n*.csv\n", "a.py d/b.csv b.csv", "a.py"),
        ("*.csv\n!small.csv", "big.csv small.csv d/small.csv", "small.csv d/small.csv"),
        ("/out", "out/a d/out/a", "d/out/a"),
        ("out/", "out/a d/out d/e/out/a", "d/out"),
        ("out/\n!out/keep", "out/keep out/x", ""),
        ("out/*\n!out/keep", "out/keep out/x", "out/keep"),
        ("out/**\n!out/keep", "out/keep out/x", "out/keep"),
        ("*\n!*/\n!*.py", "a.py d/a.py d/x x", "a.py d/a.py"),
        ("a/**/z", "a/z a/b/c/z a/y", "a/y"),
        ("[ab].py", "a.py c.py", "c.py"),
        ("\\!x", "!x x", "x"),
        ("x  ", "x y", "y"),
        ("ä.csv", "ä.csv ö.csv", "ö.csv"),
    ],
)
@pytest.mark.parametrize("file", [".gitignore", ".kfignore"])
def test_ignore_files_are_read_as_git_reads_them(
    tmp_path: Path, file: str, ignore: str, paths: str, kept: str
) -> None:
    write(tmp_path, {file: ignore} | dict.fromkeys(paths.split(), ""))
    found = choose_files(tmp_path)
    assert found.files.keys() - {file} == set(kept.split())
    assert found.left_out == ()


def test_nearer_ignore_files_win_and_kfignore_after_gitignore(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".gitignore": "*.csv\n*.log\n",
            ".kfignore": "!needed.csv\nnotes.md\n",
            "needed.csv": "",
            "notes.md": "",
            "d/.gitignore": "!here.log\nneeded.csv\n",
            "d/here.log": "",
            "d/needed.csv": "",
            "e/here.log": "",
        },
    )
    kept = choose_files(tmp_path).files.keys()
    assert kept == {".gitignore", ".kfignore", "needed.csv", "d/.gitignore", "d/here.log"}


def test_a_folder_that_is_ignored_has_no_say(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "*\n!a.py\n", "d/.gitignore": "!x\n", "d/x": "", "a.py": ""})
    assert choose_files(tmp_path).files.keys() == {"a.py"}


def test_the_repository_above_has_a_say_and_what_is_above_that_has_none(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".gitignore": "*.py\n",
            "repo/.git/HEAD": "",
            "repo/.gitignore": "/part/data\n",
            "repo/part/data/x": "",
            "repo/part/a.py": "",
        },
    )
    assert choose_files(tmp_path / "repo/part").files.keys() == {"a.py"}


def test_what_stays_behind_unasked_is_named(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"x": "secret"})
    folder = write(
        tmp_path / "folder",
        {".git/HEAD": "", "a.py": "1", "__pycache__/a.pyc": "", "d/b": "", ".kfignore": "quiet\n"},
    )
    (folder / "inner").symlink_to("a.py")
    (folder / "leaving").symlink_to(outside / "x")
    (folder / "quiet").symlink_to(outside / "x")
    (folder / "round").symlink_to(folder)
    (folder / "nowhere").symlink_to("gone")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "socket"))
    found = choose_files(folder)
    assert found.files == {
        ".kfignore": folder / ".kfignore",
        "a.py": folder / "a.py",
        "d/b": folder / "d/b",
        "inner": folder / "a.py",
    }
    assert found.left_out == (
        ".git (a history holds what was taken out since)",
        "leaving (a link that leaves the folder)",
        "nowhere (a link to no file)",
        "pipe (neither a file nor a folder)",
        "round (a link to a folder)",
        "socket (neither a file nor a folder)",
    )


def test_too_large_names_what_is_largest(tmp_path: Path) -> None:
    for path, size in {
        "runs/1/model.bin": 60,
        "runs/1/log": 1,
        "data/a.csv": 20,
        "data/b.csv": 21,
        "x.py": 0,
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        with (tmp_path / path).open("wb") as file:
            file.truncate(size * 2**20)
    with pytest.raises(SourceRefused) as caught:
        choose_files(tmp_path)
    assert str(caught.value).startswith(f"packaging the folder {tmp_path}: it is 102 MiB and a run")
    assert "takes 100, the largest being runs/1/model.bin (60 MiB), data/ (41 MiB);" in str(
        caught.value
    )
    (tmp_path / ".kfignore").write_text("*.bin\n")
    assert "runs/1/log" in choose_files(tmp_path).files


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="nowhere: there is no such folder"):
        choose_files(tmp_path / "nowhere")
    write(tmp_path, {".kfignore": "!\n"})
    with pytest.raises(SourceRefused, match=r"reading .gitignore and .kfignore of .*'!'"):
        choose_files(tmp_path)


# A script of it.


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(
        write(tmp_path / "elsewhere", {"kf_far.py": "import kf_near\nvalue = 7\n"})
    )
    code = "import sys, kf_near, kf_far\nprint(sys.argv[1:], open('d.txt').read(), kf_far.value)\n"
    return write(
        tmp_path / "project",
        {"src/train.py": code, "src/kf_near.py": "import kf_far\n", "d.txt": "data", "left.py": ""},
    )


def test_a_script_runs_in_a_copy_of_its_folder(project: Path, tmp_path: Path) -> None:
    write(project, {".kfignore": "left.py\n"})
    source = folder_source(project, "./src/train.py", ["--lr", "0.1 2"])
    assert (source.stem, source.notes) == ("train", ())
    assert (source.kind, source.path) == ("folder", str(project))
    assert source.files.keys() == {
        ".kfignore",
        "d.txt",
        "src/kf_far.py",
        "src/kf_near.py",
        "src/train.py",
    }
    (tmp_path / "outputs").mkdir()
    done = run(source, tmp_path / "run", tmp_path / "outputs")
    assert (done.stdout, done.stderr) == ("['--lr', '0.1 2'] data 7\n", "")


def test_a_folder_is_the_same_layer_each_time(project: Path) -> None:
    (project / "go.sh").write_text("#!/bin/sh\n")
    (project / "go.sh").chmod(0o700)
    first = make_layer(folder_source(project, "src/train.py").files)
    (project / "d.txt").touch()
    again = make_layer(folder_source(project, "src/train.py").files)
    with first, again:
        assert first.digest == again.digest
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(first.data))) as tar:
            assert tar.getmember("opt/kfspawner/run/go.sh").mode == 0o755


def test_a_module_that_is_ignored_stays_behind(project: Path) -> None:
    write(project, {".gitignore": "kf_near.py\n"})
    assert "src/kf_near.py" not in folder_source(project, "src/train.py").files
    assert "kf_near" not in sys.modules


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("nowhere.py", "there is no such file in it"),
        ("src", "there is no such file in it"),
        ("../elsewhere/kf_far.py", "there is no such file in it"),
        ("left.py", "it is left out: an ignore file names it"),
        ("d.txt", "does not end in .py"),
        ("bad.py", "invalid syntax in line 1"),
    ],
)
def test_script_refused(project: Path, script: str, said: str) -> None:
    write(project, {".kfignore": "left.py\n", "bad.py": "x = = 1"})
    with pytest.raises(SourceRefused) as caught:
        folder_source(project, script)
    assert str(caught.value).startswith(f"packaging the script {script} of the folder {project}: ")
    assert said in str(caught.value)


def test_arguments_refused(project: Path) -> None:
    with pytest.raises(SourceRefused, match="argument"):
        folder_source(project, "src/train.py", "--one")


@pytest.mark.parametrize("name", ["plain", "by a link", "ignored"])
def test_secrets_stay_with_a_line_unless_they_are_ignored(tmp_path: Path, name: str) -> None:
    secrets = {".env": "P=1", "d/id_rsa": "k", "d/.aws/credentials": "k", "hf.token": "t"}
    write(tmp_path, secrets | {"a.py": "1"})
    reasons = {
        ".env": "it sets passwords",
        "d/.aws": "it holds credentials",
        "d/id_rsa": "it may be a key",
        "hf.token": "it may be a token",
    }
    if name == "by a link":
        (tmp_path / "settings").symlink_to(".env")
        (tmp_path / "work").symlink_to("d/.aws/credentials")
        reasons |= {"settings": "it sets passwords", "work": "it holds credentials"}
    if name == "ignored":
        write(tmp_path, {".kfignore": ".env\nd/\n*.token\n.kfignore\n"})
        reasons = {}
    found = choose_files(tmp_path)
    assert found.files == {"a.py": tmp_path / "a.py"}
    assert found.left_out == tuple(f"{path} ({reason})" for path, reason in reasons.items())
