"""Lines for IPython in a cell: kept, translated, left out with a note, or refused by number."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import pytest

from kfspawner.errors import SourceRefused
from kfspawner.packaging.cell import free_names, parse_cell
from kfspawner.packaging.source import Source, cell_source
from tests.fakes.notebook import notebook, run, run_cell

EARLIER = "n = 7\nname = 'a b'\ndef f(x):\n    return x + n\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("!echo one\nprint('two')", "one\ntwo\n"),
        ("if n:\n    !echo {n} $n", "7 7\n"),
        ("for i in range(2):\n    !echo {i} \\\n      more", "0 more\n1 more\n"),
        ("lines = !printf 'a\\nb'\nlines", "['a', 'b']\n"),
        ("!!echo a", "['a']\n"),
        ("!false\nprint('on')", "on\n"),
        ("%env KF_TEST={n}\nimport os\nos.environ['KF_TEST']", "env: KF_TEST=7\n'7'\n"),
        ("%cd /\n%pwd", "/\n'/'\n"),
        ("%timeit -q -n 1 -r 1 f(1)\nf(2)", "9\n"),
        ("%%bash\necho one", "one\n"),
        ("\n%%bash\necho one", "one\n"),
        ("%%capture out\nprint(f(1))", ""),
        ("%%writefile a.txt\n{n}", "Writing a.txt\n"),
        ("/f 1", "8\n"),
        ("get_ipython().system('echo by hand')", "by hand\n"),
    ],
)
def test_what_means_something_in_a_run_is_kept(tmp_path: Path, code: str, said: str) -> None:
    done = run_cell(code, tmp_path, notebook(EARLIER))
    assert (done.stdout, done.stderr) == (said, "")


@pytest.mark.parametrize("code", ["%time f(2)", "r = %time f(2)\nr", "%%time\n!true\nf(2)"])
def test_times_are_taken(tmp_path: Path, code: str) -> None:
    done = run_cell(code, tmp_path, notebook(EARLIER))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Wall time: " in done.stdout
    assert done.stdout.endswith("\n9\n")


def test_tracebacks_keep_their_lines(tmp_path: Path) -> None:
    code = "!echo a \\\n  b\n%load_ext autoreload\n1 / 0"
    done = run_cell(code, tmp_path)
    assert '  File "<cell>", line 4, in <module>\n    1 / 0\n' in done.stderr


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("%time y = f(x)\ny", "f x"),
        ("%timeit -n 10 -r3 f(x)", "f x"),
        ("r = %timeit -o f(x)\nr", "f x"),
        ("%%time\ny = f(x)\ny", "f x"),
        ("%%time\n%time f(x)", "f x"),
        ("lines = !ls\nlines", ""),
        ("%%bash\nx y z", ""),
        ("print(1)\n!echo it's (\nx", "x"),
        ("f.x?", ""),
        ("%%time\nf?\nx", "x"),
        ("/f x", "f x"),
    ],
)
def test_names_are_read_through_magics(code: str, expected: str) -> None:
    assert free_names(parse_cell(code).tree) - {"print"} == set(expected.split())


def test_commands_take_only_the_names_that_they_read() -> None:
    variables = {"data": threading.Lock(), "n": 1, "HOME": 2}
    assert parse_cell("!ls data $HOME {n + m}").expanded == {"HOME", "n", "m"}
    assert "values.pkl" in cell_source("!ls data {n}", variables).files
    assert "values.pkl" not in cell_source("!ls data $$n", variables).files


def test_modules_in_timed_code_go_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kf_timed.py").write_text("value = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "modules/kf_timed.py" in cell_source("%%time\nimport kf_timed", {}).files


@pytest.mark.parametrize(
    ("code", "notes", "said"),
    [
        (
            "f?\n1",
            ("line 1, f?: help is for the notebook, and left out",),
            "1\n",
        ),
        (
            "1;\n?f",
            ("line 2, ?f: help is for the notebook, and left out",),
            "",
        ),
        (
            "%load_ext autoreload\n%autoreload 2\n1",
            (
                "line 1, %load_ext: nothing is edited while a run goes on, so it is left out",
                "line 2, %autoreload: nothing is edited while a run goes on, so it is left out",
            ),
            "1\n",
        ),
        (
            "1\n%config InlineBackend.figure_format = 'retina'",
            ("line 2, %config: it is about the notebook, so it is left out",),
            "",
        ),
    ],
)
def test_what_is_left_out_is_said(
    tmp_path: Path, code: str, notes: tuple[str, ...], said: str
) -> None:
    source = cell_source(code, {})
    assert source.notes == notes
    done = run(source, tmp_path)
    assert (done.stdout, done.stderr) == (said, "")


def test_figures_are_drawn_without_a_screen(tmp_path: Path) -> None:
    source = cell_source("%matplotlib inline\nimport matplotlib\nmatplotlib.seen", {})
    assert source.notes == (
        "line 1, %matplotlib: figures are not shown in a run: save them to files",
    )
    fake = b"def use(name):\n    global seen\n    seen = name\n"
    done = run(
        Source("cell", {**source.files, "modules/matplotlib.py": fake}, source.command), tmp_path
    )
    assert (done.stdout, done.stderr) == ("'agg'\n", "")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1\n%kf ls", "line 2 is for IPython ('%kf ls')"),
        ("%lsmagic", "line 1 is for IPython ('%lsmagic')"),
        ("x = %my_own 3", "line 1 is for IPython ('%my_own 3')"),
        ("%load_ext tensorboard", "line 1 is for IPython ('%load_ext tensorboard')"),
        (
            "%run other.py",
            "line 1 is for IPython ('%run other.py'), and means nothing in a run; %kf",
        ),
        ("%conda install x", "a run installs by pip"),
        ("\n\n%%html\n<b>", "line 3 is for IPython ('%%html')"),
        ("x = 1\n\n  %%bash", "line 3 is for IPython ('%%bash')"),
        ("if 1:\n    !sudo true", "line 2 is for IPython ('!sudo true')"),
        ("%%time\n%my_own", "line 2 is for IPython ('%my_own')"),
        ("!apt-get install x", "nobody is root in a run"),
    ],
)
def test_what_means_nothing_in_a_run_is_refused(code: str, said: str) -> None:
    with pytest.raises(SourceRefused) as caught:
        cell_source(code, {})
    assert str(caught.value).startswith("packaging the cell: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# pip.


@pytest.mark.parametrize(
    ("line", "does"),
    [
        ("!pip install x", "install x"),
        ("! pip3 install -q 'x<2'", "install -q 'x<2'"),
        ("!python -m pip install x \\\n  y", "install x    y"),
        ("%%time\n!pip install x", "install x"),
        ("!{sys.executable} -m pip uninstall -y x", "uninstall -y x"),
        ("%pip install x", "install x"),
    ],
)
def test_pip_comes_first(line: str, does: str) -> None:
    source = cell_source(line if line.startswith("%%") else f"import x\n{line}\nx", {})
    about = json.loads(source.read("run.json"))
    assert about["pip"] == [[2, does]]
    assert about["pip_folder"] == str(Path.cwd())
    assert source.notes == ("line 2, pip: the run installs this before all else",)
    assert b"install" not in source.read("cell.py")


@pytest.mark.parametrize(
    "line", ["if 1:\n  !pip install x", "!pip list", "!pip install {x}", "x = !pip install y"]
)
def test_what_only_the_cell_can_say_stays_in_its_place(line: str) -> None:
    source = cell_source(line, {})
    assert "pip" not in json.loads(source.read("run.json"))
    assert b"get_ipython()" in source.read("cell.py")


def test_pip_installs_what_earlier_values_need(tmp_path: Path) -> None:
    package = tmp_path / "packages" / "kf_sent"
    package.mkdir(parents=True)
    (package / "pyproject.toml").write_text(
        "[build-system]\nrequires=[]\nbuild-backend='back'\nbackend-path=['.']\n"
    )
    (package / "back.py").write_text(
        "import zipfile\n"
        "def build_wheel(to, *_):\n"
        "    name = 'kf_sent-1-py3-none-any.whl'\n"
        "    with zipfile.ZipFile(f'{to}/{name}', 'w') as wheel:\n"
        "        wheel.writestr('kf_sent.py', 'value = 5')\n"
        "        wheel.writestr('kf_sent-1.dist-info/METADATA',\n"
        "            'Metadata-Version: 2.1\\nName: kf_sent\\nVersion: 1\\n')\n"
        "        wheel.writestr('kf_sent-1.dist-info/WHEEL',\n"
        "            'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        "        wheel.writestr('kf_sent-1.dist-info/RECORD', '')\n"
        "    return name\n"
    )
    target = tmp_path / "run" / "modules"
    line = f"!pip install -q --no-deps --no-index --no-build-isolation --target {target} {package}"
    source = cell_source(f"print(m.value)\n{line}", {"m": sys})
    about = json.loads(source.read("run.json")) | {"imports": {"m": "kf_sent"}}
    files = {**source.files, "run.json": json.dumps(about).encode()}
    done = run(Source("cell", files, source.command), tmp_path / "run")
    assert done.stdout == "5\n", done.stderr


def test_pip_that_fails_ends_the_run(tmp_path: Path) -> None:
    done = run_cell("print('before')\n!pip install --no-index --find-links . kf-none", tmp_path)
    assert done.returncode == 1
    assert done.stdout.count("before") == 0
    assert done.stderr.endswith("pip, in line 2 of the cell, ended with exit code 1\n")


def test_an_image_without_ipython_is_said_plainly(tmp_path: Path) -> None:
    source = cell_source("!echo a", {})
    files = {**source.files, "modules/IPython.py": b""}
    done = run(Source("cell", files, source.command), tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("the cell's magics need IPython: No module named 'IPython.core'")
    assert "Traceback" not in done.stderr
