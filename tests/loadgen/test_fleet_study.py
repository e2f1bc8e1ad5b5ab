"""The fleet: its load is made as it is read, and a run that is written down is not made again."""

import json
from argparse import Namespace
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest

from loadgen.studies import fleet

SMALL = fleet.Size(8, 2, 300, 1.0)


def test_every_copy_has_tenants_of_its_own_and_the_trace_s_rate() -> None:
    one, two = (list(fleet.Copies(fleet.Size(4 * n, 1, 2000 * n, 1.0), 1).requests) for n in (1, 2))

    assert [request.index for request in two] == list(range(4000))
    assert all(before.arrived_s <= after.arrived_s for before, after in pairwise(two))
    assert {request.client.split(".")[-1] for request in two} == {"0", "1"}
    assert two[-1].arrived_s == pytest.approx(one[-1].arrived_s, rel=0.2)


def test_a_copy_goes_on_after_its_trace_has_ended() -> None:
    size = fleet.Size(4, 1, 70_000, 1.0)
    last = list(fleet.Copies(size, 1).requests)[-1]

    assert last.arrived_s > fleet.TRACE_S


def test_a_size_has_figures_of_its_readers_and_of_what_is_shared() -> None:
    found = fleet.serve(SMALL, "fair_qoe", seed=1)

    assert found["ended"] == 300
    assert 0 < found["avg_qoe"] <= 1
    assert found["exchanges_s"] == pytest.approx(SMALL.gateways / fleet.STALENESS_S, rel=0.2)
    assert found["answer_bytes"] > found["request_bytes"] > 0


def test_what_is_written_down_is_not_made_again(tmp_path: Path) -> None:
    """One run is missing: it alone is made, and written down as well."""
    notes = tmp_path / "fleet-runs.jsonl"
    runs = [(size, policy) for size in fleet.QUICK for policy in fleet.POLICIES]
    figures = {key: 0.5 for key, _ in (*fleet.COLUMNS, *fleet.COSTS)}
    known = [{**figures, **asdict(size), "policy": policy, "seed": 1} for size, policy in runs[1:]]
    notes.write_text("".join(json.dumps(each) + "\n" for each in known), encoding="utf-8")

    quality, _ = fleet.run(Namespace(seed=1, quick=True, out=tmp_path))

    assert len(quality.rows) == len(runs)
    written = [json.loads(each) for each in notes.read_text(encoding="utf-8").splitlines()]
    assert len(written) == len(runs)
    assert written[-1]["ended"] == fleet.QUICK[0].jobs
    assert (tmp_path / "fleet.svg").is_file()
