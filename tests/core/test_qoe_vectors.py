"""The shared vectors: their files are up to date, and the online tracker meets them."""

import json
from typing import Any

import pytest

from gateway.core.pace import Pace, PaceKind
from gateway.core.tracker import QoeTracker
from tests.vectors.make import HERE, files

ARRIVED = 50.0


def cases(file: str) -> pytest.MarkDecorator:
    """A test for each case of a file."""
    found = json.loads((HERE / file).read_text(encoding="utf-8"))
    return pytest.mark.parametrize("case", found, ids=[case["name"] for case in found])


@pytest.mark.parametrize("file", ["qoe.json", "pacing.json", "paces.json"])
def test_the_files_are_what_the_script_makes(file: str) -> None:
    """`python -m tests.vectors.make` changes nothing; a change of a formula shows in them."""
    assert (HERE / file).read_text(encoding="utf-8") == files()[file]


def tracked(case: dict[str, Any], until_s: float) -> QoeTracker:
    """A tracker that saw everything up to a time."""
    known = case["pace"]
    kind: PaceKind = "custom" if known["paced"] else "machine"
    tracker = QoeTracker(Pace(kind, known["ttft_s"], known["rate"], start_units=known["start_units"]), ARRIVED)
    events = [(at, "deliver", units, quality) for at, units, quality in case["deliveries"]]
    for left, back in case["away"]:
        events += [(left, "leave", 0, 0), (back, "back", 0, 0)]
    total = 0.0
    for at, move, units, quality in sorted(events):
        if at > until_s:
            break
        if move == "deliver":
            total += units
            tracker.deliver(total, ARRIVED + at, quality)
        elif move == "leave":
            tracker.leave(ARRIVED + at)
        else:
            tracker.back(ARRIVED + at)
    return tracker


@cases("qoe.json")
def test_the_tracker_gives_the_qoe(case: dict[str, Any]) -> None:
    """Finished, and left at several times."""
    end = case["finished"]

    assert tracked(case, end["at_s"]).finish(ARRIVED + end["at_s"]) == pytest.approx(end["qoe"], abs=1e-9)
    for left in case["left"]:
        assert tracked(case, left["at_s"]).quit(ARRIVED + left["at_s"]) == pytest.approx(left["qoe"], abs=1e-9)


@cases("pacing.json")
def test_the_tracker_gives_the_lead(case: dict[str, Any]) -> None:
    """At several times."""
    for asked in case["lead"]:
        now = ARRIVED + asked["at_s"]

        assert tracked(case, asked["at_s"]).lead(now) == pytest.approx(asked["lead_s"], abs=1e-9)
