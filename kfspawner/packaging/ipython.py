"""What IPython would do with a cell's lines, for a run that has no notebook.

Lines for a shell and the magics that mean something in a run are kept, by
IPython's own translation: the run has an IPython shell if it asks for one.
pip's lines come before all else there, because values of earlier cells can
need what they install. What only a notebook can show is left out with a note,
and everything else is refused with its line's number.
"""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from IPython.core import inputtransformer2 as transformers

from kfspawner.errors import SourceRefused

# Their argument, or their body, is Python.
_PYTHON = {"capture", "prun", "time", "timeit"}
_LINES = _PYTHON | {"env", "pip", "precision", "set_env", "uv", "who", "who_ls", "whos"}
_LINES |= {"cat", "cd", "cp", "dirs", "ll", "ls", "mkdir", "mv", "popd", "pushd", "pwd", "rm"}
_LINES |= {"rmdir", "sc", "sx", "system"}
_CELLS = _PYTHON | {"!", "bash", "file", "perl", "pypy", "python", "python3", "ruby", "script"}
_CELLS |= {"sh", "sx", "system", "writefile"}
_FIGURES = "__import__('matplotlib').use('agg')"
_LEFT_OUT = {
    "autoreload": "nothing is edited while a run goes on",
    "config": "it is about the notebook",
}
_ADVICE = {
    "conda": "a run installs by pip; what else it needs is put into its image",
    "mamba": "a run installs by pip; what else it needs is put into its image",
    "micromamba": "a run installs by pip; what else it needs is put into its image",
    "kf": "a run starts no runs; move that line to a cell of its own",
    "run": "%kf run starts a script, and import takes a module along",
}
_MOVE = "move that line to a cell of its own, or write it in Python"

_PIP = re.compile(
    r"(?:%\s*pip|!\s*(?:pip3?|(?:python3?|\{sys\.executable\})\s+-m\s+pip))\s+"
    r"(?P<line>(?:un)?install\b.*)",
    re.DOTALL,
)
_ROOT = re.compile(r"!!?\s*(?:sudo|apt|apt-get)\b")
_OPTIONS = re.compile(r"(?:-[a-mo-qt-zA-Z]\s+|-[nrslpTD]\s*\S+\s+|--\S+\s+)+")
_DOLLAR = re.compile(r"(?<!\$)\$([^\W\d]\w*)")
_SHOWN = 80
_NEWLINE = "\n"


@dataclass(frozen=True)
class Translated:
    """A cell without a line of IPython's.

    Attributes
    ----------
    code
        What a run executes, line for line.
    meaning
        Python that reads, sets and imports the same names.
    expanded
        The names that commands may have put into them, as in ``!ls {name}``.
    mentioned
        The names in the arguments of magics, which may set them: ``%%capture name``.
    pip
        What pip is to do before all else, each with the number of its line.
    notes
        What its owner is to know, a line each.
    """

    code: str
    meaning: str
    expanded: frozenset[str]
    mentioned: frozenset[str]
    pip: tuple[tuple[int, str], ...]
    notes: tuple[str, ...]


def translate(code: str) -> Translated:
    """Return what a run makes of a cell that is not Python alone.

    What is neither Python nor IPython's is left as it is.

    Raises
    ------
    SourceRefused
        If a line means nothing in a run.
    """
    lines = f"{code.rstrip()}\n".splitlines(keepends=True)
    begin = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if lines[begin].startswith("%%"):
        return _translate_cell_magic(lines, begin)
    reading = _Reading(lines)
    for place in _places(reading.code):
        reading.replace(place)
    return reading.finish()


def _translate_cell_magic(lines: Sequence[str], begin: int) -> Translated:
    name, _, args = lines[begin].strip()[2:].partition(" ")
    if name not in _CELLS:
        raise _refused(begin, lines[begin], _ADVICE.get(name, _MOVE))
    body = "".join(lines[begin + 1 :])
    inner = Translated(body, "None", frozenset(), frozenset(), (), ())
    if name in _PYTHON and body.strip():
        inner = translate("\n" * (begin + 1) + body)
    call = f"get_ipython().run_cell_magic({name!r}, {args!r}, {inner.code.lstrip(_NEWLINE)!r})"
    return replace(
        inner,
        code="\n" * begin + call + "\n",
        expanded=inner.expanded | _expansions(args),
        mentioned=inner.mentioned | _mentions(name, args),
    )


@dataclass(frozen=True)
class _Place:
    """Where IPython would translate: from a column of a line to the end of another."""

    first: int
    column: int
    last: int
    # The line that IPython puts in their place.
    replacement: str
    help: bool


