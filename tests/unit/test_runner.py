"""A packaged cell does in a run what it did in the notebook."""

from __future__ import annotations

import json
import pickle
import textwrap
from pathlib import Path

import pytest

from kfspawner.packaging.source import Source, cell_source
from tests.fakes.notebook import notebook, run, run_cell


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1 + 1", "2\n"),
        ("x = 1 + 1", ""),
        ("'a'\n'b'", "'b'\n"),
        ("None", ""),
        ("'a';", ""),
        ("print('a')\nlen('abc')", "a\n3\n"),
        ("display(1, 'a')", "1\n'a'\n"),
        ("__name__", "'__main__'\n"),
        ("import asyncio\nx = await asyncio.sleep(0, 1)\nawait asyncio.sleep(0, x + 1)", "2\n"),
        ("import inspect\ndef f():\n    return 1\nprint(inspect.getsource(f))", None),
        ("if __name__ == '__main__':\n    print('main')", "main\n"),
        (
            "import pathlib\nprint('main.py' in [p.name for p in pathlib.Path().iterdir()])",
            "True\n",
        ),
        ("'ä' * 2", "'ää'\n"),
    ],
)
def test_run_shows_what_a_notebook_shows(tmp_path: Path, code: str, said: str | None) -> None:
    done = run_cell(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (said if said is not None else "def f():\n    return 1\n\n")


@pytest.mark.parametrize(
    ("code", "status", "stderr"),
    [
        ("import sys\nsys.exit(3)", 3, ""),
        ("raise SystemExit('so long')", 1, "so long\n"),
        ("exit()", 0, ""),
    ],
)
def test_run_exits_as_told(tmp_path: Path, code: str, status: int, stderr: str) -> None:
    done = run_cell(code, tmp_path)
    assert (done.returncode, done.stderr) == (status, stderr)


def test_traceback_starts_at_the_cell(tmp_path: Path) -> None:
    code = "def f(n):\n    return 1 / n\n\nprint('before')\nf(0)\n"
    done = run(cell_source(code, {}, stem="digits"), tmp_path)
    assert (done.returncode, done.stdout) == (1, "before\n")
    assert done.stderr == textwrap.dedent(
        """\
        Traceback (most recent call last):
          File "<cell>", line 5, in <module>
            f(0)
          File "<cell>", line 2, in f
            return 1 / n
                   ~~^~~
        ZeroDivisionError: division by zero
        """
    )


@pytest.mark.parametrize("code", ["await f()", "int('x')", "raise ValueError from KeyError()"])
def test_traceback_never_shows_the_runner(tmp_path: Path, code: str) -> None:
    done = run_cell(f"async def f():\n    raise OSError\n{code}", tmp_path)
    assert done.returncode == 1
    assert 'File "<cell>", line 3' in done.stderr
    assert "main.py" not in done.stderr
    assert "asyncio" not in done.stderr


EARLIER = """
    import math
    import string as letters

    rate = 0.5
    unused = object()

    class Model:
        def __init__(self):
            self.weight = rate

    model = Model()
    twin = model

    def train():
        return rate, math.floor(2.5), type(model).__name__
"""


def test_values_of_earlier_cells(tmp_path: Path) -> None:
    code = "print(train(), model.weight, model is twin, letters.digits)"
    done = run_cell(code, tmp_path, notebook(EARLIER))
    assert (done.stdout, done.stderr) == ("(0.5, 2, 'Model') 0.5 True 0123456789\n", "")


def test_functions_of_earlier_cells_see_what_the_cell_sets(tmp_path: Path) -> None:
    done = run_cell("rate = 7\nprint(train()[0])", tmp_path, notebook(EARLIER))
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_objects_of_earlier_classes_can_be_saved(tmp_path: Path) -> None:
    code = "import pickle\nprint(pickle.loads(pickle.dumps(model)).weight)"
    done = run_cell(code, tmp_path, notebook(EARLIER))
    assert (done.stdout, done.stderr) == ("0.5\n", "")


def test_functions_of_cells_run_in_other_processes(tmp_path: Path) -> None:
    code = """
    import multiprocessing
    def square(x):
        return x * x
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(square, range(3)), pool.map(double, range(3)))
    """
    done = run_cell(code, tmp_path, notebook("def double(x):\n  return 2 * x"))
    assert (done.stdout, done.stderr) == ("[0, 1, 4] [0, 2, 4]\n", "")


def test_functions_with_a_cache_go_along(tmp_path: Path) -> None:
    variables = notebook(
        """
        import functools
        rate = 2
        @functools.lru_cache(maxsize=3)
        def times(n):
            "Multiply."
            return n * rate
        def twice(n):
            return times(n) + times(n)
        """
    )
    code = "rate = 5\nprint(twice(2), times.cache_info().hits, times.__doc__)"
    done = run_cell(code, tmp_path, variables)
    assert (done.stdout, done.stderr) == ("20 1 Multiply.\n", "")


def test_functions_of_libraries_keep_their_own_globals(tmp_path: Path) -> None:
    variables = notebook(
        """
        import textwrap
        wrapped = textwrap.dedent
        def dedent(text):
            return wrapped(text)
        """
    )
    done = run_cell("print(dedent(' a'), 're' in globals())", tmp_path, variables)
    assert (done.stdout, done.stderr) == ("a False\n", "")


def test_another_python_is_said_plainly(tmp_path: Path) -> None:
    source = cell_source("n", {"n": 1})
    about = json.loads(source.read("run.json")) | {"python": "2.7"}
    files = {**source.files, "run.json": json.dumps(about).encode()}
    done = run(Source("cell", files, source.command), tmp_path)
    assert done.returncode == 1
    assert "made by Python 2.7 and this image has 3." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("pickled", "imports", "said"),
    [
        (b"broken", {}, "UnpicklingError"),
        (None, {"np": "not_in_this_image"}, "No module named 'not_in_this_image'; choose"),
        (b"cnot_in_this_image\nf\n.", {}, "No module named 'not_in_this_image'; choose"),
    ],
)
def test_what_cannot_be_loaded_is_said_plainly(
    tmp_path: Path, pickled: bytes | None, imports: dict[str, str], said: str
) -> None:
    source = cell_source("1", {})
    about = json.loads(source.read("run.json")) | {"imports": imports}
    files = {**source.files, "run.json": json.dumps(about).encode()}
    if pickled:
        files["values.pkl"] = pickled
    done = run(Source("cell", files, source.command), tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("loading what the cell takes from earlier cells: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_runner_is_shipped_as_it_is() -> None:
    source = cell_source("1", {})
    assert b"import kfspawner" not in source.read("main.py")
    assert b"from kfspawner" not in source.read("main.py")


def test_pickle_needs_the_runner() -> None:
    """The persistent id in the values is the runner's word for its globals."""
    source = cell_source("f()", notebook("def f():\n  return 1"))
    with pytest.raises(pickle.UnpicklingError, match="persistent"):
        pickle.loads(source.read("values.pkl"))
