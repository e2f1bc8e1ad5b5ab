"""The transition table: what moves, what is refused, what every life has in common."""

from dataclasses import fields
from itertools import product

import pytest

from gateway.core.job import TRANSITIONS, IllegalMove, Job, JobEvent, JobSpec, JobState

S, E = JobState, JobEvent
LEGAL = {
    (S.QUEUED, E.PLACE): S.RUNNING,
    (S.QUEUED, E.PARK): S.PARKED,
    (S.QUEUED, E.REMOVE): S.ENDED,
    (S.RUNNING, E.PAUSE): S.STOPPING,
    (S.RUNNING, E.PARK): S.PARKING,
    (S.RUNNING, E.LEG_ENDED_FRESH): S.QUEUED,
    (S.RUNNING, E.LEG_ENDED): S.PAUSED,
    (S.RUNNING, E.REMOVE): S.LEAVING,
    (S.STOPPING, E.KEEP): S.RUNNING,
    (S.STOPPING, E.PARK): S.PARKING,
    (S.STOPPING, E.LEG_ENDED_FRESH): S.QUEUED,
    (S.STOPPING, E.LEG_ENDED): S.PAUSED,
    (S.STOPPING, E.REMOVE): S.LEAVING,
    (S.PAUSED, E.PLACE): S.RUNNING,
    (S.PAUSED, E.PARK): S.PARKED,
    (S.PAUSED, E.REMOVE): S.ENDED,
    (S.PARKING, E.LEG_ENDED_FRESH): S.PARKED,
    (S.PARKING, E.LEG_ENDED): S.PARKED,
    (S.PARKING, E.UNPARK_FRESH): S.STOPPING,
    (S.PARKING, E.UNPARK): S.STOPPING,
    (S.PARKING, E.REMOVE): S.LEAVING,
    (S.PARKED, E.UNPARK_FRESH): S.QUEUED,
    (S.PARKED, E.UNPARK): S.PAUSED,
    (S.PARKED, E.REMOVE): S.ENDED,
    (S.LEAVING, E.LEG_ENDED_FRESH): S.ENDED,
    (S.LEAVING, E.LEG_ENDED): S.ENDED,
}
"""Written down a second time on purpose: a change of the table must be meant."""

HOLDING = {S.RUNNING, S.STOPPING, S.PARKING, S.LEAVING}


def job(state: JobState) -> Job:
    return Job(JobSpec("j", "t", 10), arrived=1.0, order=1, state=state)


def told(subject: Job) -> dict[str, object]:
    """Everything that a job holds, but for its tracker, which no event of the table reaches."""
    return {each.name: getattr(subject, each.name) for each in fields(subject) if each.name != "tracker"}


@pytest.mark.parametrize(("state", "event"), list(product(JobState, JobEvent)))
def test_every_pair_moves_or_raises(state: JobState, event: JobEvent) -> None:
    """A legal event moves the state and nothing else; any other raises and leaves the job as it was."""
    subject, before = job(state), job(state)

    if (state, event) in LEGAL:
        subject.move(event)
        before.state = LEGAL[state, event]
    else:
        with pytest.raises(IllegalMove, match=f"job j: {event} while {state}"):
            subject.move(event)

    assert told(subject) == told(before)


def test_a_leg_begins_only_by_place_and_ends_only_by_its_own_events() -> None:
    """Room can neither appear nor vanish by any other event of the table."""
    for state, row in TRANSITIONS.items():
        for event, after in row.items():
            began = state not in HOLDING and after in HOLDING
            ended = state in HOLDING and after not in HOLDING
            assert began == (event is E.PLACE)
            assert ended == (event in {E.LEG_ENDED, E.LEG_ENDED_FRESH})


def test_every_state_can_end() -> None:
    """No life is without a way out, and nothing leaves the end."""
    reaching = {S.ENDED}
    for _ in JobState:
        reaching |= {state for state, row in TRANSITIONS.items() if reaching & set(row.values())}

    assert set(JobState) == reaching
    assert TRANSITIONS[S.ENDED] == {}
