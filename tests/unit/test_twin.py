"""kfspawner.run, with training that only takes note."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

import kfspawner
from kfspawner.errors import Error, OptionRefused, SourceRefused
from kfspawner.notebook import twin
from tests.fakes.notebook import notebook
from tests.fakes.training import FakeRuns


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    made = FakeRuns()
    monkeypatch.setattr(twin, "RUNS", made)
    return made


def test_script_with_arguments(runs: FakeRuns, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("print(1)\n")
    run = kfspawner.run(script, ["--lr", "0.1"], name="a", cpu=0.5, memory="4Gi", env={"A": "1"})
    assert run.name == "digits-x7k2p"
    [(source, options)] = runs.started
    assert (source.stem, source.command[-2:]) == ("train", ("--lr", "0.1"))
    assert (options.name, options.cpu, options.memory, options.gpu) == ("a", "0.5", "4Gi", 0)
    assert dict(options.env) == {"A": "1"}


def test_folder(runs: FakeRuns, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)\n")
    (tmp_path / "settings.toml").write_text("")
    kfspawner.run("train.py", ["--lr", "0.1"], folder=tmp_path)
    [(source, _)] = runs.started
    assert source.files.keys() == {"train.py", "settings.toml"}


def test_notes_of_the_folder_and_of_what_was_installed_are_said(
    runs: FakeRuns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.notes = ("old-1.egg-info stays here",)
    (tmp_path / "train.py").write_text("print(1)\n")
    (tmp_path / ".env").write_text("P=1")
    kfspawner.run("train.py", folder=tmp_path)
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(": .env (it sets passwords)")
    assert second == "old-1.egg-info stays here"


def test_function(runs: FakeRuns) -> None:
    train = notebook("def train(rate, steps=1): return rate * steps")["train"]
    run = kfspawner.run(train, [2], steps=3, name="a", gpu=1)
    assert run.name == "digits-x7k2p"
    [(source, options)] = runs.started
    assert source.stem == "train"
    assert source.files["cell.py"] == b"_result = _function(*_arguments[0], **_arguments[1])"
    assert (options.name, options.gpu) == ("a", 1)


def test_function_with_an_options_name_takes_it_by_partial(runs: FakeRuns) -> None:
    train = notebook("def train(name, folder=''): return name + folder")["train"]
    for given in ({"name": "a"}, {"folder": "b"}):
        with pytest.raises(OptionRefused, match=r"give it to the function by functools.partial"):
            kfspawner.run(train, **given)
    with pytest.raises(OptionRefused, match="a function takes along what it uses"):
        kfspawner.run(train, code="1")
    assert runs.started == []
    kfspawner.run(functools.partial(train, name="a"), name="b")
    [(source, options)] = runs.started
    assert (source.stem, options.name) == ("train", "b")


def test_code_without_a_notebook(runs: FakeRuns) -> None:
    kfspawner.run(code="print(1)", cpu="2", gpu=1)
    [(source, options)] = runs.started
    assert source.stem == "cell"
    assert source.files["cell.py"] == b"print(1)"
    assert (options.name, options.cpu, options.gpu) == (None, "2", 1)


def test_code_takes_values_of_the_notebook_along(
    runs: FakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Notebook:
        user_ns = {"scale": 3}  # noqa: RUF012 -- as IPython has it

    monkeypatch.setattr(twin, "get_ipython", Notebook)
    kfspawner.run(code="print(scale)")
    [(source, _)] = runs.started
    assert "values.pkl" in source.files


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({}, OptionRefused, "it takes a script with its arguments, or a function"),
        ({"source": "a.py", "code": "1"}, OptionRefused, "it takes a script"),
        ({"code": "1", "args": ["x"]}, OptionRefused, "it takes a script"),
        ({"source": len, "args": ["a", "b"]}, SourceRefused, "packaging the call of len: too many"),
        ({"code": "1", "folder": "."}, OptionRefused, "it takes a script"),
        ({"code": "1", "cpus": 2}, OptionRefused, "there is no option 'cpus'; use name, image"),
        ({"code": "for"}, SourceRefused, "invalid syntax"),
        ({"source": "nowhere.py"}, SourceRefused, "packaging the script nowhere.py"),
    ],
)
def test_mistake_is_an_ordinary_error(
    runs: FakeRuns, given: dict[str, Any], kind: type[Error], said: str
) -> None:
    with pytest.raises(kind) as raised:
        kfspawner.run(**given)
    assert said in str(raised.value)
    assert type(raised.value) is kind
    assert runs.started == []
