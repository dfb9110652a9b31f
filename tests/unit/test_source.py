"""Cells and scripts become files: what goes along, and what is refused."""

from __future__ import annotations

import json
import math
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kfspawner.errors import SourceRefused
from kfspawner.packaging import values
from kfspawner.packaging.layer import make_layer
from kfspawner.packaging.source import RUN_DIR, cell_source, script_source
from tests.fakes.notebook import notebook, run, run_cell


def test_files_and_command() -> None:
    source = cell_source("print(n)", {"n": 3, "m": 4})
    assert source.stem == "cell"
    assert source.command == ("python", "-u", f"{RUN_DIR}/main.py")
    assert set(source.files) == {"main.py", "cell.py", "run.json", "values.pkl"}
    assert b"kfspawner" not in source.read("values.pkl")
    assert (
        make_layer(source.files).digest
        == make_layer(cell_source("print(n)", {"n": 3}).files).digest
    )


def test_nothing_to_take_is_no_pickle() -> None:
    assert "values.pkl" not in cell_source("print(len('x'))", {"m": 4}).files


def test_modules_go_by_name() -> None:
    about = json.loads(
        cell_source("m.pi, xml.etree.ElementTree.XML", {"m": math, "xml": sys.modules["xml"]}).read(
            "run.json"
        )
    )
    assert about["imports"] == {"m": "math", "xml": "xml"}
    assert about["submodules"] == ["xml.etree", "xml.etree.ElementTree"]
    assert ET.__name__ in about["submodules"]


def test_a_notebooks_own_names_stay() -> None:
    def modified_open() -> None:
        raise AssertionError

    modified_open.__module__ = "IPython.core.interactiveshell"
    variables = {"open": modified_open, "exit": modified_open, "__name__": "__main__", "sum": 3}
    source = cell_source("open, exit, __name__, sum", variables)
    assert b"modified_open" not in source.read("values.pkl")
    assert b"sum" in source.read("values.pkl")


def test_what_cannot_be_pickled_is_named() -> None:
    variables = {"lock": threading.Lock(), "fine": 1, "files": (line for line in "")}
    with pytest.raises(SourceRefused) as caught:
        cell_source("lock, fine, files", variables)
    assert (
        "these cannot be pickled: files (builtins.generator: cannot pickle 'generator' object), "
        "lock (_thread.lock: cannot pickle '_thread.lock' object); "
    ) in str(caught.value)


def test_what_cannot_be_pickled_is_found_inside_functions() -> None:
    variables = notebook("import threading\nlock = threading.Lock()\ndef f():\n  return lock")
    with pytest.raises(SourceRefused, match=r"f \(builtins.function: cannot pickle '_thread.lock'"):
        cell_source("f()", variables)


class Angry:
    def __reduce__(self) -> str:
        raise ZeroDivisionError("first line\nsecond line")


def test_what_raises_anything_is_named() -> None:
    with pytest.raises(SourceRefused, match=r"a \(.*Angry: first line\); ") as caught:
        cell_source("a", {"a": Angry()})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_large_values_are_named_with_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "data": bytearray(70 * 2**20),
        "more": bytes(3 * 2**20),
        "n": 1,
    }
    with pytest.raises(SourceRefused, match=r"largest being data \(70 MiB\), more \(3 MiB\)"):
        cell_source("data, more, n", variables)
    monkeypatch.setattr(values, "_COUNTED", 2**20)
    with pytest.raises(SourceRefused, match=r"data \(over 1 MiB\)"):
        cell_source("data", variables)


def test_values_up_to_the_limit_go_along() -> None:
    data = bytes(2**20)
    assert len(cell_source("data", {"data": data}).read("values.pkl")) > len(data)


def test_functions_that_call_one_another_a_long_way_go_along(tmp_path: Path) -> None:
    before = sys.getrecursionlimit()
    code = "def f0():\n  return 5\n"
    code += "".join(f"def f{n}():\n  return f{n - 1} and f0()\n" for n in range(1, 600))
    done = run_cell("f599()", tmp_path, notebook(code))
    assert (done.stdout, done.stderr) == ("5\n", "")
    assert sys.getrecursionlimit() == before


