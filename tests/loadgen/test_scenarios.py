"""Scenarios: what the files say is what is asked, by seed, and their mistakes have a place."""

import itertools
from collections import Counter
from pathlib import Path

import pytest

from loadgen.scenarios import ScenarioError, load_scenario, read_scenario, scenarios
from loadgen.traces import find_trace, read_rows

OWN = """
title = "two"
source = "a test"
seed = 3
[parameters]
length = 100
[[tenants]]
client = "steady"
gaps = "constant"
phases = [{ length_s = 100, rate = 1.0 }]
input_tokens = 10
output_tokens = "$length"
[[tenants]]
client = "people"
count = 2
weight = 2
phases = [{ length_s = 50, rate = 0 }, { length_s = 50, rate = 2 }]
input_tokens = { low = 5, high = 9 }
output_tokens = { mean = 50, cv = 0.5, high = 80 }
pace = "listening"
readers = { hiding = 1, visible_s = 5, hidden_s = 5, leaving = 0.5, leaves_after_s = 9 }
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "two.toml"
    path.write_text(OWN, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", scenarios())
def test_a_scenario_of_the_package_makes_a_workload(name: str) -> None:
    """In order, numbered, with lengths, paces and the same requests each time."""
    workload = load_scenario(name)
    requests = workload.requests

    assert workload == load_scenario(name)
    assert [r.index for r in requests] == list(range(len(requests)))
    assert all(a.arrived_s <= b.arrived_s for a, b in itertools.pairwise(requests))
    assert len(requests) >= 80


@pytest.mark.parametrize(
    ("name", "per_minute", "tokens"),
    [
        ("vtc_overload", {"c1": 90, "c2": 180}, {(256, 256)}),
        ("vtc_proportional", {"c1": 15, "c2": 30, "c3": 90}, {(256, 256)}),
        ("vtc_on_off_less", {"c1": 15, "c2": 120}, {(256, 256)}),
        ("vtc_on_off_overload", {"c1": 60, "c2": 180}, {(256, 256)}),
        ("vtc_short_long", {"c1": 480, "c2": 90}, {(64, 64), (256, 256)}),
        ("vtc_in_out", {"c1": 480, "c2": 90}, {(64, 512), (512, 64)}),
        ("vtc_increase", {"c1": 30, "c2": 66}, {(256, 256)}),
        ("vtc_weighted", {"c1": 96, "c2": 96, "c3": 96, "c4": 96}, {(256, 256)}),
    ],
)
def test_the_papers_rates(name: str, per_minute: dict[str, float], tokens: set[tuple[int, int]]) -> None:
    """Requests a minute of each client over the whole run, as the VTC paper lists them (on and off: half)."""
    requests = load_scenario(name).requests
    minutes = round(requests[-1].arrived_s / 60)
    counts = Counter(r.client for r in requests)

    assert counts.keys() == per_minute.keys()
    for client, rate in per_minute.items():
        assert counts[client] / minutes == pytest.approx(rate, rel=0.05)
    assert {(r.input_tokens, r.output_tokens) for r in requests} == tokens


def test_weights_are_1_to_4() -> None:
    """At equal rates, so that they matter."""
    assert {(r.client, r.weight) for r in load_scenario("vtc_weighted").requests} == {
        (f"c{k}", float(k)) for k in (1, 2, 3, 4)
    }


def test_the_cyclic_burst_has_its_intensity() -> None:
    """35 % of a cycle at h times the mean; every request is another reader."""
    for intensity in (1.2, 2.8):
        requests = load_scenario("andes_burst", overrides={"intensity": intensity, "rate": 5.0}).requests
        burst = sum(r.arrived_s < 420 for r in requests)

        assert burst / 420 == pytest.approx(5.0 * intensity, rel=0.1)
        assert len(requests) / 1200 == pytest.approx(5.0, rel=0.1)
        assert len({r.client for r in requests}) == len(requests)


def test_a_longer_burst_and_more_load() -> None:
    """Share of the cycle as a parameter; rate_scale multiplies rates and keeps the time."""
    plain = load_scenario("andes_burst", overrides={"share": 0.45}).requests
    twice = load_scenario("andes_burst", overrides={"share": 0.45}, rate_scale=2).requests

    assert sum(r.arrived_s < 540 for r in plain) / len(plain) == pytest.approx(0.9, abs=0.03)
    assert len(twice) == pytest.approx(2 * len(plain), rel=0.1)
    assert twice[-1].arrived_s < 1200


def test_lengths_may_be_those_of_a_trace() -> None:
    """Pairs of the trace, at the times of the scenario."""
    trace = {(row.input_tokens, row.output_tokens) for row in read_rows(find_trace("vtc_arena"))}
    drawn = load_scenario("andes_burst", overrides={"lengths": "vtc_arena"}).requests

    assert {(r.input_tokens, r.output_tokens) for r in drawn} <= trace
    assert [r.arrived_s for r in drawn] == [r.arrived_s for r in load_scenario("andes_burst").requests]


def test_opt_has_a_short_context() -> None:
    """The first version's model ends at 2,048 tokens; its readers expect the first one after a second."""
    requests = load_scenario("andes_v1").requests

    assert max(r.input_tokens + r.output_tokens for r in requests) <= 2048
    assert {r.pace.ttft_s for r in requests} == {1.0}
    assert len(requests) / 1200 == pytest.approx(3.3, rel=0.05)


