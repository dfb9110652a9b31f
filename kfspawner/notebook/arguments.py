"""What was written after %kf becomes a frozen command.

Nothing here ends the kernel, and whatever cannot be read is an OptionRefused.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from kfspawner.errors import OptionRefused

USAGE = """\
%%kf run [options]                     run this cell on the cluster
%kf run [options] script.py [args …]   run a script; what follows it goes to it as it is
    --dir FOLDER     run a script of that folder, in a copy of it; .gitignore and .kfignore
                     say what stays behind
    --name NAME      what to call the run (default: cell or the script's name, and a suffix)
    --image IMAGE    the image to start from (default: this server's)
    --cpu 2          cores              --memory 4Gi     memory
    --gpu 1          whole GPUs         --env NAME=VALUE a variable; may be repeated
    --detach         do not wait for the run and its log
    --check          only find out whether it could be run: nothing is pushed or started

%kf ls                   the runs of this namespace
%kf status [name]        one run in detail
%kf logs [-f] [name]     its log; -f follows it to the run's end
%kf stop [name]          end it, keep it in the list
%kf rm [--force] [name]  delete it; its outputs stay; --force also while it goes on
%kf restore [name] [--to FOLDER]
                         give its code back, also of a deleted one; or by its image or digest

Without a name, the last run that this kernel started is meant.
"""

_SEE = "%kf --help shows what there is"


@dataclass(frozen=True)
class Help:
    """Show how %kf is used."""


@dataclass(frozen=True)
class Launch:
    """Run a cell, or a script where one is named.

    Amounts are as the person wrote them; who starts the run judges them.
    """

    script: str | None = None
    args: tuple[str, ...] = ()
    folder: str | None = None
    name: str | None = None
    image: str | None = None
    cpu: str | None = None
    memory: str | None = None
    gpu: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    detach: bool = False
    check: bool = False


@dataclass(frozen=True)
class ListRuns:
    """Show all runs."""


@dataclass(frozen=True)
class ShowStatus:
    """Show one run; None for the last of this kernel, here and below."""

    name: str | None = None


@dataclass(frozen=True)
class ShowLogs:
    """Show a run's log."""

    name: str | None = None
    follow: bool = False


@dataclass(frozen=True)
class Stop:
    """Stop a run."""

    name: str | None = None


@dataclass(frozen=True)
class Remove:
    """Delete a run."""

    name: str | None = None
    force: bool = False


@dataclass(frozen=True)
class Restore:
    """Give a run's code back: by its name, or by its image's reference or digest."""

    name: str | None = None
    folder: str | None = None


Command = Help | Launch | ListRuns | ShowStatus | ShowLogs | Stop | Remove | Restore


def parse_line(line: str) -> Command:
    """Return the command that `line`, what follows ``%kf``, spells.

    Raises
    ------
    OptionRefused
        If it spells none.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise OptionRefused(
            f"reading %kf {line.strip()[:80]}",
            f"a quotation or a backslash is left open ({str(error).rstrip('.')})",
            "close it, or put a backslash before it",
        ) from error
    if not words or words[0] in {"help", "-h", "--help"}:
        return Help()
    verb, rest = words[0], words[1:]
    if verb not in _PARSERS:
        raise OptionRefused(
            f"reading %kf {verb[:40]}",
            "there is no such command",
            f"use one of {', '.join(_PARSERS)}; {_SEE}",
        )
    if verb == "run":
        return _parse_run(rest)
    if {"-h", "--help"} & set(rest):
        return Help()
    given = vars(_PARSERS[verb].parse_args(rest))
    kinds: dict[str, type[ListRuns | ShowStatus | ShowLogs | Stop | Remove | Restore]] = {
        "ls": ListRuns,
        "status": ShowStatus,
        "logs": ShowLogs,
        "stop": Stop,
        "rm": Remove,
        "restore": Restore,
    }
    return kinds[verb](**given)


def _parse_run(words: Sequence[str]) -> Launch | Help:
    own, script, args = _split_at_script(words)
    if {"-h", "--help"} & set(own):
        return Help()
    given = vars(_PARSERS["run"].parse_args(own))
    given["gpu"] = _read_gpu(given["gpu"])
    given["env"] = dict(_read_variable(text) for text in given["env"])
    return Launch(script=script, args=tuple(args), **given)


def _split_at_script(words: Sequence[str]) -> tuple[Sequence[str], str | None, Sequence[str]]:
    """Return the options, the script and what comes after it, which is not ours to read."""
    position = 0
    while position < len(words) and words[position].startswith("-"):
        if words[position] == "--":
            return words[:position], *_script(words[position + 1 :])
        position += 2 if words[position] in _VALUED else 1
    return words[:position], *_script(words[position:])


def _script(words: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    return (words[0], words[1:]) if words else (None, ())


def _read_gpu(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise OptionRefused(
        f"reading --gpu {text[:40]!r}", "a run takes whole GPUs", "give a number such as 1"
    )


def _read_variable(text: str) -> tuple[str, str]:
    """Return name and value. The value may be a secret: no message shows it."""
    name, equals, value = text.partition("=")
    if name and equals:
        return name, value
    raise OptionRefused(
        "reading --env", "a variable needs a name, an equals sign and a value", "use --env K=V"
    )


class _Parser(argparse.ArgumentParser):
    """A parser that raises where argparse would end the process."""

    def __init__(self, verb: str) -> None:
        super().__init__(prog=verb, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise OptionRefused(f"reading %kf {self.prog}", message, _SEE)


def _make_run() -> _Parser:
    parser = _Parser("run")
    parser.add_argument("--dir", dest="folder")
    for option in ("--name", "--image", "--cpu", "--memory"):
        parser.add_argument(option)
    parser.add_argument("--gpu", default="0")
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--detach", action="store_true")
    parser.add_argument("--check", action="store_true")
    return parser


def _make_named(verb: str) -> _Parser:
    parser = _Parser(verb)
    parser.add_argument("name", nargs="?")
    return parser


def _make_logs() -> _Parser:
    parser = _make_named("logs")
    parser.add_argument("-f", "--follow", action="store_true")
    return parser


def _make_rm() -> _Parser:
    parser = _make_named("rm")
    parser.add_argument("--force", action="store_true")
    return parser


def _make_restore() -> _Parser:
    parser = _make_named("restore")
    parser.add_argument("--to", dest="folder")
    return parser


# The options of `run` that take the next word.
_VALUED = frozenset({"--dir", "--name", "--image", "--cpu", "--memory", "--gpu", "--env"})
_PARSERS = {
    "run": _make_run(),
    "ls": _Parser("ls"),
    "status": _make_named("status"),
    "logs": _make_logs(),
    "stop": _make_named("stop"),
    "rm": _make_rm(),
    "restore": _make_restore(),
}
