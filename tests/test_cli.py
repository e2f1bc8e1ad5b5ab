"""The `andante` command: what it refuses, in one line, and with which exit status."""

import json
import resource
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.cli import main
from tests.support.processes import Process, python, running
from tests.support.servers import Emulators


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


# ---- health


class Answering:
    """A server that gives each connection the same bytes, whatever it asks."""

    def __init__(self, answer: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._answer = answer
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        connection, _ = self._listener.accept()
        with connection, self._listener:
            connection.recv(65_536)
            connection.sendall(self._answer)


@pytest.mark.parametrize("url", ["http://[bad", "http://a:port/", "http://127.0.0.1/a b", "ftp://a", "http://a..b/"])
def test_health_of_what_is_no_url(capsys: pytest.CaptureFixture[str], url: str) -> None:
    """Exit 2, and one line with it."""
    assert main(["health", url]) == 2

    assert url in refusal(capsys)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n",
        b"",
    ],
)
def test_health_of_what_does_not_answer_well(capsys: pytest.CaptureFixture[str], answer: bytes) -> None:
    """Exit 1, and one line with the URL."""
    url = Answering(answer).url

    assert main(["health", url]) == 1

    assert refusal(capsys).startswith(f"{url}: ")


def test_health_of_what_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0, in silence."""
    assert main(["health", Answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").url]) == 0

    assert capsys.readouterr() == ("", "")


# ---- listening


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


def test_a_taken_port_is_one_line(config: Path, taken: int) -> None:
    """Exit 1, host and port."""
    with running(python("gateway", "serve", "--config", str(config), "--port", str(taken))) as process:
        assert process.wait() == 1

        assert process.output() == f"cannot listen on 127.0.0.1:{taken}: Address already in use\n"


def test_a_host_that_is_not_ours_is_one_line(config: Path) -> None:
    """As a name that nobody can look up."""
    for host in ("192.0.2.1", "a..b"):
        with running(python("gateway", "serve", "--config", str(config), "--port", "0", "--host", host)) as process:
            assert process.wait() == 1

            assert process.output().startswith(f"cannot listen on {host}:0: ")
            assert len(process.output().splitlines()) == 1


def test_a_taken_port_ends_the_demo_too(emulator: Emulators, taken: int) -> None:
    """It names the address after what it says of its engines."""
    engine = emulator()
    with running(python("gateway", "demo", "--engine", engine.url, "--port", str(taken))) as process:
        assert process.wait() == 1

        assert process.output() == f"cannot listen on 127.0.0.1:{taken}: Address already in use\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_listens_where_it_says(config: Path, host: str) -> None:
    """By number and by name."""
    with running(python("gateway", "serve", "--config", str(config), "--port", "0", "--host", host)) as process:
        url = process.wait_line("ready ").split()[1]

        process.wait_http(f"{url}/healthz")
        assert process.stop() == 0


# ---- file descriptors


def limited(config: Path, ulimit: str) -> Process:
    """A gateway that a shell with this limit has started."""
    serve = ["exec", sys.executable, "-m", "gateway", "serve", "--config", str(config), "--port", "0"]
    return Process(["bash", "-c", f"ulimit {ulimit} && {' '.join(serve)}"])


def test_it_takes_all_file_descriptors_that_it_may_have(config: Path) -> None:
    """The soft limit becomes the hard one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    process = limited(config, "-Sn 256")
    try:
        process.wait_line("ready ")
        lines = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
    finally:
        process.stop()

    soft = next(line.split()[3] for line in lines if line.startswith("Max open files"))
    assert soft == ("unlimited" if hard == resource.RLIM_INFINITY else str(hard))
    assert hard < 4096 or "few_file_descriptors" not in process.output()


def test_few_file_descriptors_are_warned_of(config: Path) -> None:
    """Where the hard limit is low, the log says so."""
    process = limited(config, "-n 1000")
    try:
        process.wait_line("ready ")
    finally:
        process.stop()

    entries = [json.loads(line) for line in process.output().splitlines() if line.startswith("{")]
    assert [(e["level"], e["limit"]) for e in entries if e["event"] == "few_file_descriptors"] == [("warning", 1000)]
