"""%kf and %%kf in a shell of IPython's own, with runs that need no cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from traitlets.config import Config

import kfspawner.notebook.attachment
from kfspawner.errors import (
    ClusterUnreachable,
    Error,
    InputError,
    ObjectMissing,
    OptionRefused,
    RegistryDenied,
    RunFailed,
    SourceRefused,
)
from kfspawner.notebook.magics import KfMagics, load_ipython_extension, with_body
from tests.fakes.training import IMAGE, FakeRun, FakeRuns, make_status


class Shell:
    """An IPython shell with %kf, what it printed, and the runs behind it."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        settings = Config()
        settings.HistoryManager.enabled = False
        settings.InteractiveShell.colors = "nocolor"
        self.ipython = InteractiveShell(config=settings)  # type: ignore[no-untyped-call]
        self.runs = FakeRuns()
        load_ipython_extension(self.ipython)
        self.ipython.register_magics(KfMagics(self.ipython, self.runs))  # type: ignore[arg-type]
        self._capsys = capsys

    def run(self, code: str) -> tuple[list[str], BaseException | None]:
        """Run a cell; return what it printed, and what it ended in."""
        self._capsys.readouterr()
        result: ExecutionResult = self.ipython.run_cell(code)  # type: ignore[no-untyped-call]
        captured = self._capsys.readouterr()
        assert captured.err == ""
        return captured.out.splitlines(), result.error_in_exec or result.error_before_exec


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setattr(kfspawner.notebook.attachment, "_POLL", 0.0)
    made = Shell(capsys)
    yield made
    made.ipython.restore_sys_module_state()  # type: ignore[no-untyped-call]


LOG_ABOVE = "it ran for 12.0 s, its log is above, %kf status digits-x7k2p shows the rest"


def test_attached_cell_reads_well(shell: Shell) -> None:
    shell.runs.next = FakeRun(
        [make_status(state="Created"), make_status(state="Running"), make_status()],
        ["epoch=1 loss=0.5", "epoch=2 loss=0.2"],
    )
    lines, error = shell.run("%%kf run --name digits\nprint(1)")
    assert error is None
    assert lines == [
        f"packaged in 0.3 s: {IMAGE}",
        "run digits-x7k2p created; outputs in ~/runs/digits-x7k2p/",
        "epoch=1 loss=0.5",
        "epoch=2 loss=0.2",
        "run digits-x7k2p Succeeded in 12.0 s",
    ]


def test_cell_and_options_arrive_as_written(shell: Shell) -> None:
    shell.run("scale = 3")
    _, error = shell.run(
        "%%kf run --name digits --image r/i:1 --cpu 2 --memory 4Gi --gpu 1 --env A={scale} "
        "--env B=$scale --detach\nprint(scale)"
    )
    assert error is None
    [(source, options)] = shell.runs.started
    assert source.stem == "digits"
    assert source.files["cell.py"] == b"print(scale)\n"
    assert "values.pkl" in source.files
    assert (options.name, options.image, options.cpu) == ("digits", "r/i:1", "2")
    assert (options.memory, options.gpu) == ("4Gi", 1)
    assert dict(options.env or {}) == {"A": "{scale}", "B": "$scale"}


def test_cell_without_name_is_called_cell(shell: Shell) -> None:
    shell.run("%%kf run\nprint(1)")
    [(source, options)] = shell.runs.started
    assert (source.stem, options.name) == ("cell", None)


