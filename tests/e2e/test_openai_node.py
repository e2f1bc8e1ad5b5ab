"""The OpenAI SDK for Node, unchanged."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.sdk import check, engine, served
from tests.support import programs
from tests.support.servers import Engine, Gateway

__all__ = ["engine", "served"]

FOLDER = Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def node() -> str:
    """Node, with the SDK that package-lock.json pins beside the script."""
    program, npm = programs.require("node"), programs.require("npm")
    installed, wanted = FOLDER / "node_modules" / ".package-lock.json", FOLDER / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < wanted.stat().st_mtime:
        command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=FOLDER, timeout=300, capture_output=True, text=True, check=False)
        if done.returncode:
            programs.missing("the openai package for Node", f"npm ci in tests/e2e/node: {done.stderr[-500:]}")
    return program


def test_the_node_sdk_is_served(node: str, served: Gateway, engine: Engine) -> None:
    """Streams, whole answers, models and errors are what the SDK expects, comments in a silence included."""
    command = [node, "client.mjs", served.url, served.key, engine.model]

    done = subprocess.run(command, cwd=FOLDER, timeout=60, capture_output=True, text=True, check=False)

    assert done.returncode == 0, f"{done.stderr}\n{served.process.output()}"
    check(json.loads(done.stdout), engine)
