"""What is told of a side's readers at a moment, and the command that tells it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.core.pace import Pace
from gateway.core.qoe import Delivery, exact_qoe
from loadgen.answers import Piece
from loadgen.audience import Audience, tenants
from loadgen.live_job import LiveJob
from loadgen.workload import Request
from tests.support.processes import python
from tests.support.servers import Emulators

READING = Pace("reading", 1.0, 4.0)
SCENARIO = """
title = "a few"
source = "a test"
[[tenants]]
client = "little"
phases = [{ length_s = 1, rate = 2 }]
gaps = "constant"
input_tokens = 30
output_tokens = 5
pace = "1:50"
[[tenants]]
client = "much"
phases = [{ length_s = 1, rate = 8 }]
gaps = "constant"
input_tokens = 30
output_tokens = 5
pace = "1:50"
"""


def request(index: int, client: str = "a") -> Request:
    return Request(index, float(index), client, 20, 40, READING)


def says(job: LiveJob, *pieces: tuple[float, int]) -> None:
    """So many tokens have come at each of these times."""
    job.answer.pieces += [Piece(at, 4 * tokens, tokens) for at, tokens in pieces]


async def test_a_reader_waits_reads_stands_still_and_is_done() -> None:
    """Reading at 4 a second: what came lasts so long, whether the answer is complete or not."""
    audience = Audience([request(0), request(1)])
    job = audience.watch(request(0), 100.0)
    seen = [audience.frame(100.5)["readers"]]
    says(job, (102.0, 8))
    seen += [audience.frame(103.0)["readers"], audience.frame(105.0)["readers"]]
    says(job, (106.0, 8))
    job.close("finished", 106.0)
    seen += [audience.frame(107.0)["readers"], audience.frame(109.0)["readers"]]

    assert seen == ["w.", "r.", "s.", "r.", "d."]
    whole = exact_qoe(READING, [Delivery(2.0, 8), Delivery(6.0, 8)])
    assert audience.frame(109.0)["qoe"] == pytest.approx(whole, abs=1e-4)
    assert audience.frame(109.0)["perfect"] == 0


async def test_who_never_waits_is_perfect_and_who_gets_nothing_has_failed() -> None:
    """Each counts in the means; a customer who has not come has none."""
    audience = Audience([request(0), request(1, "b"), request(2, "c")])
    says(audience.watch(request(0), 100.0), (100.5, 40))
    audience.watched[0]._job.close("finished", 100.5)
    audience.watch(request(1, "b"), 101.0).close("rejected", 103.0)
    frame = audience.frame(120.0)

    assert (frame["readers"], frame["qoe"], frame["perfect"]) == ("px.", 0.5, 0.5)
    assert [each["qoe"] for each in frame["tenants"]] == [1.0, 0.0, None]
    assert frame["tenants"][0] == {"qoe": 1.0, "wait_s": 0.5, "tokens": 40}


def test_who_asks_most_is_first() -> None:
    """The others by name."""
    assert tenants([request(number, name) for number, name in enumerate("cabb")]) == ["b", "a", "c"]
    assert tenants([]) == []


def test_the_command_tells_both_sides(emulator: Emulators, tmp_path: Path) -> None:
    """What is sent, frames, the end; all have read everything by then, on either side."""
    engine = emulator()
    (tmp_path / "few.toml").write_text(SCENARIO)
    words = ("--target", engine.url, "--scenario", str(tmp_path / "few.toml"), "--models", engine.model, engine.model)
    done = subprocess.run(
        python("loadgen", "burst", *words), capture_output=True, text=True, timeout=60, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr
    first, *frames, last = (json.loads(line) for line in done.stdout.splitlines())
    plan: dict[str, Any] = first["plan"]
    assert plan["sides"] == [engine.model] * 2
    assert plan["tenants"] == ["much", "little"]
    assert [tenant for tenant, _ in plan["readers"]].count(0) == 8
    assert [side["readers"] for side in frames[-1]["frame"]["sides"]] == ["p" * 10] * 2
    assert last["end"]["t"] >= frames[-1]["frame"]["t"]


def test_a_server_that_is_none_is_explained(tmp_path: Path) -> None:
    """In one line."""
    (tmp_path / "few.toml").write_text(SCENARIO)
    words = ("--target", "ftp://x", "--scenario", str(tmp_path / "few.toml"), "--models", "m")
    done = subprocess.run(
        python("loadgen", "burst", *words), capture_output=True, text=True, timeout=60, env=os.environ, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "burst: 'ftp://x' is no http or https address\n"
