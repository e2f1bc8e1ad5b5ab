"""The `andante` command: what it refuses, in one line, and with which exit status."""

from pathlib import Path

import pytest

from gateway.cli import main


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose engine does not run."""
    file = tmp_path / "andante.toml"
    file.write_text('[store]\npath = ":memory:"\n[[pools]]\nmodel = "m"\nengines = [{ url = "http://127.0.0.1:9" }]\n')
    return file


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that was printed, on standard error."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    return printed.err


@pytest.mark.parametrize(
    ("flag", "value", "key"),
    [
        ("--port", "99999", "server.port"),
        ("--port", "-1", "server.port"),
        ("--host", "", "server.host"),
    ],
)
def test_serve_checks_its_flags(
    config: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str, key: str
) -> None:
    """As it checks the file: exit 2, and the flag is named."""
    assert main(["serve", "--config", str(config), f"{flag}={value}"]) == 2

    assert refusal(capsys).startswith(f"{flag}: {key}: ")


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_demo_checks_its_port(capsys: pytest.CaptureFixture[str], port: str) -> None:
    """Before it starts any engine."""
    assert main(["demo", f"--port={port}"]) == 2

    assert refusal(capsys) == f"--port: '{port}' is not a port number\n"
