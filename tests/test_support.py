"""The helpers of the tests, tested: a helper that hides a failure hides every failure."""

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.support import lanes, programs
from tests.support.processes import ROOT, Process, members, running
from tests.support.prometheus import parse
from tests.support.servers import Emulators, toml
from tests.support.waiting import eventually, wait_until

GREETS = "print('starting'); print('ready http://x'); import time; time.sleep(600)"
LEAVES_A_CHILD = (
    "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print('ready', p.pid)"
)


def script(text: str) -> list[str]:
    return [sys.executable, "-c", text]


async def test_eventually_returns_the_answer() -> None:
    """It asks again until the answer is true, and returns it."""
    answers = iter([None, 0, "", "yes"])

    assert await eventually(lambda: next(answers), 5.0) == "yes"


async def test_eventually_awaits() -> None:
    """An async predicate is awaited; an AssertionError in it counts as not yet."""
    tries: list[int] = []

    async def third() -> bool:
        tries.append(1)
        assert len(tries) == 3
        return True

    assert await eventually(third, 5.0)


async def test_eventually_says_what_it_saw() -> None:
    """The failure names the condition and the last answer."""
    with pytest.raises(AssertionError, match=r"queue empty not within 0.02 s; last answer: 0"):
        await eventually(lambda: 0, 0.02, what="queue empty")


def test_wait_line_finds_the_line() -> None:
    """A program is ready when it says so, whatever it said before."""
    with running(script(GREETS)) as process:
        assert process.wait_line("ready ") == "ready http://x"
    assert not process.alive()


def test_a_program_that_dies_is_reported_with_its_output() -> None:
    """Nobody waits for a dead program, and what it printed is in the message."""
    with pytest.raises(AssertionError, match=r"(?s)exit 3.*no such option"):  # noqa: SIM117
        with running(script("import sys; print('no such option', file=sys.stderr); sys.exit(3)")) as process:
            process.wait_line("ready ")


def test_a_program_that_is_never_ready_is_reported_with_where_it_stands() -> None:
    """It is ended, and Python's fault handler writes the line that it was at."""
    waits = "import time\nwhile not print('here', flush=True): time.sleep(60)"
    with running(script(waits)) as process:
        process.wait_line("here")
        with pytest.raises(AssertionError, match=r'(?s)exit -6.*File "<string>", line 2'):
            process.wait_line("ready ", timeout=0.1)


def test_stop_ends_the_whole_group() -> None:
    """A child that outlives its parent is ended with the group."""
    process = Process(script(LEAVES_A_CHILD))
    child = int(process.wait_line("ready ").split()[1])
    assert child in members(process.pid)

    process.stop()

    assert wait_until(lambda: not members(process.pid), 5.0)


def test_prometheus_sums_the_matching_series() -> None:
    """Series are found by name and some of their labels; an unknown one is an error, not a zero."""
    metrics = parse('# TYPE a counter\na_total{k="1",m="x"} 2\na_total{k="2",m="x"} 3\n')

    assert metrics.value("a_total") == 5
    assert metrics.value("a_total", k="2") == 3
    with pytest.raises(KeyError, match="no series b_total"):
        metrics.value("b_total")


def test_toml_of_a_configuration() -> None:
    """What the tests write is what the gateway reads."""
    import tomllib

    tables: dict[str, dict[str, object]] = {"server": {"port": 0, "host": 'a"b'}, "auth": {"required": False}}
    pools = [{"model": "m", "engines": [{"url": "http://x", "weights": [1, 2.5]}]}]

    assert tomllib.loads(toml(tables, pools)) == {**tables, "pools": pools}


def test_a_missing_program_is_a_skip_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a user's machine the test is skipped, and the reason says what to install."""
    monkeypatch.delenv("CI", raising=False)

    with pytest.raises(pytest.skip.Exception, match="no-such-program not installed: apt-get install"):
        programs.require("no-such-program")


def test_a_missing_program_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """In CI nothing is left out that the guide does not list."""
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match="no-such-program not installed"):
        programs.require("no-such-program")


def test_the_guide_lists_what_ci_may_go_without() -> None:
    """The table under its own heading counts, other tables do not."""
    guide = "## Markers\n| `a` | x |\n## Optional in CI\n| name | why |\n| `b` | x |\n## Next\n| `c` | x |\n"

    assert programs.optional_in_ci(guide) == {"b"}


def test_require_finds_a_program() -> None:
    """The path that it returns can be run."""
    subprocess.run([programs.require("sh"), "-c", "true"], check=True, timeout=10)


async def test_the_emulator_fixture_serves(emulator: Emulators) -> None:
    """An engine is ready when the factory returns, answers, counts, and ends with its test."""
    engine = emulator("--max-num-seqs", "4", speed=10)
    async with httpx2.AsyncClient(base_url=engine.url, trust_env=False) as client:
        call = {"model": engine.model, "prompt": "The river", "max_tokens": 8, "ignore_eos": True}
        reply = await client.post("/v1/completions", json=call)

    assert reply.status_code == httpx2.codes.OK, reply.text
    assert reply.json()["usage"]["completion_tokens"] == 8
    assert engine.generated() == 8
    assert engine.running() == engine.waiting() == 0


def test_every_file_in_the_table_of_lanes_is_there() -> None:
    """One that was renamed would be measured while others run."""
    assert {path.stem for path in (ROOT / "tests" / "e2e").glob("test_*.py")} > lanes.CLOCKED
    clocked = lanes.lane(Path("browser/test_x.py"), frozenset())
    assert lanes.lane(Path("e2e/test_drain.py"), frozenset()) == clocked
    assert lanes.lane(Path("e2e/test_attack.py"), frozenset({"vllm_server"})) == clocked
    assert lanes.lane(Path("e2e/test_attack.py"), frozenset()) != clocked