def _places(lines: Sequence[str]) -> Iterator[_Place]:
    """Yield what is to be translated in `lines`, which the caller replaces in the meantime."""
    while True:
        tokens = transformers.make_tokens_by_line(list(lines))
        found = [
            it.find(tokens)  # type: ignore[no-untyped-call]
            for it in (
                transformers.MagicAssign,
                transformers.SystemAssign,
                transformers.EscapedCommand,
                transformers.HelpEnd,
            )
        ]
        for it in sorted(filter(None, found), key=lambda it: it.sortby()):
            try:
                new = it.transform(list(lines))
            except SyntaxError:
                continue
            last = it.start_line + len(lines) - len(new)
            is_help = isinstance(it, transformers.HelpEnd)
            yield _Place(it.start_line, it.start_col, last, new[it.start_line], is_help)
            break
        else:
            return


class _Reading:
    """Both readings of a cell's lines, as they are replaced one after the other."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.code = list(lines)
        self._meaning = list(lines)
        self._expanded: frozenset[str] = frozenset()
        self._mentioned: frozenset[str] = frozenset()
        self._pip: list[tuple[int, str]] = []
        self._notes: list[str] = []

    def replace(self, place: _Place) -> None:
        before = self.code[place.first][: place.column]
        start = (place.first, place.column)
        text = transformers.assemble_continued_line(self.code, start, place.last)
        escape, rest = text[:1], text[1:].strip()
        code, meaning = place.replacement, "None"
        pip = _PIP.fullmatch(text.rstrip())
        if place.help or escape == "?":
            self._note(place, text, "help is for the notebook, and left out")
            code = f"{before}None\n"
        elif pip and not before and not set("{$") & set(pip["line"]):
            self._pip.append((place.first + 1, pip["line"]))
            self._note(place, "pip", "the run installs this before all else")
            code = f"{before}None\n"
        elif escape == "!":
            if _ROOT.match(text):
                raise _refused(
                    place.first, text, "nobody is root in a run; have it put into the image"
                )
            self._expanded |= _expansions(rest)
        elif escape == "%":
            name, _, args = rest.partition(" ")
            changed = self._magic(place, name, args)
            code = code if changed is None else f"{before}{changed}\n"
            self._expanded |= _expansions(args)
            self._mentioned |= _mentions(name, args)
            meaning = _python_of(args) if name in _PYTHON else "None"
        else:  # IPython's ways to call a function make Python of it.
            meaning = place.replacement[place.column :].rstrip("\n")
        filler = ["\n"] * (place.last - place.first)
        self.code[place.first : place.last + 1] = [code, *filler]
        self._meaning[place.first : place.last + 1] = [f"{before}{meaning}\n", *filler]

    def finish(self) -> Translated:
        return Translated(
            "".join(self.code),
            "".join(self._meaning),
            self._expanded,
            self._mentioned,
            tuple(self._pip),
            tuple(self._notes),
        )

    def _magic(self, place: _Place, name: str, args: str) -> str | None:
        """Return what stands for a magic in a run; None for what IPython makes of it."""
        if name == "matplotlib":
            self._note(place, f"%{name}", "figures are not shown in a run: save them to files")
            return _FIGURES
        extension = args.strip() if name in {"load_ext", "reload_ext"} else name
        if extension in _LEFT_OUT:
            self._note(place, f"%{name}", f"{_LEFT_OUT[extension]}, so it is left out")
            return "None"
        if name not in _LINES:
            raise _refused(place.first, f"%{name} {args}", _ADVICE.get(name, _MOVE))
        return None

    def _note(self, place: _Place, what: str, note: str) -> None:
        self._notes.append(f"line {place.first + 1}, {what.strip()[:_SHOWN]}: {note}")


def _python_of(args: str) -> str:
    """Return the Python in the argument of a magic such as ``%time``."""
    options = _OPTIONS.match(args)
    python = args[options.end() :] if options else args
    with suppress(SyntaxError, ValueError):
        ast.parse(python)
        return python or "None"
    return "None"


def _expansions(text: str) -> frozenset[str]:
    """Return the names that IPython would put into `text`: ``{name}``, ``$name``."""
    found = set(_DOLLAR.findall(text))
    with suppress(ValueError):
        for _, field, _, _ in string.Formatter().parse(text):
            with suppress(SyntaxError, ValueError):
                tree = ast.parse(field or "", mode="eval")
                found |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return frozenset(found)


def _mentions(name: str, args: str) -> frozenset[str]:
    """Return the names in a magic's argument that it may set: not what is Python there."""
    python = name in _PYTHON - {"capture"}
    return frozenset() if python else frozenset(re.findall(r"[^\W\d]\w*", args))


def _refused(index: int, text: str, way_out: str) -> SourceRefused:
    return SourceRefused(
        "packaging the cell",
        f"line {index + 1} is for IPython ({text.strip()[:_SHOWN]!r}), and means nothing in a run",
        way_out,
    )
