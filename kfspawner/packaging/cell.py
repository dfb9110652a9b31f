"""What a cell is made of: is it Python, which names does it expect, what does it import.

Names are read in the order in which the cell runs. A name is free where the
cell reads it and may not have set it yet: an ``if`` sets a name only when all
its branches do, the body of a loop or a ``with`` is taken to run, and what a
function reads counts from the first time that the function itself is read.
Where in doubt a name is free, because one value too many does less harm than
one that is missing.
"""

from __future__ import annotations

import ast
import copy
import dis
import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import CodeType
from typing import Any, TypeVar

from kfspawner.errors import SourceRefused

# A cell may await at its top, as in a notebook.
COMPILE_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

_Node = TypeVar("_Node", bound=ast.AST)
# How to read a branch, and the branch.
_Way = tuple[Callable[[], None], Sequence[ast.stmt]]

_DOING = "packaging the cell"
# %magic, !command, ?name, name?, a call without brackets, and the first two on the right of
# an assignment.
_IPYTHON = re.compile(r"\s*([%!?,;/]|[\w.,\s\[\]*]+=\s*[%!]|[%\w.*]+\?{1,2}\s*$)")
_LEAVING = (ast.Raise, ast.Return, ast.Break, ast.Continue)


def parse_python(code: str | bytes, doing: str = _DOING) -> ast.Module:
    """Return the syntax tree of `code`, which compiles.

    Raises
    ------
    SourceRefused
        If it does not compile, with the line and a caret.
    """
    try:
        with warnings.catch_warnings():
            # They are shown where the code runs.
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
            compile(tree, "<cell>", "exec", COMPILE_FLAGS, dont_inherit=True)
    except SyntaxError as error:
        raise SourceRefused(doing, _where(error), "correct it and run it again") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise SourceRefused(
            doing, f"Python cannot read it ({error})", "correct it and run it again"
        ) from error
    return tree


def parse_code(code: str | bytes, doing: str = _DOING) -> ast.Module:
    """Return the syntax tree of `code`, which does something.

    Raises
    ------
    SourceRefused
        As `parse_python` does, and if there is nothing in it but comments.
    """
    tree = parse_python(code, doing)
    if not tree.body:
        raise SourceRefused(doing, "there is no code in it", "write some and run it again")
    return tree


@dataclass(frozen=True)
class Cell:
    """A cell as a run has it.

    Attributes
    ----------
    code
        Python alone.
    tree
        A syntax tree that reads, sets and imports the same names.
    expanded
        The names that its shell commands may read: a ``$name`` can be the shell's.
    mentioned
        The names that its magics may set.
    pip
        What pip is to do first, each with the number of its line.
    notes
        What its owner is to know, a line each.
    """

    code: str
    tree: ast.Module
    expanded: frozenset[str] = frozenset()
    mentioned: frozenset[str] = frozenset()
    pip: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()


def parse_cell(code: str) -> Cell:
    """Return what a run makes of a cell's `code`.

    Raises
    ------
    SourceRefused
        As `parse_code` does, and if a line of IPython's means nothing in a run.
    """
    try:
        return Cell(code, parse_code(code))
    except SourceRefused as refused:
        if not _for_ipython(code, refused.__cause__):
            raise
    # Few cells need it.
    from kfspawner.packaging.ipython import translate  # noqa: PLC0415

    translated = translate(code)
    parse_code(translated.code)
    return Cell(
        translated.code,
        parse_python(translated.meaning),
        translated.expanded,
        translated.mentioned,
        translated.pip,
        translated.notes,
    )


def _where(error: SyntaxError) -> str:
    """Return what is wrong, and where, with a caret under the place."""
    fault = error.msg or "invalid syntax"
    if not error.lineno:
        return fault
    if not error.text:
        return f"{fault} in line {error.lineno}"
    text = error.text.rstrip()
    shown = text.lstrip()
    column = max(0, (error.offset or 1) - 1 - (len(text) - len(shown)))
    return f"{fault} in line {error.lineno}:\n    {shown}\n    {' ' * column}^"


def _for_ipython(code: str, error: BaseException | None) -> bool:
    """Say whether `code` is not Python because of a line that IPython translates."""
    return isinstance(error, SyntaxError) and any(map(_IPYTHON.match, code.splitlines()))


