"""The small parts of an attack: prompts of a length, keys, the command line's workload, the progress line."""

import argparse
from pathlib import Path

import pytest

from gateway.core.pace import MACHINE
from gateway.emulator.text import Language
from loadgen.cli import main
from loadgen.connections import clock
from loadgen.keys import NoKeys, keys_from, made_keys
from loadgen.live_figures import Objectives
from loadgen.live_job import Asking
from loadgen.progress import Standing, line
from loadgen.prompts import PROBES, WORDS, Calibration, prompt
from loadgen.sender import Attack, Outcome, Sender
from loadgen.workload import Request, Workload
from loadgen.workload_args import WorkloadError, add_workload_arguments, workload_from
from tests.loadgen.test_measures import job, lost


def test_a_prompt_has_its_length() -> None:
    """Each word is one token of the emulator's; the first one, without a space before it, may be one more."""
    vocabulary = Language().vocabulary
    text = prompt(500, "seed")

    assert 500 <= len(vocabulary.encode(text, special=False)) <= 502
    assert text == prompt(500, "seed") != prompt(500, "other")
    assert all(len(vocabulary.encode(f" {word}", special=False)) == 1 for word in WORDS)


def test_a_server_tells_what_words_cost() -> None:
    """30 tokens of template and 1.2 a word: 600 tokens are 475 words. Nonsense is not believed."""
    tokens = tuple(30 + round(1.2 * words) for words in PROBES)
    calibration = Calibration.of((tokens[0], tokens[1]))

    assert calibration.words(600) == 475
    assert calibration.words(5) == 1
    assert Calibration.of((0, 0)) == Calibration()


def test_keys_from_a_file(tmp_path: Path) -> None:
    """A mistake has its line."""
    path = tmp_path / "keys.csv"
    path.write_text("a,sk-1\nb,sk-2\n")

    assert keys_from(path) == {"a": "sk-1", "b": "sk-2"}

    path.write_text("a,sk-1\nb\n")
    with pytest.raises(NoKeys, match=r"keys\.csv:2: not client,key"):
        keys_from(path)
    with pytest.raises(NoKeys, match="No such file"):
        keys_from(tmp_path / "none")


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_workload_arguments(parser)
    return parser.parse_args(words)


def test_the_command_line_names_a_workload() -> None:
    """A scenario with its parameters, or a piece of a trace."""
    scenario = workload_from(parsed("--scenario", "vtc_overload", "--set", "rate_1=0.5", "--set", "duration_s=60"))
    trace = workload_from(parsed("--trace", "vtc_arena", "--start-s", "60", "--duration-s", "60", "--rate-scale", "2"))

    assert sum(r.client == "c1" for r in scenario.requests) == 30
    assert trace.requests[-1].arrived_s <= 30
    assert {r.pace.kind for r in trace.requests} == {"reading"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scenario", "none"), "no scenario of that name"),
        (("--trace", "none"), "no trace of that name"),
        (("--scenario", "vtc_overload", "--set", "x"), "not NAME=VALUE"),
        (("--scenario", "vtc_overload", "--set", "x=1"), "no parameter x"),
        (("--trace", "vtc_arena", "--set", "x=1"), "--set is for scenarios"),
        (("--trace", "vtc_arena", "--start-s", "1e9"), "no request in it"),
        (("--scenario", "vtc_overload", "--duration-s", "60"), "are for traces"),
        (("--trace", "vtc_arena", "--pace", "slow"), "a pace is"),
    ],
)
def test_a_mistake_there_is_one_line(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """From the function, and from the program."""
    with pytest.raises(WorkloadError, match=said):
        workload_from(parsed(*words))
    assert main(["attack", "--target", "http://127.0.0.1:1", "--model", "m", *words]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "http://h:99999"), "is no address"),
        (("--target", "http://h", "--json", "/dev/null/out.json"), "cannot be made"),
        (("--target", "http://h", "--records", "/dev"), "it is a folder"),
    ],
)
def test_what_would_fail_later_is_said_first(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address that is none, and files that could not be written after the run."""
    assert main(["attack", "--model", "m", "--scenario", "vtc_overload", *words]) == 1
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_a_gateway_that_went_down_costs_no_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys that can no longer be revoked are told of; the block that used them ends as it would have."""

    def call(client: object, path: str, body: object) -> dict[str, object]:
        if "revoke" in path:
            raise NoKeys("connection refused")
        return {"id": "k1", "secret": "s1"}

    monkeypatch.setattr("loadgen.keys._call", call)
    workload = Workload("w", (Request(0, 0.0, "a", 1, 1, MACHINE), Request(1, 0.0, "b", 1, 1, MACHINE)))
    with made_keys("http://h", "admin", workload) as keys:
        made = dict(keys)

    assert made == {"a": "s1", "b": "s1"}
    assert "2 keys are not revoked, from k1 on: connection refused" in capsys.readouterr().err


def test_goodput_keeps_every_objective() -> None:
    """First token in 1 s, (21 - 1)/49 = 0.41 s a token, QoE 1."""
    record = job("a", 0, 1, 21)

    assert Objectives().kept(record)
    assert Objectives(ttft_s=1.0, tpot_s=0.41, qoe=1.0).kept(record)
    assert not Objectives(ttft_s=0.9).kept(record)
    assert not Objectives(tpot_s=0.4).kept(record)
    assert not Objectives(qoe=0.9).kept(job(qoe=0.8))
    assert not Objectives().kept(lost())


def test_the_generator_knows_when_it_is_the_bottleneck() -> None:
    """Late by more than 10 ms at the 99th percentile (told to within 1 %), or with its core full."""
    fine, late, busy = Outcome(cpu_share=0.5), Outcome(), Outcome(cpu_share=0.95)
    for _ in range(99):
        fine.tally.lag.add(0.001)
        late.tally.lag.add(0.001)
    late.tally.lag.add(0.5)
    late.tally.lag.add(0.5)

    assert fine.bottleneck is None
    assert "498 ms late or more, while it used 0%" in (late.bottleneck or "")
    assert "95%" in (busy.bottleneck or "")


async def test_the_progress_line() -> None:
    """Counts, and how the last jobs were."""
    loop = Sender(Attack("http://127.0.0.1:1", Asking("m"), (), {}), clock())
    loop.outcome.records += [job("a", 0, 0.5, 3, qoe=0.5), lost()]
    text = line(2.0, Standing.of(loop))

    assert "done 2" in text
    assert "TTFT 0.50 s  QoE 0.250  bad lately 1" in text