def test_script_goes_with_its_arguments(shell: Shell, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import sys; print(sys.argv)\n")
    _, error = shell.run(f"%kf run --cpu 2 {script} --cpu 9 {{x}} $y -- --help")
    assert error is None
    [(source, options)] = shell.runs.started
    assert source.stem == "train"
    assert source.command[-6:] == ("--cpu", "9", "{x}", "$y", "--", "--help")
    assert options.cpu == "2"


def test_folder_goes_and_what_it_leaves_behind_is_said(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)\n")
    (tmp_path / "data").symlink_to("/usr")
    lines, error = shell.run(f"%kf run --dir {tmp_path} train.py --lr 1")
    assert error is None
    assert lines[0] == f"left out of {tmp_path}: data (a link to a folder)"
    [(source, _)] = shell.runs.started
    assert source.command[-2:] == ("--lr", "1")
    assert source.files.keys() == {"train.py"}


def test_what_a_person_is_to_know_comes_first(shell: Shell) -> None:
    shell.runs.notes = ("old-1.egg-info stays here",)
    lines, error = shell.run("%%kf run --detach\nprint(1)")
    assert error is None
    assert lines[0] == "old-1.egg-info stays here"
    assert lines[1].startswith("packaged in ")


def test_a_check_starts_nothing(shell: Shell) -> None:
    lines, error = shell.run("%%kf run --check --gpu 2\nx?\nprint(1)")
    assert error is None
    assert shell.runs.started == []
    [(source, options)] = shell.runs.checked
    assert (source.stem, options.gpu) == ("cell", 2)
    assert lines[0] == "line 1, x?: help is for the notebook, and left out"
    assert re.fullmatch(
        r"checked in \d\.\d s: 3 files of \d+\.\d kB, and the cluster would take the run; "
        "nothing was pushed",
        lines[1],
    )
    shell.runs.next = ClusterUnreachable("creating run x", "no answer", "try again")
    lines, error = shell.run("%%kf run --check\nprint(1)")
    assert lines == ["creating run x: no answer; try again"]


def test_detached_cell_does_not_ask_the_run(shell: Shell) -> None:
    run = FakeRun([make_status(state="Created")], ["never shown"])
    shell.runs.next = run
    lines, error = shell.run("%%kf run --detach\nprint(1)")
    assert error is None
    assert run.calls == []
    assert lines[-1] == ("%kf logs -f digits-x7k2p to attach, %kf stop digits-x7k2p to stop it.")


def test_failed_run_fails_its_cell_without_a_traceback(shell: Shell) -> None:
    shell.runs.next = FakeRun(
        [make_status(state="Failed", reason="exit code 1")], ["Traceback …", "ValueError: no"]
    )
    lines, error = shell.run("%%kf run\nprint(1)")
    assert isinstance(error, RunFailed)
    assert lines[2:] == [
        "Traceback …",
        "ValueError: no",
        f"run digits-x7k2p Failed: exit code 1; {LOG_ABOVE}",
    ]


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("%%kf run\n# nothing\n", SourceRefused, "there is no code in it"),
        ("%%kf run", SourceRefused, "packaging the cell: it is empty;"),
        ("%%kf run\n\n  \n", SourceRefused, "packaging the cell: it is empty;"),
        ("%%kf ls", OptionRefused, "only run takes a cell"),
        ("%%kf run\nfor", SourceRefused, "invalid syntax in line 1:"),
        ("%%kf run --check\nfor", SourceRefused, "invalid syntax in line 1:"),
        ("%%kf run --check\n1\nnowhere", SourceRefused, "nothing defines: 'nowhere' in line 2;"),
        ("%%kf run --gpu x\n1", OptionRefused, "reading --gpu 'x'"),
        ("%%kf run train.py\n1", OptionRefused, "'train.py' is no option, and a cell takes no"),
        ("%%kf run --env A=1 B=secret\n1", OptionRefused, "'B' is no option"),
        ("%kf run", OptionRefused, "it names no script"),
        ("%kf run --dir .", OptionRefused, "it names no script"),
        ("%kf run --dir nowhere a.py", SourceRefused, "the folder nowhere: there is no such"),
        ("%%kf run --dir .\n1", OptionRefused, "--dir is for a script"),
        ("%kf run nowhere.py", SourceRefused, "packaging the script nowhere.py"),
        ("%%kf ls\n1", OptionRefused, "only run takes a cell"),
        ("%kf jump", OptionRefused, "there is no such command"),
        ("%kf status", InputError, "no name was given"),
        ("%kf logs -f gone", ObjectMissing, "looking up run gone"),
        ("%kf stop gone", ObjectMissing, "looking up run gone"),
        ("%kf rm gone", ObjectMissing, "looking up run gone"),
    ],
)
def test_mistake_is_one_paragraph(shell: Shell, code: str, kind: type[Error], said: str) -> None:
    lines, error = shell.run(code)
    assert isinstance(error, kind)
    assert "\n".join(lines).startswith(str(error))
    assert said in str(error)
    assert "Traceback" not in str(lines)
    assert "secret" not in str(lines)