# The person's own modules.


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "project"
    files = {
        "kf_one.py": "import kf_two\nimport json\nvalue = kf_two.value\ndef f():\n    return value",
        "kf_two.py": "value = 2",
        "kf_pack/__init__.py": "",
        "kf_pack/deep/part.py": "from . import other\nimport kf_two\nname = __name__",
        "kf_pack/deep/other.py": "",
        "kf_pack/data.bin": "large",
        "kf_pack/template.py": "{{ not python }}",
        "kf_pack/.env/lib/module.py": "",
        "kf_pack/deep/.ipynb_checkpoints/part-checkpoint.py": "",
        "kf_space/inner.py": "value = 5",
        "kf_unused.py": "",
    }
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name.startswith("kf_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("code", "files", "said"),
    [
        ("import kf_one\nkf_one.value", {"kf_one.py", "kf_two.py"}, "2\n"),
        ("from kf_two import value\nvalue", {"kf_two.py"}, "2\n"),
        ("def f():\n    import kf_two\n    return kf_two.value\nf()", {"kf_two.py"}, "2\n"),
        ("import kf_space.inner\nkf_space.inner.value", {"kf_space/inner.py"}, "5\n"),
        (
            "from kf_pack.deep.part import name\nname",
            {
                "kf_pack/__init__.py",
                "kf_pack/deep/part.py",
                "kf_pack/deep/other.py",
                "kf_pack/template.py",
                "kf_two.py",
            },
            "'kf_pack.deep.part'\n",
        ),
        ("import json, math, pytest", set(), ""),
    ],
)
def test_cell_takes_its_modules(
    project: Path, tmp_path: Path, code: str, files: set[str], said: str
) -> None:
    source = cell_source(code, {})
    assert {path for path in source.files if path.startswith("modules/")} == {
        f"modules/{path}" for path in files
    }
    done = run(source, tmp_path / "run")
    assert (done.stdout, done.stderr) == (said, "")


def test_values_take_their_modules(project: Path, tmp_path: Path) -> None:
    variables = notebook("import kf_one\nfrom kf_one import f\ng = f\ndef h():\n  return g()")
    for code in ("kf_one.f()", "f()", "h()"):
        source = cell_source(code, variables)
        assert {"modules/kf_one.py", "modules/kf_two.py"} <= source.files.keys()
        done = run(source, tmp_path / "run")
        assert (done.stdout, done.stderr) == ("2\n", "")


def test_a_module_made_by_hand_is_no_import(tmp_path: Path) -> None:
    module = ModuleType("made_by_hand")
    module.value = 3  # type: ignore[attr-defined]
    done = run_cell("m.value", tmp_path, {"m": module})
    assert (done.stdout, done.stderr) == ("3\n", "")


# Scripts.


def test_script(project: Path, tmp_path: Path) -> None:
    script = project / "train digits.py"
    script.write_text("import sys, kf_one\nprint(sys.argv[1:], kf_one.value)\n1 + 1\n")
    source = script_source(script, ["--rate", "0.1 2"])
    assert source.stem == "train digits"
    assert source.command == ("python", "-u", f"{RUN_DIR}/train digits.py", "--rate", "0.1 2")
    assert source.files.keys() == {"train digits.py", "kf_one.py", "kf_two.py"}
    done = run(source, tmp_path / "run")
    assert (done.stdout, done.stderr) == ("['--rate', '0.1 2'] 2\n", "")


def test_script_without_suffix(tmp_path: Path) -> None:
    script = tmp_path / "train"
    script.write_bytes(b"#!/usr/bin/env python3\nprint(1)\n")
    assert script_source(script).command[-1] == f"{RUN_DIR}/train"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.py", None, "No such file"),
        (".", None, "Is a directory"),
        ("a.txt", b"print(1)", "does not end in .py"),
        ("a.sh", b"#!/bin/sh\n", "does not end in .py"),
        ("a.ipynb", b"{}", "does not end in .py"),
        ("a.py", b"", "there is no code"),
        ("a.py", b"x = = 3", "invalid syntax in line 1"),
        ("a.py", b"\xff\xfe", "in line 1"),
        ("a.py", b"x = 1\0", "null bytes"),
    ],
)
def test_script_refused(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceRefused) as caught:
        script_source(path)
    assert str(caught.value).startswith(f"packaging the script {path}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("args", ["--one", [1], ["a", None], ["\0"]])
def test_script_arguments_refused(tmp_path: Path, args: Any) -> None:
    path = tmp_path / "a.py"
    path.write_text("print(1)")
    with pytest.raises(SourceRefused, match="argument"):
        script_source(path, args)


def test_script_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    with path.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(SourceRefused, match="65 MiB"):
        script_source(path)
