"""Every command and flag is documented, and every one that is mentioned exists."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import _parser
from tests.docs.pages import DOCS, PAGES, README, inline, name_of


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """A parser's commands by name."""
    actions = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {name: command for action in actions for name, command in action.choices.items()}


def flags(parser: argparse.ArgumentParser) -> set[str]:
    """A parser's flags and those of all commands below it, but for --help."""
    own = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
    return (own - {"--help"}).union(*(flags(command) for command in subcommands(parser).values()))


def commands(parser: argparse.ArgumentParser, prefix: str) -> Iterator[str]:
    """Every full command, such as `andante keys create`."""
    below = subcommands(parser)
    if not below:
        yield prefix
    for name, command in below.items():
        yield from commands(command, f"{prefix} {name}")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_is_mentioned_exists(page: Path) -> None:
    """Also in passing: `andante keys`, `andante health URL`."""
    for code in inline(page):
        words = code.split()
        if words[0] != "andante" or len(words) < 2 or "." in words[1]:
            continue
        parser = _parser()
        for at, word in enumerate(words[1:]):
            known = subcommands(parser)
            if word.startswith("--"):
                assert word in flags(parser), code
            elif word in known:
                parser = known[word]
            else:
                assert at > 0, code
                assert word.isupper() or not known, code


def test_every_command_and_flag_is_documented() -> None:
    """The pages for operators leave out none."""
    text = " ".join(page.read_text(encoding="utf-8") for page in (README, DOCS / "operations.md", DOCS / "emulator.md"))
    missing = [command for command in commands(_parser(), "andante") if command not in text]
    missing += [flag for flag in flags(_parser()) if not re.search(rf"{flag}\b", text)]

    assert missing == []


def test_every_flag_that_is_mentioned_exists() -> None:
    """On the pages about our own programs; engines.md and testing.md name other programs' flags."""
    known = flags(_parser())
    for name in ("operations.md", "emulator.md", "protocol.md", "architecture.md"):
        mentioned = {flag for code in inline(DOCS / name) for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*", code)}
        assert mentioned - known == set(), name
