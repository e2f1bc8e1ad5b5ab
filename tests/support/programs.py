"""Programs that do not come from a Python package: found, or the test is skipped by name.

Where CI=true a missing program is a failure, unless docs/testing.md lists it as optional there.
"""

import os
import re
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTING_GUIDE = ROOT / "docs" / "testing.md"
OPTIONAL_HEADING = "## Optional in CI"

PACKAGES = {"chromium": "chromium", "node": "nodejs", "npm": "npm", "redis-cli": "redis-tools"}
"""Debian's package of each program, for the message."""


def in_ci() -> bool:
    """True where nothing may be left out silently."""
    return os.environ.get("CI") == "true"


def optional_in_ci(guide: str) -> frozenset[str]:
    """The names in the first column of the guide's table of what CI may go without."""
    _, _, section = guide.partition(f"{OPTIONAL_HEADING}\n")
    section = section.split("\n## ")[0]
    return frozenset(re.findall(r"^\| `([^`]+)`", section, flags=re.MULTILINE))


def missing(name: str, advice: str) -> NoReturn:
    """Skip the test, or fail it in CI."""
    message = f"{name} not installed: {advice}"
    if in_ci() and name not in optional_in_ci(TESTING_GUIDE.read_text(encoding="utf-8")):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def machine_is_quiet() -> bool:
    """Whether the caller says that nothing else runs here, so that a figure can be held to its full limit."""
    return bool(os.environ.get("TEST_QUIET_MACHINE"))


def require_quiet_machine() -> None:
    """Leave the test out unless the machine is quiet."""
    if not machine_is_quiet():
        missing("quiet-machine", "TEST_QUIET_MACHINE=1 says that there is one")


def require(name: str) -> str:
    """The path of a system program."""
    path = shutil.which(name)
    if path is None:
        missing(name, f"apt-get install {PACKAGES.get(name, name)}")
    return path
