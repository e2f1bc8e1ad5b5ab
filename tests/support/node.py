"""Node's packages in the folders of this project that have some: installed once, from the lock file."""

import subprocess
from pathlib import Path

from tests.support import programs
from tests.support.processes import ROOT

SDKS = ROOT / "tests" / "e2e" / "node"
CLIENT = ROOT / "client_js"


def node() -> str:
    """Node itself."""
    return programs.require("node")


def installed(folder: Path) -> str:
    """npm, once the folder has the packages of its lock file; the test is skipped where they cannot be had."""
    npm = programs.require("npm")
    done, wanted = folder / "node_modules" / ".package-lock.json", folder / "package-lock.json"
    if not done.exists() or done.stat().st_mtime < wanted.stat().st_mtime:
        result = run(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", folder=folder, timeout=300)
        if result.returncode:
            programs.missing(f"Node's packages of {folder.name}", f"npm ci there: {result.stderr[-500:]}")
    return npm


def built_client() -> Path:
    """The folder of the browser library, built from its sources as they are now."""
    result = run(installed(CLIENT), "run", "build", folder=CLIENT, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return CLIENT


def run(*command: str, folder: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """A command to its end, in a folder."""
    return subprocess.run(command, cwd=folder, timeout=timeout, capture_output=True, text=True, check=False)
