"""Modules that are put off: when they are loaded, and that nobody can tell otherwise."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from kfspawner.singleuser.later import Later, put_off

Write = Callable[..., None]
SAYS = "import sys\nsys.kf_loaded.append(__name__)\n"


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The modules of a test that were loaded, in order; they are gone afterwards."""
    names: list[str] = []
    monkeypatch.setattr(sys, "kf_loaded", names, raising=False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = set(sys.modules)
    yield names
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: list[str]) -> Write:
    """Write modules by their path; each says when it is loaded."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(**sources: str) -> None:
        for name, source in sources.items():
            # `a__b` is module b of package a, and `a__` that package itself.
            file = f"{name}__init__" if name.endswith("__") else name
            path = tmp_path / (file.replace("__", "/", 1) + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(SAYS + source)
        importlib.invalidate_caches()

    return write


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_an_import_loads_nothing_and_the_first_look_does(write: Write, loaded: list[str]) -> None:
    write(
        kf_late="VALUE = 1\n", kf_early="import kf_late\n\ndef look():\n    return kf_late.VALUE\n"
    )
    put_off([Later("kf_late")])

    early = load("kf_early")
    assert loaded == ["kf_early"]
    assert load("kf_late") is early.kf_late
    assert loaded == ["kf_early"]

    assert early.look() == 1
    assert loaded == ["kf_early", "kf_late"]
    assert type(early.kf_late) is ModuleType
    assert early.look() == 1
    assert loaded == ["kf_early", "kf_late"]


def test_a_name_that_is_not_promised_loads_the_module(write: Write, loaded: list[str]) -> None:
    write(kf_late="def f(): ...\n\ndef g(): return 2\n")
    put_off([Later("kf_late", functions=("f",))])

    from kf_late import g  # type: ignore[import-not-found]  # noqa: PLC0415

    assert loaded == ["kf_late"]
    assert g() == 2


def test_a_promised_function_loads_the_module_when_it_is_called(
    write: Write, loaded: list[str]
) -> None:
    write(
        kf_late="def add(a, *, b):\n    return a + b\n",
        kf_early="from kf_late import add\n\ndef use():\n    return add(1, b=2)\n",
    )
    put_off([Later("kf_late", functions=("add",))])

    early = load("kf_early")
    promise = early.add
    assert (promise.__name__, promise.__module__) == ("add", "kf_late")
    assert loaded == ["kf_early"]
    assert early.use() == 3
    # From now on there is nothing between the caller and the function.
    assert early.add is load("kf_late").add
    assert promise(2, b=2) == 4


async def test_a_promised_coroutine_function_is_awaited(write: Write) -> None:
    write(kf_late="async def fetch(url):\n    return url\n")
    put_off([Later("kf_late", functions=("fetch",))])

    assert await load("kf_late").fetch("/") == "/"


def test_a_promised_class_is_exact_before_and_after(write: Write, loaded: list[str]) -> None:
    write(
        kf_late="class Late(Exception): ...\n\ndef fail():\n    raise Late\n",
        kf_early=(
            "import kf_late\nfrom kf_late import Late\n\n"
            "def is_late(it):\n    return isinstance(it, Late)\n\n"
            "def catch(action):\n"
            "    try:\n        action()\n    except Late:\n        return 'late'\n"
            "    except ZeroDivisionError:\n        return 'other'\n"
        ),
    )
    put_off([Later("kf_late", classes=("Late",))])

    early = load("kf_early")
    assert not early.is_late(Exception())
    assert early.catch(lambda: 1 / 0) == "other"
    assert loaded == ["kf_early"]
    assert early.catch(early.kf_late.fail) == "late"
    assert early.is_late(load("kf_late").Late())
    assert early.Late is load("kf_late").Late


@pytest.mark.parametrize(
    ("source", "later"),
    [
        ("class f: ...\n", Later("kf_late", functions=("f",))),
        ("def f(): ...\n", Later("kf_late", classes=("f",))),
        ("def g(): ...\n", Later("kf_late", functions=("f",))),
        ("f = len\n", Later("kf_late", functions=("f",))),
        ("def f(): ...\n", Later("kf_late", functions=("f",), home="kf_late.inner")),
    ],
    ids=["a class", "a function", "another name", "a value", "no such home"],
)
def test_a_promise_that_cannot_be_seen_to_hold_is_not_made(
    write: Write, loaded: list[str], source: str, later: Later
) -> None:
    write(kf_late=source)
    put_off([later])

    load("kf_late")
    assert loaded == ["kf_late"]


def test_a_promise_may_be_kept_by_a_module_below(write: Write, loaded: list[str]) -> None:
    write(
        kf_late__="from .inner import *\n",
        kf_late__inner="def f():\n    return 'inner'\n",
    )
    put_off([Later("kf_late", functions=("f",), home="kf_late.inner")])

    f = load("kf_late").f
    assert loaded == []
    assert f() == "inner"
    assert loaded == ["kf_late", "kf_late.inner"]


@pytest.mark.parametrize("imported", ["from . import inner\n", ""])
def test_a_module_below_loads_its_package_first_and_once(
    write: Write, loaded: list[str], imported: str
) -> None:
    write(kf_late__=imported, kf_late__inner="VALUE = 3\n")
    put_off([Later("kf_late")])

    package = load("kf_late")
    assert loaded == []
    inner = load("kf_late.inner")
    assert loaded == ["kf_late", "kf_late.inner"]
    assert package.inner is inner is load("kf_late.inner")
    assert inner.VALUE == 3
    assert inner.__spec__
    assert inner.__spec__.loader is inner.__loader__


def test_a_module_below_is_put_off_while_its_package_is_not_loaded(
    write: Write, loaded: list[str]
) -> None:
    write(kf_late__="", kf_late__errors="class Wrong(Exception): ...\n")
    put_off([Later("kf_late"), Later("kf_late.errors", classes=("Wrong",))])

    errors = load("kf_late.errors")
    promise = errors.Wrong
    assert loaded == []
    assert issubclass(promise, Exception)
    assert errors.__doc__ is None
    assert not hasattr(errors, "Right")
    assert loaded == ["kf_late", "kf_late.errors"]
    assert errors.Wrong is load("kf_late.errors").Wrong is not promise


def test_what_is_loaded_already_stays(write: Write, loaded: list[str]) -> None:
    write(kf_late="")
    there = load("kf_late")
    put_off([Later("kf_late", functions=("f",))])

    assert load("kf_late") is there
    assert type(there) is ModuleType


def test_what_is_not_installed_is_missing_at_its_import(loaded: list[str]) -> None:
    put_off([Later("kf_missing")])

    with pytest.raises(ModuleNotFoundError):
        load("kf_missing")


def test_what_fails_to_load_fails_each_time(write: Write, loaded: list[str]) -> None:
    write(kf_late="def f(): ...\n\nraise RuntimeError('broken')\n")
    put_off([Later("kf_late", functions=("f",))])

    late = load("kf_late")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            late.f()
    assert loaded == ["kf_late", "kf_late"]


def test_a_missing_name_is_an_attribute_error(write: Write) -> None:
    write(kf_late="")
    put_off([Later("kf_late")])

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        load("kf_late").nothing  # noqa: B018


def test_a_module_that_looks_at_itself_through_another(write: Write, loaded: list[str]) -> None:
    write(
        kf_late="import kf_other\nVALUE = kf_other.VALUE + 1\n",
        kf_other="import kf_late\nVALUE = 1\nHAS = hasattr(kf_late, 'VALUE')\n",
    )
    put_off([Later("kf_late")])

    assert load("kf_late").VALUE == 2
    assert load("kf_other").HAS is False
    assert loaded == ["kf_late", "kf_other"]


def test_its_own_getattr_answers_once_it_is_loaded(write: Write) -> None:
    write(kf_late="def __getattr__(name):\n    return name.upper()\n")
    put_off([Later("kf_late")])

    assert load("kf_late").word == "WORD"


def test_many_threads_load_it_once(write: Write, loaded: list[str]) -> None:
    write(kf_late="import time\ntime.sleep(0.05)\nVALUE = 1\n")
    put_off([Later("kf_late")])
    late = load("kf_late")
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(late.VALUE)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert found == [1] * 8
    assert loaded == ["kf_late"]
