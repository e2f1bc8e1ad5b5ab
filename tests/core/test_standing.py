"""How a job stands for its reader: QoE, lead and the reason, as the state events tell them."""

import pytest

from gateway.core.capacity import EngineCapacity
from gateway.core.events import LegEnded, ReaderReport, Standing
from gateway.core.plan import Reason
from gateway.core.qoe import Delivery, exact_qoe
from gateway.core.scheduler import Scheduler
from tests.core.pool import PATIENT, READING, charge, finish, give, program, reader, scheduler


def told(subject: Scheduler, job: str, now: float) -> Standing:
    standing = subject.standing(job, now)
    assert standing is not None
    return standing


def test_it_is_what_was_delivered_and_read() -> None:
    """Reading at 4 a second from the first delivery on; QoE as defined, over what was due until now."""
    subject = scheduler("fcfs", {"e": EngineCapacity(1)})
    subject.add(reader("a"), 0.0)
    assert told(subject, "a", 0.5) == Standing(1.0, 0.0, Reason.ROOM)
    subject.plan(0.5)
    give(subject, "a", 20, 2.0)

    standing = told(subject, "a", 3.0)
    assert standing.qoe == pytest.approx(0.25)
    assert standing.lead_s == pytest.approx(4.0)
    assert subject.standing("b", 3.0) is None


def test_leaving_tells_the_last_of_it() -> None:
    """Of the whole answer when it is complete, else of what was due until then."""
    for finished in (True, False):
        subject = scheduler("fcfs", {"e": EngineCapacity(1)})
        subject.add(reader("a"), 0.0)
        subject.plan(0.0)
        give(subject, "a", 20, 2.0)
        so_far = told(subject, "a", 4.0).qoe

        whole = exact_qoe(READING, [Delivery(2.0, 20)])
        assert subject.remove("a", 4.0, finished=finished) == pytest.approx(whole if finished else so_far)
        assert whole != pytest.approx(so_far, abs=0.05)


def test_the_reason_is_that_of_the_last_move() -> None:
    """Running by its turn, paused because nobody looks, going on because there is room."""
    subject = scheduler("fair_qoe", {"e": EngineCapacity(2)}, PATIENT, cap=10.0)
    for name in ("here", "hidden"):
        subject.add(reader(name), 0.0)
    subject.plan(0.0)
    for name in ("here", "hidden"):
        give(subject, name, 200, 1.0)
    subject.reader("hidden", ReaderReport(visible=False), 1.0)
    subject.add(reader("new"), 1.0)
    subject.plan(1.0)
    assert told(subject, "hidden", 1.0).reason is Reason.AWAY
    subject.leg_ended("hidden", LegEnded(), 1.1)
    assert told(subject, "hidden", 1.1).reason is Reason.AWAY
    subject.plan(1.1)
    finish(subject, "new", 2.0)
    subject.plan(2.0)

    assert told(subject, "hidden", 2.0).reason is not Reason.AWAY


def test_who_has_had_more_waits_for_that_reason() -> None:
    """In a fair pool; where the order is that of arrival everybody waits for room."""
    for policy, reason in (("fair_qoe", Reason.SHARE), ("fcfs", Reason.ROOM)):
        subject = scheduler(policy, {"e": EngineCapacity(10, 1000)}, PATIENT, slack_s=0.0, cap=0.0)
        for name in ("a1", "a2"):
            subject.add(program(name, "a", prompt=300), 0.0)
        subject.plan(0.0)
        subject.add(program("large", "b", prompt=600), 1.0)
        subject.add(program("small", "a", prompt=600), 1.0)
        charge(subject, "a", 1000.0)
        subject.plan(1.0)

        assert told(subject, "small", 1.0).reason is reason
        assert told(subject, "large", 1.0).reason is Reason.ROOM


def test_who_lost_its_engine_has_no_reason() -> None:
    """It was nobody's decision; the next start gives one."""
    subject = scheduler("fair_qoe", {"e": EngineCapacity(1)}, PATIENT)
    subject.add(reader("a"), 0.0)
    subject.plan(0.0)
    give(subject, "a", 8, 1.0)
    subject.leg_ended("a", LegEnded(failed=True), 1.0)
    assert told(subject, "a", 1.0).reason is None
    subject.plan(1.0)

    assert told(subject, "a", 1.0).reason is not None
