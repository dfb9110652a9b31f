"""%kf and %%kf: parse, call, show."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from IPython.display import display

from kfspawner.errors import OptionRefused, SourceRefused
from kfspawner.notebook.arguments import (
    USAGE,
    Command,
    Help,
    Launch,
    ListRuns,
    Remove,
    Restore,
    ShowLogs,
    ShowStatus,
    Stop,
    parse_line,
)
from kfspawner.notebook.runs import RUNS, Runs

if TYPE_CHECKING:
    from kfspawner.notebook.display import RunDetails, RunsTable
    from kfspawner.packaging import Source

# Imports are where they are needed: this module loads in every kernel, most of
# which start no run.
# ruff: noqa: PLC0415


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Give `shell` %kf and %%kf."""
    shell.register_magics(KfMagics(shell, RUNS))
    if with_body not in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.append(with_body)


def with_body(lines: list[str]) -> list[str]:
    """Return a cell that is nothing but its ``%%kf`` line with an empty line after it.

    Without, IPython would refuse it before we can say what is missing.
    """
    alone = len(lines) == 1 and lines[0].split(maxsplit=1)[:1] == ["%%kf"]
    return [f"{lines[0].rstrip()}\n", "\n"] if alone else lines


@magics_class
class KfMagics(Magics):
    """The magic of one shell.

    Parameters
    ----------
    shell
        Where the cells are.
    runs
        Where their runs are.
    """

    def __init__(self, shell: InteractiveShell, runs: Runs) -> None:
        super().__init__(shell)
        self._variables = shell.user_ns
        self._runs = runs

    @no_var_expand
    @line_cell_magic
    def kf(self, line: str, cell: str | None = None) -> None:
        """Run a cell or a script on the cluster, and look after the runs; %kf --help says how."""
        self._do(parse_line(line), cell)

    def _do(self, command: Command, cell: str | None) -> None:
        from kfspawner.notebook import attachment
        from kfspawner.notebook.display import RunDetails, RunsTable, say

        if cell is not None and not isinstance(command, Launch | Help):
            raise OptionRefused(
                "reading %%kf", "only run takes a cell", "write the others as a line, with one %"
            )
        match command:
            case Help():
                say(USAGE.rstrip())
            case Launch():
                self._launch(command, cell)
            case ListRuns():
                _display(RunsTable(self._runs.list()))
            case ShowStatus():
                _display(RunDetails(self._runs.attach(command.name).status()))
            case ShowLogs(follow=True):
                attachment.attach(self._runs.attach(command.name))
            case ShowLogs():
                attachment.show_log(self._runs.attach(command.name))
            case Stop() | Remove() | Restore():
                self._afterwards(command)

    def _afterwards(self, command: Stop | Remove | Restore) -> None:
        from kfspawner.notebook import attachment
        from kfspawner.notebook.display import describe_restored, outputs_place, say

        match command:
            case Stop():
                attachment.stop(self._runs.attach(command.name))
            case Remove():
                run = self._runs.attach(command.name)
                run.delete(force=command.force)
                say(f"run {run.name} deleted; its outputs stay in {outputs_place(run.name)}")
            case Restore():
                folder = Path(command.folder).expanduser() if command.folder else None
                for line in describe_restored(self._runs.restore(command.name, folder)):
                    say(line)

    def _launch(self, launch: Launch, cell: str | None) -> None:
        from kfspawner.notebook import attachment
        from kfspawner.notebook.display import format_seconds, outputs_place, say
        from kfspawner.training.submission import RunOptions

        begun = time.monotonic()
        source = self._source(launch, cell)
        for note in source.notes:
            say(note)
        options = RunOptions(
            name=launch.name,
            image=launch.image,
            cpu=launch.cpu,
            memory=launch.memory,
            gpu=launch.gpu,
            env=launch.env,
        )
        if launch.check:
            self._runs.check(source, options)
            took = format_seconds(time.monotonic() - begun)
            size = f"{len(source.files)} files of {source.size / 1000:,.1f} kB"
            say(
                f"checked in {took}: {size}, and the cluster would take the run; nothing was pushed"
            )
            return
        submitted = self._runs.start(source, options)
        name = submitted.run.name
        for note in submitted.notes:
            say(note)
        say(f"packaged in {format_seconds(submitted.packaging_seconds)}: {submitted.image}")
        say(f"run {name} created; outputs in {outputs_place(name)}")
        if launch.detach:
            say(f"%kf logs -f {name} to attach, %kf stop {name} to stop it.")
        else:
            attachment.attach(submitted.run)

    def _source(self, launch: Launch, cell: str | None) -> Source:
        from kfspawner.packaging import cell_source, folder_source, script_source

        if cell is None:
            if launch.script is None:
                raise OptionRefused(
                    "reading %kf run",
                    "it names no script",
                    "give one, or begin the cell that is to run with %%kf run",
                )
            if launch.folder is not None:
                return folder_source(Path(launch.folder).expanduser(), launch.script, launch.args)
            return script_source(Path(launch.script).expanduser(), launch.args)
        if launch.folder is not None:
            raise OptionRefused(
                "reading %%kf run", "--dir is for a script of that folder", "use %kf run --dir"
            )
        if launch.script is not None:
            # What follows an equals sign may be a secret.
            word = launch.script.partition("=")[0][:40]
            raise OptionRefused(
                "reading %%kf run",
                f"{word!r} is no option, and a cell takes no script",
                "use %kf run for a script; give --env once for each variable",
            )
        if not cell.strip():
            raise SourceRefused(
                "packaging the cell", "it is empty", "write the code that is to run below %%kf run"
            )
        return cell_source(cell, self._variables, launch.name or "cell")


def _display(shown: RunsTable | RunDetails) -> None:
    display(shown)  # type: ignore[no-untyped-call]