def test_a_file_of_ones_own(own: Path) -> None:
    """Tenants, counts, lengths, paces and readers as written; parameters and pace as given."""
    requests = load_scenario(own, overrides={"length": 30}).requests
    steady = [r for r in requests if r.client == "steady"]
    people = [r for r in requests if r.client != "steady"]

    assert [(r.input_tokens, r.output_tokens, r.weight) for r in steady] == [(10, 30, 1.0)] * 100
    assert {r.client for r in people} == {"people1", "people2"}
    assert all(50 <= r.arrived_s < 100 and r.weight == 2 and r.pace.kind == "listening" for r in people)
    assert all(5 <= r.input_tokens <= 9 and 1 <= r.output_tokens <= 80 for r in people)
    assert all(left < back for r in people for left, back in r.reader.away)
    assert 0.3 < sum(r.reader.leaves_after_s is not None for r in people) / len(people) < 0.7
    assert all(not r.pace.paced for r in load_scenario(own, pace="machine").requests)


def test_a_seed_of_ones_own(own: Path) -> None:
    """Other arrivals; the file's seed is the one without it."""
    assert load_scenario(own, seed=3) == load_scenario(own)
    assert load_scenario(own, seed=4) != load_scenario(own)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rate = 1.0", "rate = -1", r"two\.toml: tenants\.0\.phases\.0\.rate"),
        ("rate = 1.0", "rate = 1, on_s = 3", "a phase is flat, or has"),
        ("rate = 1.0", "rate = 1, period_s = 9, share = 0.5, intensity = 3", "at most 1"),
        ("input_tokens = 10\n", "", "input_tokens and output_tokens, or else lengths"),
        ("weight = 2", "wait = 2", r"tenants\.1\.wait"),
        ('"$length"', '"$size"', r"\$size is not among the parameters"),
        ("[[tenants]]", "[[tenants", "two.toml"),
        ("low = 5", "low = 50", "low is above high"),
        ('output_tokens = "$length"', 'lengths = "none"', "or else lengths"),
        ('input_tokens = 10\noutput_tokens = "$length"', 'lengths = "none"', "no table of lengths"),
        ('input_tokens = 10\noutput_tokens = "$length"', 'lengths = "sharegpt"\nmax_total = 1', "at most 1 tokens"),
    ],
)
def test_a_mistake_has_a_place(own: Path, old: str, new: str, said: str) -> None:
    """The file and the field, or what is missing."""
    own.write_text(OWN.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(ScenarioError, match=said):
        load_scenario(own)


def test_what_is_not_there_is_named() -> None:
    """An unknown scenario with the known ones, an unknown parameter with the file's, a rate of nothing."""
    with pytest.raises(ScenarioError, match="vtc_overload"):
        load_scenario("nothing")
    with pytest.raises(ScenarioError, match="no parameter speed; there are: duration_s"):
        load_scenario("vtc_overload", overrides={"speed": 1})
    with pytest.raises(ScenarioError, match="positive"):
        load_scenario("vtc_overload", rate_scale=0)


def test_a_trace_is_a_scenario_too() -> None:
    """With a piece of it as parameters."""
    assert read_scenario("arena").trace is not None
    piece = load_scenario("arena", overrides={"start_s": 100, "duration_s": 120}, rate_scale=2)

    assert piece.name == "arena"
    assert 100 < len(piece.requests) < 400
    assert piece.requests[-1].arrived_s <= 60
