"""The arithmetic of the cost measurement: ratios within a round, medians over rounds, limits that can be missed."""

from typing import Any

import pytest

from loadgen.cli import main
from loadgen.overhead import LIMITS, report, summarise
from loadgen.profile import REST, by_component


def measured(nginx: float, machine: float, reading: float, ttft_us: float = 2000) -> dict[str, Any]:
    """One round as the harness reports it."""

    def cpu(us: float) -> dict[str, Any]:
        return {"cpu": {"streams_100": {"cpu_us_per_token_raw": us}}}

    latency = {"ttft_p50_us": ttft_us, "ttft_p99_us": 5 * ttft_us}
    return {
        "direct": {"latency": {"ttft_p50_us": 200, "ttft_p99_us": 400}},
        "nginx": cpu(nginx),
        "gateway-machine": {**cpu(machine), "latency": latency, "rss": {"rss_mb_per_1000": 30.0}},
        "gateway-reading": cpu(reading),
    }


def test_ratios_are_taken_within_a_round() -> None:
    """A slow moment of the machine doubles both sides of one round and changes no ratio."""
    summary = summarise([measured(10, 20, 8), measured(20, 40, 16), measured(10, 20, 8)])

    assert (summary["machine_ratio"], summary["paced_ratio"]) == (2.0, 0.8)
    assert (summary["p50_ms"], summary["p99_ms"]) == (1.8, 9.6)
    assert summary["kib"] == 30.72


def test_a_missed_limit_is_said_and_returned(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status is for scripts, the word for people."""
    assert report(summarise([measured(10, 20, 8)])) == 0
    assert "MISSED" not in capsys.readouterr().out
    assert report(summarise([measured(10, 10 * LIMITS["machine_ratio"] + 1, 8)])) == 1
    assert "MISSED" in capsys.readouterr().out


def test_a_sample_counts_for_its_innermost_component() -> None:
    """What a component calls in native code is its own cost; what nobody knows is the loop's."""
    shares = by_component(
        [
            "run (uvloop/__init__.py:92);body (gateway/engines/leg.py:90);feed (gateway/engines/relay.py:110) 6",
            "run (uvloop/__init__.py:92);write (gateway/api/server.py:42) 1",
            "run (uvloop/__init__.py:92) 3",
        ]
    )

    assert shares[0] == ("events: split, decode, count", 0.6)
    assert (REST, 0.3) in shares


@pytest.mark.parametrize("command", ["overhead", "profile"])
def test_the_commands_explain_themselves(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` names the harness."""
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])

    assert ended.value.code == 0
    assert "--harness" in capsys.readouterr().out
