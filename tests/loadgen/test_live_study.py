"""The live study's table: each cell has what was seen, and what the simulator says of the same load."""

import argparse
import dataclasses
from pathlib import Path
from types import MappingProxyType

import pytest

from gateway.emulator.profiles import PROFILES
from loadgen.sender import Outcome
from loadgen.studies import live, readers
from loadgen.studies.live import POLICIES, Case
from loadgen.workload import Workload
from tests.loadgen.attacking import request
from tests.loadgen.test_measures import job

WORKLOAD = Workload("small", tuple(request(k, float(k), "busy" if k else "calm", 20) for k in range(4)))


def test_live_and_simulated_stand_in_one_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Over the network the calm client had half of a QoE; the simulator gives it all. The page has the figures."""
    jobs = [dataclasses.replace(job("busy" if k else "calm"), index=k, qoe=1.0 if k else 0.5) for k in range(4)]
    case = Case("small", lambda seed, part: WORKLOAD, PROFILES["fast"])
    monkeypatch.setattr(live, "CASES", MappingProxyType({"small": case}))
    seen = {name: Outcome(jobs) for name in POLICIES}
    for outcome in seen.values():
        outcome.tally.lag.add(0.001)
    monkeypatch.setattr(live, "over_the_network", lambda profile, runs: seen)
    (table,) = live.run_case("small", argparse.Namespace(seed=1, quick=False, out=tmp_path))

    assert [row[0] for row in table.rows] == list(POLICIES)
    assert table.rows[0][1:3] == ["0.875 / 1", "0.5 / 1"]
    assert "Quality of experience" in (tmp_path / "live-small.html").read_text()


def test_bursts_are_where_fair_qoe_carries_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The readers study's small version: on one engine's sharp bursts at least 1.4 times FCFS's readers."""
    engine = "a100x8-moe, 16 seats"
    monkeypatch.setattr(readers, "ENGINES", MappingProxyType({engine: readers.ENGINES[engine]}))
    tables = readers.run(argparse.Namespace(seed=1, quick=True, out=tmp_path))
    ((name, *_, gain),) = tables[0].rows

    assert name == engine
    assert isinstance(gain, float)
    assert gain >= 1.4
    assert (tmp_path / "readers-a100x8-moe-0.1-8.svg").exists()
