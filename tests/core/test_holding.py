"""Who comes first of those waiting holds what becomes free: small jobs of a tenant ahead do not pass a large one."""

from collections.abc import Callable, Mapping

import pytest

from gateway.core.capacity import EngineCapacity
from gateway.core.events import ReaderReport
from gateway.core.job import JobSpec
from gateway.core.scheduler import Scheduler
from tests.core.pool import PATIENT, begun, charge, finish, program, reader, scheduler, spec

ENGINE = EngineCapacity(10, 1000)


def held(engines: Mapping[str, EngineCapacity], make: Callable[..., JobSpec], cap: float = 1.0) -> Scheduler:
    """Two jobs of 300 tokens run; of those who wait the large one needs both their places, the small one 50 tokens."""
    subject = scheduler("fair_qoe", engines, PATIENT, slack_s=0.0, cap=cap)
    for name in ("a1", "a2"):
        subject.add(make(name, "a", prompt=300), 0.0)
    subject.plan(0.0)
    subject.add(make("large", "b", prompt=600), 1.0)
    subject.add(make("small", "a", prompt=50), 1.0)
    charge(subject, "a", 1000.0)
    return subject


@pytest.mark.parametrize(
    ("make", "cap", "more"),
    [
        pytest.param(program, 0.0, {}, id="nobody may be paused"),
        pytest.param(spec, 1.0, {}, id="nobody can be paused"),
        pytest.param(spec, 1.0, {"f": EngineCapacity(0, 10_000)}, id="an engine without a place"),
        pytest.param(
            spec, 1.0, {"f": EngineCapacity(4, 40_000).shared(0, 2500, 2500, 0.0)}, id="a part without a place"
        ),
    ],
)
def test_small_jobs_do_not_pass_a_large_one(
    make: Callable[..., JobSpec], cap: float, more: dict[str, EngineCapacity]
) -> None:
    """What becomes free is kept until it fits, at an engine where it can start."""
    subject = held({"e": ENGINE, **more}, make, cap)
    assert not begun(subject.plan(1.0))
    finish(subject, "a1", 2.0)
    assert not begun(subject.plan(2.0))  # 500 are free: enough for the small one, not for the large
    finish(subject, "a2", 3.0)

    assert subject.plan(3.0).start[0].job_id == "large"


def test_who_does_not_look_takes_the_hold_from_nobody() -> None:
    """Its tenant is furthest behind, but it holds nothing itself."""
    subject = held({"e": ENGINE}, spec)
    subject.add(reader("hidden", "z", prompt=600), 1.0)
    subject.reader("hidden", ReaderReport(visible=False), 1.0)
    charge(subject, "b", 500.0)
    charge(subject, "a", 1000.0)
    subject.plan(1.0)
    finish(subject, "a1", 2.0)

    assert not begun(subject.plan(2.0))


def test_small_jobs_do_not_pass_a_large_one_that_fits_all_engines_together() -> None:
    """600 tokens on three engines of 1000, where small ones of 150 come as often as they end."""
    engines = {name: EngineCapacity(10, 1000) for name in "xyz"}
    subject = scheduler("fair_qoe", engines, PATIENT, slack_s=0.0)
    small = [f"s{number}" for number in range(6)]
    for name in small:
        subject.add(spec(name, "a", prompt=150), 0.0)
    subject.plan(0.0)
    subject.add(spec("large", "b", prompt=600), 0.5)
    charge(subject, "a", 1000.0)
    started: list[str] = []
    for number in range(60):
        finish(subject, small.pop(0), 1.0 + number)
        subject.add(spec(f"t{number}", "a", prompt=150), 1.0 + number)
        new = [move.job_id for move in begun(subject.plan(1.0 + number))]
        small += [name for name in new if name != "large"]
        started += new
        if "large" in new or not small:
            break

    assert "large" in started
