"""Numbers and files on the command lines of all commands."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen import arguments
from loadgen.cli import main, parser

KINDS = {
    arguments.count: ("0", "-1", "1.5", "nan", "inf", "x", "", "1e3", "9" * 5000),
    arguments.natural: ("-1", "1.5", "nan", "inf", "x", ""),
    arguments.counts: ("-1", "1,x", "1,,2", "nan", ""),
    arguments.whole: ("1.5", "nan", "inf", "x", ""),
    arguments.positive: ("0", "-1", "nan", "inf", "-inf", "x", "", "1e300"),
    arguments.not_negative: ("-1", "nan", "inf", "x", "", "1e300"),
    arguments.not_negative_or_inf: ("-1", "nan", "-inf", "x", ""),
    arguments.fraction: ("-0.1", "1.1", "nan", "inf", "x", ""),
}


def options() -> Iterator[tuple[str, argparse.Action]]:
    """Every option of every command."""
    (commands,) = (each for each in parser()._actions if isinstance(each, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        for action in command._actions:
            if not isinstance(action, argparse._HelpAction):
                yield name, action


NUMBERS = [(name, action) for name, action in options() if action.type in KINDS]


def test_every_number_is_of_a_kind() -> None:
    """No option takes what int or float take: NaN is a number to them, and nothing is too large."""
    bare = [(name, action.dest) for name, action in options() if action.type not in (None, Path, *KINDS)]

    assert bare == []
    assert {name for name, _ in NUMBERS} >= {"attack", "saturate", "simulate", "gateways", "accuracy", "study"}


@pytest.mark.parametrize(("command", "action"), NUMBERS, ids=lambda each: getattr(each, "dest", each))
def test_what_is_no_such_number_is_said(
    command: str, action: argparse.Action, capsys: pytest.CaptureFixture[str]
) -> None:
    """By every option of every command: it is named, and the exit status is 2."""
    option = action.option_strings[-1]
    for text in KINDS[action.type]:  # type: ignore[index]  # chosen above
        with pytest.raises(SystemExit) as ended:
            main([command, f"{option}={text}"])

        assert ended.value.code == 2
        assert f"argument {option}: " in capsys.readouterr().err.splitlines()[-1]


def test_the_kinds_take_what_they_should() -> None:
    """Their bounds, and what is usual."""
    assert [arguments.count(text) for text in ("1", "500")] == [1, 500]
    assert [arguments.natural(text) for text in ("0", "4")] == [0, 4]
    assert arguments.counts("0,1,4") == [0, 1, 4]
    assert [arguments.whole(text) for text in ("-3", "7")] == [-3, 7]
    assert [arguments.positive(text) for text in ("1e-3", "4")] == [0.001, 4.0]
    assert [arguments.not_negative(text) for text in ("0", "0.5")] == [0.0, 0.5]
    assert [arguments.not_negative_or_inf(text) for text in ("0", "inf")] == [0.0, float("inf")]
    assert [arguments.fraction(text) for text in ("0", "1")] == [0.0, 1.0]


def test_a_search_between_bounds_that_cross_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is measured."""
    words = ("--scenario", "vtc_overload", "--engine", "a10g-7b", "--low", "4", "--high", "2")
    assert main(["saturate", *words]) == 1
    assert capsys.readouterr().err == "saturate: --low is above --high\n"
