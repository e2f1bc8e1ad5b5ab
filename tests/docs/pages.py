"""The documentation, taken apart: pages, fenced examples, inline code, rows of tables."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import ROOT

DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Example:
    """A fenced block: where it stands, its tag, its text."""

    page: str
    tag: str
    text: str


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def examples(*tags: str) -> list[Example]:
    """Every fenced block with one of these tags."""
    found = ((page, *block) for page in PAGES for block in FENCE.findall(page.read_text(encoding="utf-8")))
    return [Example(name_of(page), tag, text) for page, tag, text in found if tag in tags]


def inline(page: Path) -> list[str]:
    """Code inside sentences and tables."""
    return INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8")))


def rows(text: str, heading: str) -> Iterator[list[str]]:
    """The cells of the tables below a heading, up to the next one."""
    section = re.split(r"^#+ ", text.partition(f"{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    assert section, f"no heading {heading!r}"
    for line in section.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def cases(found: list[Example]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", found, ids=[f"{e.page}-{i}" for i, e in enumerate(found)])