def imported_names(tree: ast.AST) -> set[str]:
    """Return the top-level packages that `tree` imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def attribute_names(tree: ast.AST) -> set[str]:
    """Return every name that `tree` reads or sets after a dot."""
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def free_names(tree: ast.Module, *, unread: bool = True) -> set[str]:
    """Return the names that `tree` expects to find, builtins included.

    Those of its functions that it does not read itself count if `unread`.
    """
    reader = _Reader()
    reader.read_block(tree.body)
    return reader.finish() if unread else reader.free


class _Reader:
    """Reads statements in the order they run, and notes what they expect."""

    def __init__(self) -> None:
        self.free: set[str] = set()
        self._bound: set[str] = set()
        # Functions and classes that nothing has read yet -> what their bodies read.
        self._waiting: dict[str, set[str]] = {}

    def finish(self) -> set[str]:
        while self._waiting:
            self._use(next(iter(self._waiting)))
        return self.free

    def read_block(self, block: Sequence[ast.stmt]) -> None:
        for node in block:
            self._read(node)

    def _read(self, node: ast.stmt) -> None:
        match node:
            case ast.If():
                self._read_code(_emptied(node, body=[], orelse=[]))
                self._read_either([node.body, node.orelse])
            case ast.Try() | ast.TryStar():
                self._read_try(node)
            case ast.Match():
                self._read_match(node)
            case ast.For() | ast.AsyncFor() | ast.While():
                self._read_code(_emptied(node, body=[], orelse=[]))
                self.read_block([*node.body, *node.orelse])
            case ast.With() | ast.AsyncWith():
                self._read_code(_emptied(node, body=[]))
                self.read_block(node.body)
            case ast.Break() | ast.Continue():
                pass
            case _:
                self._read_code(node)

    def _read_either(self, blocks: Sequence[Sequence[ast.stmt]]) -> None:
        self._join([(partial(self.read_block, block), block) for block in blocks])

    def _read_try(self, node: ast.Try | ast.TryStar) -> None:
        def handle(handler: ast.ExceptHandler) -> None:
            if handler.type:
                self._read_code(ast.copy_location(ast.Expr(handler.type), handler.type))
            names = {handler.name} if handler.name else set()
            self._bound |= names
            self.read_block(handler.body)
            self._bound -= names

        whole = [*node.body, *node.orelse]
        self._join(
            [
                (partial(self.read_block, whole), whole),
                *((partial(handle, each), each.body) for each in node.handlers),
            ]
        )
        self.read_block(node.finalbody)

    def _read_match(self, node: ast.Match) -> None:
        def take(case: ast.match_case) -> None:
            self._read_code(_emptied(node, cases=[_emptied(case, body=[])]))
            self.read_block(case.body)

        ways: list[_Way] = [(partial(take, case), case.body) for case in node.cases]
        # The last way is that no case fits.
        self._join([*ways, (lambda: None, [])])

    def _join(self, ways: Sequence[_Way]) -> None:
        """Read each of `ways` from here; after it, only what all of them set is set."""
        before = self._bound
        after = []
        for read, block in ways:
            self._bound = set(before)
            read()
            if not (block and isinstance(block[-1], _LEAVING)):
                after.append(self._bound)
        self._bound = set.intersection(*after) if after else before

    def _read_code(self, node: ast.stmt) -> None:
        """Read one statement that runs from its start to its end.

        Python's compiler knows the scopes; the instructions are in the order
        in which they run.
        """
        module = ast.fix_missing_locations(ast.Module([node], []))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(module, "<cell>", "exec", COMPILE_FLAGS, dont_inherit=True)
        now, later = _inner_reads(code)
        for name in sorted(now):
            self._use(name)
        for action, name in _actions(code):
            if action == "LOAD":
                self._use(name)
            elif action == "STORE":
                self._waiting.pop(name, None)
                self._bound.add(name)
            else:
                self._bound.discard(name)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self._waiting[node.name] = later

    def _use(self, name: str) -> None:
        for inner in sorted(self._waiting.pop(name, ())):
            self._use(inner)
        if name not in self._bound:
            self.free.add(name)


def _emptied(node: _Node, **fields: list[Any]) -> _Node:
    """Return a copy of `node` with these fields, an empty body standing for ``pass``."""
    clone = copy.copy(node)
    for name, value in fields.items():
        setattr(clone, name, [ast.Pass()] if name == "body" else value)
    return clone


def _actions(code: CodeType) -> Iterator[tuple[str, str]]:
    """Yield LOAD, STORE or DELETE and the name, for every name outside of functions."""
    for step in dis.get_instructions(code):
        action, _, rest = step.opname.partition("_")
        if action in {"LOAD", "STORE", "DELETE"} and ("NAME" in rest or "GLOBAL" in rest):
            yield action, step.argval


def _inner_reads(code: CodeType) -> tuple[set[str], set[str]]:
    """Return what the code inside `code` reads as it runs, and what once it is called.

    Comprehensions and the bodies of classes run at once; lambdas are taken to,
    because they mostly are arguments; functions and methods run when called.
    """
    now: set[str] = set()
    later: set[str] = set()
    for inner in code.co_consts:
        if not isinstance(inner, CodeType):
            continue
        deep_now, deep_later = _inner_reads(inner)
        own = {name for action, name in _actions(inner) if action == "LOAD"} | deep_now
        if not inner.co_flags & inspect.CO_NEWLOCALS:  # the body of a class
            own -= {name for action, name in _actions(inner) if action == "STORE"}
            now |= own
            later |= deep_later
        elif inner.co_name.startswith("<"):
            now |= own | deep_later
        else:
            later |= own | deep_later
    return now, later
