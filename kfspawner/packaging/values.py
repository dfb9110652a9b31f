"""The values that a cell takes from earlier cells, as bytes.

Functions and classes of the notebook go by value. Those functions keep one
thing in common with the cell: their globals are the run's own, as they are
the notebook's there. What is imported goes by name.
"""

from __future__ import annotations

import builtins
import contextlib
import dis
import functools
import pickle
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

import cloudpickle

from kfspawner.errors import SourceRefused

LIMIT = 64 * 2**20

# How far to measure a value that is far too large anyway.
_COUNTED = 2**30
_SHOWN = 3
# Of calls within calls; a thread's 8 MiB of stack hold several times as many.
_DEPTH = 10_000
# Stands for the run's globals in a pickle; cloudpickle fills in an empty one.
_GLOBALS = {"__name__": "__main__"}
_GLOBALS_ID = "globals"
_SHELLS = {"IPython", "ipykernel"}
_SHELL_NAMES = {"exit", "get_ipython", "quit"}
# What functools.lru_cache and functools.cache return.
_Cached = type(functools.lru_cache(len))


@dataclass(frozen=True)
class Values:
    """What a cell takes from earlier cells.

    Attributes
    ----------
    pickled
        A pickled dict of name and value; None where there is nothing to pickle.
        Its one persistent id stands for the globals that it is loaded into.
    imports
        Name in the cell -> module that it is.
    modules
        Every module that must be importable for `pickled` to load, and those
        that functions in it import.
    """

    pickled: bytes | None
    imports: Mapping[str, str]
    modules: frozenset[str]


def pack_values(variables: Mapping[str, object], names: Iterable[str]) -> Values:
    """Return those of `variables` that are among `names`, and what they need.

    Names that `variables` lacks are left to fail where the cell runs, as
    they would in a notebook.

    Raises
    ------
    SourceRefused
        If a value cannot be pickled, or all of them are more than 64 MiB.
    """
    taken = {
        name: variables[name]
        for name in sorted(names)
        if name in variables and not _given(name, variables[name])
    }
    imports = {
        name: value.__name__
        for name, value in taken.items()
        if isinstance(value, ModuleType) and sys.modules.get(value.__name__) is value
    }
    values = {name: value for name, value in taken.items() if name not in imports}
    if not values:
        return Values(None, imports, frozenset(imports.values()))
    try:
        pickled, modules = _pickle(values, variables, LIMIT)
    except _Full:
        raise _too_large(values, variables) from None
    except Exception as error:
        raise _unpicklable(values, variables, error) from error
    return Values(pickled, imports, frozenset(modules | set(imports.values())))


def _given(name: str, value: object) -> bool:
    """Say whether a run has `name` without our help: Python's own, or a notebook's only."""
    if name.startswith("__") and name.endswith("__"):
        return True
    owner = getattr(value, "__module__", None) or type(value).__module__
    return (name in _SHELL_NAMES or hasattr(builtins, name)) and (
        str(owner).partition(".")[0] in _SHELLS
    )


class _Full(BaseException):
    """More was written than is allowed; no value's code catches this by accident."""


class _Sink:
    """A file that takes at most `limit` bytes, and keeps them if asked to."""

    def __init__(self, limit: int, *, keep: bool) -> None:
        self._limit = limit
        self._keep = keep
        self.size = 0
        self.parts: list[bytes] = []

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.size += size
        if self.size > self._limit:
            raise _Full
        if self._keep:
            self.parts.append(bytes(data))
        return size


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles for a run: `variables` are the globals that the functions there share."""

    def __init__(self, sink: _Sink, variables: Mapping[str, object]) -> None:
        super().__init__(sink, protocol=pickle.HIGHEST_PROTOCOL)
        self._variables = variables
        self.reached: dict[str, object] = {}
        self.modules: set[str] = set()

    def persistent_id(self, value: object) -> str | None:
        return _GLOBALS_ID if value is _GLOBALS else None

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, ModuleType):
            self.modules.add(value.__name__)
        elif isinstance(value, type | FunctionType):
            self._note(value)
        elif isinstance(value, _Cached) and value.__module__ == "__main__":
            return _reduce_cached(value)
        return super().reducer_override(value)

    def _note(self, value: type | FunctionType) -> None:
        if value.__module__ != "__main__":
            self.modules.add(str(value.__module__))
        elif self._variables.get(value.__qualname__) is value:
            # A run pickles objects of its own, to save a model or to talk to
            # its processes: their class must be found by its name.
            self.reached[value.__qualname__] = value
        if isinstance(value, FunctionType) and value.__module__ == "__main__":
            self.modules.update(_imports(value.__code__))
        if isinstance(value, FunctionType) and value.__globals__.get("__name__") == "__main__":
            self.globals_ref[id(value.__globals__)] = _GLOBALS


def _imports(code: CodeType) -> Iterator[str]:
    """Yield the modules that a function imports when it is called."""
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            yield step.argval
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _imports(inner)


def _reduce_cached(value: Any) -> tuple[Any, ...]:
    """Take a function with a cache apart: by itself it pickles as a mere name."""
    limits = value.cache_parameters()
    state = {name: kept for name, kept in vars(value).items() if name != "cache_parameters"}
    made_of = (value.__wrapped__, limits["maxsize"], limits["typed"], functools._CacheInfo)
    return _Cached, made_of, state


def _pickle(
    values: Mapping[str, object], variables: Mapping[str, object], limit: int
) -> tuple[bytes, set[str]]:
    """Return `values` pickled, and the modules that they need."""
    sink = _Sink(limit, keep=True)
    pickler = _Pickler(sink, variables)
    with _deeply():
        # The second part fills while the first is written, and adds only names to it.
        pickler.dump((values, pickler.reached))
    return b"".join(sink.parts), pickler.modules


@contextlib.contextmanager
def _deeply() -> Iterator[None]:
    """Let a notebook's functions call one another more than a hundred deep: each is some calls."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _DEPTH))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _too_large(values: Mapping[str, object], variables: Mapping[str, object]) -> SourceRefused:
    sizes = {}
    for name, value in values.items():
        sink = _Sink(_COUNTED, keep=False)
        with contextlib.suppress(_Full):
            _Pickler(sink, variables).dump(value)
        sizes[name] = sink.size
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_SHOWN]
    named = ", ".join(
        f"{name} ({'over ' if sizes[name] > _COUNTED else ''}"
        f"{min(sizes[name], _COUNTED) / 2**20:.0f} MiB)"
        for name in largest
    )
    return SourceRefused(
        "packaging the values that the cell uses",
        f"they are more than the {LIMIT // 2**20} MiB that a run takes along, "
        f"the largest being {named}",
        "save large data to a file and read it in the cell, or make it there",
    )


def _unpicklable(
    values: Mapping[str, object], variables: Mapping[str, object], error: Exception
) -> SourceRefused:
    faults = []
    for name, value in values.items():
        try:
            _Pickler(_Sink(_COUNTED, keep=False), variables).dump(value)
        except _Full:
            continue
        except Exception as fault:  # noqa: BLE001 -- a value's own code raises what it likes
            kind = type(value)
            faults.append(f"{name} ({kind.__module__}.{kind.__qualname__}: {_clause(fault)})")
    more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return SourceRefused(
        "packaging the values that the cell uses",
        f"these cannot be pickled: {', '.join(faults[:_SHOWN])}{more}"
        if faults
        else f"together they cannot be pickled ({_clause(error)})",
        "make them in the cell itself, or send what they are made from",
    )


def _clause(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0].rstrip(".")[:200]
    return text or type(error).__name__
