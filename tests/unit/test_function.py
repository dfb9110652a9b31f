"""A called function does in a run what it does in the notebook, and its result comes back."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kfspawner.errors import ContextMissing, RunError, RunFailed, SourceRefused
from kfspawner.packaging.source import RESULT, Source, function_source
from kfspawner.training.results import read_result
from kfspawner.training.run import Run, submit
from tests.fakes.cluster import FakeCluster
from tests.fakes.notebook import notebook, run
from tests.unit.test_kinds import CONTEXT
from tests.unit.test_run import REQUEST

EARLIER = """
import json
import math as m

rate = 0.5

class Point:
    def __init__(self, x):
        self.x = x

nothing = lambda: None

def scaled(x):
    return x * rate

def train(steps, *, scale=1):
    print("trains")
    return Point(scaled(steps) * scale)

async def waits(x):
    return json.dumps(x)

def fails():
    raise ValueError("no such colour")

def inner():
    class Local:
        value = 3
    return Local()

def grows():
    global rate
    rate = 2
    return scaled(1)

def stuck():
    import threading
    return threading.Lock()

def uses(module):
    import kf_used
    return kf_used.value
"""


def call(
    folder: Path,
    variables: Mapping[str, Any],
    function: Callable[..., object],
    args: Sequence[object] = (),
    **keywords: object,
) -> Any:
    """Return what `function` returned in a run."""
    done = run(function_source(function, args, keywords, variables), folder)
    assert (done.returncode, done.stderr) == (0, "")
    return read_result(folder, "digits", socket.gethostname())


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    made = notebook(EARLIER)
    # A kernel's own module has the notebook's names.
    for name, value in made.items():
        if name != "__name__":
            monkeypatch.setattr(sys.modules["__main__"], name, value, raising=False)
    return made


def test_a_result_is_of_the_notebooks_own_class(tmp_path: Path, earlier: dict[str, Any]) -> None:
    result = call(tmp_path, earlier, earlier["train"], [4], scale=3)
    assert type(result) is earlier["Point"]
    assert result.x == 6.0


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [("scaled", [3], 1.5), ("waits", [[1]], "[1]"), ("grows", [], 2), ("m.sqrt", [4], 2.0)],
)
def test_functions_of_every_sort(
    tmp_path: Path, earlier: dict[str, Any], name: str, args: list[object], expected: object
) -> None:
    assert call(tmp_path, earlier, eval(name, earlier), args) == expected


def test_partials_lambdas_and_methods(tmp_path: Path, earlier: dict[str, Any]) -> None:
    assert call(tmp_path, earlier, partial(earlier["train"], scale=2), [1]).x == 1.0
    assert call(tmp_path, earlier, earlier["nothing"]) is None
    assert call(tmp_path, earlier, "a,b".split, [","]) == ["a", "b"]
    source = function_source(earlier["nothing"], (), {}, {})
    assert (source.stem, source.kind) == ("lambda", "function")


def test_a_class_that_the_notebook_lacks_comes_by_value(
    tmp_path: Path, earlier: dict[str, Any]
) -> None:
    assert call(tmp_path, earlier, earlier["inner"]).value == 3


def test_modules_that_a_function_imports_go_along(
    tmp_path: Path, earlier: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kf_used.py").write_text("value = 4\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert call(tmp_path / "run", earlier, earlier["uses"], [json]) == 4


def test_a_failure_is_the_functions_own(tmp_path: Path, earlier: dict[str, Any]) -> None:
    done = run(function_source(earlier["fails"], (), {}, earlier), tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith('Traceback (most recent call last):\n  File "<call of fails>"')
    assert done.stderr.endswith("ValueError: no such colour\n")
    assert not list(tmp_path.glob(f"{RESULT}*"))


def test_what_cannot_come_back_is_said_plainly(tmp_path: Path, earlier: dict[str, Any]) -> None:
    done = run(function_source(earlier["stuck"], (), {}, earlier), tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("giving back what the function returned: TypeError: cannot ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob(f"{RESULT}*"))


def test_a_call_that_cannot_be_is_refused(earlier: dict[str, Any]) -> None:
    with pytest.raises(SourceRefused, match="packaging the call of train: missing a required"):
        function_source(earlier["train"], (), {}, earlier)
    with pytest.raises(SourceRefused, match=r"these cannot be pickled: _arguments"):
        function_source(earlier["scaled"], [threading.Lock()], {}, earlier)


# Run.result().


@pytest.fixture
def ended(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a run of a function that returned 5."""
    for name, value in CONTEXT.to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KFSPAWNER_HOME", str(tmp_path))
    started = submit(REQUEST, cluster)
    cluster.end_pod("digits")
    source = function_source(sum, [[2, 3]], {}, {})
    give_back(source, tmp_path / "runs/digits", "digits-abcde")
    return started


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def give_back(source: Source, outputs: Path, pod: str) -> None:
    assert run(source, outputs).returncode == 0
    (written,) = outputs.glob(f"{RESULT}*")
    written.rename(outputs / f"{RESULT}{pod}.pkl")


def test_the_result_of_a_run(ended: Run) -> None:
    assert ended.result() == 5


def test_a_result_of_an_earlier_run_of_that_name_is_not_read(
    ended: Run, cluster: FakeCluster
) -> None:
    ended.delete()
    cluster.pods.clear()
    again = submit(REQUEST, cluster)
    pod = cluster.end_pod("digits")
    pod["metadata"]["name"] = "digits-fghij"
    with pytest.raises(
        RunError, match=r"reading the result of run digits: it left none in .*; only"
    ):
        again.result()


def test_a_failed_run_has_no_result(ended: Run, cluster: FakeCluster) -> None:
    cluster.end_pod("digits", 1)
    with pytest.raises(RunFailed, match=r"run digits: it is Failed, exit code 1; %kf logs digits"):
        ended.result()


def test_a_run_that_goes_on_has_none_yet(ended: Run, cluster: FakeCluster) -> None:
    cluster.run_pod("digits")
    with pytest.raises(RunError, match=r"waiting for run digits: after 0 s it is Running"):
        ended.result(timeout=0)


def test_a_result_that_cannot_be_loaded_is_said_plainly(ended: Run, tmp_path: Path) -> None:
    (tmp_path / f"runs/digits/{RESULT}digits-abcde.pkl").write_bytes(b"cnot_here\nf\n.")
    with pytest.raises(RunError, match=r"cannot be loaded here \(ModuleNotFoundError: .*; import"):
        ended.result()


def test_outside_of_a_server_there_are_no_results(
    ended: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KFSPAWNER_NAMESPACE")
    with pytest.raises(ContextMissing):
        ended.result()