@pytest.mark.parametrize(
    "error",
    [
        RegistryDenied("pushing r/i", "401 from the registry", "sign in again"),
        ClusterUnreachable("creating run x", "no answer", "try again"),
    ],
)
def test_refusal_on_the_way_is_one_paragraph(shell: Shell, error: Error) -> None:
    shell.runs.next = error
    lines, raised = shell.run("%%kf run\nprint(1)")
    assert raised is error
    assert lines == [str(error)]


def test_loading_twice_changes_nothing(shell: Shell) -> None:
    load_ipython_extension(shell.ipython)
    assert shell.ipython.input_transformers_cleanup.count(with_body) == 1
    assert with_body(["1 %%kf\n"]) == ["1 %%kf\n"]


def test_other_exceptions_keep_their_traceback(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(shell.runs, "list", broken)
    lines, error = shell.run("%kf ls")
    assert isinstance(error, ZeroDivisionError)
    assert any("Traceback" in line for line in lines)


def test_help_shows_every_command(shell: Shell) -> None:
    for code in ("%kf", "%kf --help", "%kf run --help", "%%kf run --help\nprint(1)"):
        lines, error = shell.run(code)
        assert error is None
        for word in ("run", "ls", "status", "logs", "stop", "rm", "restore", "--detach", "--env"):
            assert any(word in line for line in lines), (code, word)
    assert shell.runs.started == []


def test_commands_mean_the_last_run(shell: Shell) -> None:
    run = FakeRun([make_status(state="Running")], ["line"])
    shell.runs.next = run
    shell.run("%%kf run --detach\nprint(1)")
    assert shell.run("%kf logs") == (["line"], None)
    assert shell.run("%kf stop") == (["run digits-x7k2p stopped"], None)
    assert shell.run("%kf stop") == (["run digits-x7k2p is Stopped already"], None)
    assert shell.run("%kf rm --force") == (
        ["run digits-x7k2p deleted; its outputs stay in ~/runs/digits-x7k2p/"],
        None,
    )
    assert run.calls == ["logs follow=False", "stop", "delete force=True"]
    lines, _ = shell.run("%kf status")
    assert "state      Stopped" in lines


def test_code_comes_back(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jovyan")
    lines, error = shell.run("%kf restore digits --to ~/again")
    assert error is None
    assert lines == [
        f"the code of {IMAGE} is in /home/jovyan/again",
        f"it was: script train.py, commit {'ab' * 20}, with changes that are not in it",
        "it ran: python train.py 'a b'",
    ]
    lines, _ = shell.run("%kf restore")
    assert lines[0] == f"the code of {IMAGE} is in /home/jovyan/restored/digits"
    assert shell.runs.restored == [("digits", Path("/home/jovyan/again")), (None, None)]
    shell.runs.next = InputError("choosing a run", "no name was given", "give its name")
    assert shell.run("%kf restore")[0] == ["choosing a run: no name was given; give its name"]


def test_silent_run_is_said_to_have_no_log(shell: Shell) -> None:
    shell.runs.known["a"] = FakeRun([make_status("a", "Queued", "waits for a GPU")])
    assert shell.run("%kf logs a") == (
        ["run a has no log: it is Queued, waits for a GPU"],
        None,
    )


def test_status_and_list_are_shown_as_text(shell: Shell) -> None:
    assert shell.run("%kf ls") == (["no runs yet; %%kf run at the top of a cell starts one"], None)
    shell.runs.known["other"] = FakeRun([make_status("other", "Failed", "exit code 3")])
    lines, _ = shell.run("%kf ls")
    assert lines[0].split() == ["name", "state", "age", "duration", "image", "reason"]
    assert lines[1].endswith("12.0 s    abcdef01abcd  exit code 3")
    lines, _ = shell.run("%kf status other")
    assert lines[:3] == ["run        other", "state      Failed", "reason     exit code 3"]
