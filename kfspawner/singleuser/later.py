"""Modules that are loaded when something of them is first used.

``import a`` of a module that is put off gives a stand-in; the first look at anything
in it imports the module, in the ordinary way, and puts it wherever the stand-in went.
``from a import B`` would be such a look, so names can be promised: a promised
function imports the module when it is called; a promised class stands for the real
one in ``isinstance`` and ``except``. That is exact, because until its module is
loaded the class has no instance, and from then on the real one is in its place. It
must be a name of modules alone: whoever derives from it, or keeps it in a tuple, keeps
the promise.

Nothing here changes what a program computes, only when modules are loaded. Where a
promise cannot be seen to hold, the module is loaded as ever.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from inspect import CO_NEWLOCALS
from types import CodeType, ModuleType
from typing import Any


@dataclass(frozen=True)
class Later:
    """A module that is put off, and what may be imported from it meanwhile.

    Parameters
    ----------
    module
        Its full name.
    functions, classes
        Promised names.
    home
        The module below it whose code defines these; itself, where left out.
    """

    module: str
    functions: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    home: str = ""


def put_off(modules: Iterable[Later]) -> None:
    """Load each of `modules` when it is first used, unless it is there already."""
    sys.meta_path.insert(0, _Finder({it.module: it for it in modules}))


class _Finder(MetaPathFinder):
    """Finds stand-ins, before Python's own finders find the modules."""

    def __init__(self, modules: dict[str, Later]) -> None:
        self._modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        later = self._modules.get(fullname)
        if later:
            spec = PathFinder.find_spec(fullname, path, target)
            promises = _promises(later, spec) if spec and spec.has_location else None
            if spec and promises is not None:
                spec.loader = _StandInLoader(self, promises)
                return spec
        package = sys.modules.get(fullname.rpartition(".")[0])
        if isinstance(package, _StandIn):
            _real(package)
            module = sys.modules.get(fullname)
            if module and module.__spec__:
                # Loading the package has loaded it. Python takes the module's own
                # spec then, and would load it a second time.
                module.__spec__ = ModuleSpec(fullname, _ThereLoader(module, module.__spec__))
                return module.__spec__
        return None

    def release(self, name: str) -> list[ModuleType]:
        """Let `name`, its packages and all below it be imported; return their stand-ins."""
        gone = []
        for it in list(self._modules):
            if f"{it}.".startswith(f"{name}.") or name.startswith(f"{it}."):
                self._modules.pop(it, None)
                if isinstance(sys.modules.get(it), _StandIn):
                    gone.append(sys.modules.pop(it))
        return gone


class _StandInLoader(Loader):
    """Makes a stand-in."""

    def __init__(self, finder: _Finder, promises: Mapping[str, Any]) -> None:
        self.finder = finder
        self.promises = promises

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python."""

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(self.promises)
        module.__class__ = _StandIn


class _ThereLoader(Loader):
    """Gives a module that is loaded already."""

    def __init__(self, module: ModuleType, spec: ModuleSpec) -> None:
        self._module = module
        self._spec = spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class _StandIn(ModuleType):
    """A module that is not loaded yet."""

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":
            # Python asks whether it is a package; one that is has this already.
            raise AttributeError(name)
        return getattr(_real(self), name)


def _real(stand_in: _StandIn) -> ModuleType:
    """Return the module that `stand_in` stands for, loaded.

    Raises
    ------
    Exception
        Whatever importing it raises, at each attempt.
    """
    loader: _StandInLoader = vars(stand_in)["__loader__"]
    gone = loader.finder.release(stand_in.__name__)
    module = import_module(stand_in.__name__)
    for it in gone:
        _replace(it, import_module(it.__name__))
    return module


def _replace(stand_in: ModuleType, module: ModuleType) -> None:
    """Put `module`, and what it has of what was promised, wherever `stand_in` went."""
    loader: _StandInLoader = vars(stand_in)["__loader__"]
    places = {id(stand_in): module}
    for name, promise in loader.promises.items():
        vars(stand_in).pop(name, None)
        if hasattr(module, name):
            places[id(promise)] = getattr(module, name)
    for names in _namespaces():
        for name, value in list(names.items()):
            if id(value) in places:
                names[name] = places[id(value)]


def _namespaces() -> Iterator[dict[str, Any]]:
    for module in list(sys.modules.values()):
        if type(module) is ModuleType:
            yield vars(module)


def _promises(later: Later, spec: ModuleSpec) -> dict[str, Any] | None:
    """Return what stands for the promised names, or None if they are not as expected."""
    if not later.functions and not later.classes:
        return {}
    defined = _definitions(later.home, spec)
    functions = {name for name, code in defined.items() if code.co_flags & CO_NEWLOCALS}
    if not functions.issuperset(later.functions):
        return None
    if not (defined.keys() - functions).issuperset(later.classes):
        return None
    return {
        **{name: _function(later.module, name) for name in later.functions},
        **{name: type(name, (Exception,), {}) for name in later.classes},
    }


def _definitions(home: str, spec: ModuleSpec) -> dict[str, CodeType]:
    """Return the code of each function and class that a module's own code defines."""
    below = spec.submodule_search_locations
    where = PathFinder.find_spec(home, below or []) if home else spec
    get_code = getattr(where.loader if where else None, "get_code", None)
    code = get_code(where.name) if get_code and where else None
    constants = code.co_consts if isinstance(code, CodeType) else ()
    return {it.co_name: it for it in constants if isinstance(it, CodeType)}


def _function(module: str, name: str) -> Any:
    def promised(*args: Any, **kwargs: Any) -> Any:
        there = import_module(module)
        return getattr(_real(there) if isinstance(there, _StandIn) else there, name)(
            *args, **kwargs
        )

    promised.__name__ = promised.__qualname__ = name
    promised.__module__ = module
    return promised
