"""Closed loops: people who send their next request when they have read the last answer."""

import dataclasses
import itertools

import pytest

from gateway.core.pace import MACHINE, Pace
from loadgen.live_job import Asking
from loadgen.loops import read_s
from loadgen.sender import Attack
from tests.loadgen.attacking import READING, attacked, request
from tests.loadgen.scripted_server import whole
from tests.loadgen.test_measures import job


async def test_a_closed_loop_waits_for_answers() -> None:
    """One person, three requests that are all planned for 0: each begins when the answer before is read."""
    pace = Pace("custom", 0.0, 50.0)
    requests = [request(k, 0.0, tokens=10, pace=pace) for k in range(3)]
    other = request(3, 0.0, client="b")
    outcome = await attacked(whole, *requests, other, think_s=0.0)
    mine = outcome.records[:3]

    assert [r.index for r in outcome.records] == [0, 1, 2, 3]
    for before, after in itertools.pairwise(mine):
        assert after.arrived_s == pytest.approx((before.first_token_s or 0) + 10 / 50)
    assert outcome.records[3].arrived_s == 0


def test_a_person_is_through_when_all_is_read() -> None:
    """Or when there is nothing to read; a program does not read."""
    record = job("a", 0, 2, 3, produced=50)
    lost_one = dataclasses.replace(record, first_token_s=None, ended_s=7.0)

    assert read_s(record, request(pace=READING)) == 12.0
    assert read_s(record, request(pace=Pace("custom", 1.0, 100.0))) == 3.0
    assert read_s(record, request(pace=MACHINE)) == 3.0
    assert read_s(lost_one, request()) == 7.0


def test_a_closed_loop_is_shared_by_clients() -> None:
    """A person is in one process; an open loop is shared by requests."""
    requests = tuple(request(k, k, client="abc"[k % 3]) for k in range(9))
    attack = Attack("http://127.0.0.1:1", Asking("m"), requests, {}, think_s=1.0)

    assert [{r.client for r in attack.part(n, 2).requests} for n in range(2)] == [{"a", "c"}, {"b"}]
    assert sum(len(attack.part(n, 2).requests) for n in range(2)) == 9
