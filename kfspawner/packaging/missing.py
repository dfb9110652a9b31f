"""Names that code reads and that are nowhere: what Python would say only once it runs.

A name is missed only where no doubt is left. What any way through the code
sets, what a star import or ``globals()`` may bring, and what is tried under
``except NameError`` is not.
"""

from __future__ import annotations

import ast
import builtins
import difflib
from collections.abc import Collection, Iterator

from kfspawner.errors import SourceRefused
from kfspawner.packaging.cell import free_names

# Whoever calls these has names that the code does not show.
_OPAQUE = {"exec", "get_ipython", "globals", "locals", "vars"}
# What a run has that Python has not.
_RUNS_OWN = {"display", "exit", "get_ipython", "quit"}
_CATCH_ALL = {"BaseException", "Exception", "NameError"}
_SHOWN = 3


def check_names(tree: ast.Module, known: Collection[str], doing: str) -> None:
    """Refuse code that reads names which neither it nor Python nor `known` has.

    Parameters
    ----------
    tree
        The code.
    known
        The names that it finds when it begins.
    doing
        What is being done, for the message.

    Raises
    ------
    SourceRefused
        If there are such names: the first of them, each with its line.
    """
    missing = _missing_names(tree, set(known))
    if not missing:
        return
    own = {*known, *_bound(tree)}
    told = [f"{name!r} in line {line}{_alike(name, own)}" for name, line in missing[:_SHOWN]]
    more = f", and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    raise SourceRefused(
        doing,
        f"it reads what nothing defines: {', '.join(told)}{more}",
        "define it there, or in an earlier cell that has been run",
    )


def _missing_names(tree: ast.Module, known: set[str]) -> list[tuple[str, int]]:
    bound = _bound(tree)
    if "*" in bound:
        return []
    passed_over = set(_tried(tree)) | set(_annotations(tree))
    reads: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            if node.id in _OPAQUE and node.id not in bound:
                return []
            if node not in passed_over:
                reads[node.id] = min(node.lineno, reads.get(node.id, node.lineno))
    suspects = {it for it in reads.keys() - bound - known - _RUNS_OWN if not _pythons_own(it)}
    if not suspects:  # the order in which names are read takes longer to find
        return []
    missing = suspects & free_names(tree, unread=False)
    return sorted(((name, reads[name]) for name in missing), key=lambda found: found[1])


def _pythons_own(name: str) -> bool:
    return hasattr(builtins, name) or (name.startswith("__") and name.endswith("__"))


def _bound(tree: ast.Module) -> set[str]:
    """Return every name that `tree` sets, anywhere in it; ``*`` for a star import."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.add(name)
            case (
                ast.FunctionDef(name=str(name))
                | ast.AsyncFunctionDef(name=str(name))
                | ast.ClassDef(name=str(name))
                | ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
                | ast.MatchMapping(rest=str(name))
                | ast.arg(arg=str(name))
            ):
                found.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                found.update(it.asname or it.name.partition(".")[0] for it in aliases)
            case ast.Global(names=names):
                found.update(names)
    return found


def _tried(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what is read where a NameError would be caught."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and any(map(_catches, node.handlers)):
            for statement in node.body:
                yield from ast.walk(statement)


def _catches(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(
        isinstance(node, ast.Name) and node.id in _CATCH_ALL for node in ast.walk(handler.type)
    )


def _annotations(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what is in annotations, where the code has Python leave them unread."""
    if not any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in tree.body
    ):
        return
    for node in ast.walk(tree):
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(annotation, ast.AST):
                yield from ast.walk(annotation)


def _alike(name: str, others: Collection[str]) -> str:
    found = difflib.get_close_matches(name, [it for it in others if it.isidentifier()], 1, 0.75)
    return f" (is it {found[0]!r}?)" if found else ""
