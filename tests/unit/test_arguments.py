"""What is written after %kf, as tables."""

from __future__ import annotations

import pytest

from kfspawner.errors import OptionRefused
from kfspawner.notebook.arguments import (
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


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Help()),
        ("--help", Help()),
        ("run --help", Help()),
        ("run --cpu 2 -h", Help()),
        ("logs -h", Help()),
        ("ls", ListRuns()),
        ("status", ShowStatus()),
        ("status a", ShowStatus("a")),
        ("logs", ShowLogs()),
        ("logs -f", ShowLogs(follow=True)),
        ("logs a --follow", ShowLogs("a", follow=True)),
        ("stop a", Stop("a")),
        ("rm", Remove()),
        ("rm --force a", Remove("a", force=True)),
        ("restore", Restore()),
        ("restore a --to b", Restore("a", "b")),
        ("run", Launch()),
        ("run --name n --image i --cpu 0.5 --memory 4Gi --gpu 2 --detach",
         Launch(name="n", image="i", cpu="0.5", memory="4Gi", gpu=2, detach=True)),
        ("run --dir a train.py --dir b", Launch("train.py", ("--dir", "b"), "a")),
        ("run --check train.py --check", Launch("train.py", ("--check",), check=True)),
        ("run --cpu=2 train.py", Launch("train.py", cpu="2")),
        ("run --env A=1 --env B=x=y --env C=", Launch(env={"A": "1", "B": "x=y", "C": ""})),
        ("run --env 'A=two words' a.py", Launch("a.py", env={"A": "two words"})),
        ("run a.py --cpu 2 --help -- -x ''",
         Launch("a.py", ("--cpu", "2", "--help", "--", "-x", ""))),
        ("run --detach -- a.py --detach", Launch("a.py", ("--detach",), detach=True)),
        ("run 'my script.py' '{x}' $HOME", Launch("my script.py", ("{x}", "$HOME"))),
    ],
)  # fmt: skip
def test_line_becomes_command(line: str, expected: Command) -> None:
    assert parse_line(line) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("jump", "reading %kf jump: there is no such command; use one of run, ls, status"),
        ("run 'a", "a quotation or a backslash is left open"),
        ("run --gpu two", "reading --gpu 'two': a run takes whole GPUs"),
        ("run --gpu -1", "reading --gpu '-1': a run takes whole GPUs"),
        ("run --gpu ²", "a run takes whole GPUs"),
        ("run --env A", "reading --env: a variable needs a name"),
        ("run --env =x", "reading --env: a variable needs a name"),
        ("run --cpus 2", "unrecognized arguments: --cpus"),
        ("run --det", "unrecognized arguments: --det"),
        ("run --cpu", "argument --cpu: expected one argument"),
        ("ls a", "unrecognized arguments: a"),
        ("logs a b", "unrecognized arguments: b"),
        ("stop --force a", "unrecognized arguments: --force"),
    ],
)
def test_unreadable_line_is_refused_in_one_paragraph(line: str, said: str) -> None:
    with pytest.raises(OptionRefused) as refused:
        parse_line(line)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_secret_of_a_variable_is_in_no_message() -> None:
    with pytest.raises(OptionRefused) as refused:
        parse_line("run --env =hunter2")
    assert "hunter2" not in str(refused.value)
