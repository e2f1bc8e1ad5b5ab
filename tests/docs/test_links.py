"""Links lead somewhere, and the README leads everywhere."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, README, name_of
from tests.support.processes import ROOT

MAX_README_LINES = 150

LINK = re.compile(r"\[[^\]\n]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
OURS = re.compile(r"`((?:gateway|loadgen|scripts|tests|docs|deploy|requirements)/[\w./*-]*)`")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    """Links to files, to headings, and paths of this repository in the text."""
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in {slug(heading) for heading in HEADING.findall(file.read_text(encoding="utf-8"))}, target
    assert [path for path in OURS.findall(text) if not any(ROOT.glob(path.rstrip("/")))] == []


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    """Whoever starts there can get anywhere."""
    text = README.read_text(encoding="utf-8")
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in LINK.findall(text)}

    assert len(text.splitlines()) <= MAX_README_LINES
    assert [name_of(page) for page in PAGES if page != README and page not in linked] == []
