"""A scheduler of any policy for tests, its engines, and jobs with short names."""

from collections.abc import Mapping
from typing import Any

from gateway.core.capacity import EngineCapacity
from gateway.core.events import LegEnded
from gateway.core.job import JobSpec
from gateway.core.pace import MACHINE, Pace
from gateway.core.plan import Plan, Reason, Resume, Start
from gateway.core.policies import find_policy
from gateway.core.scheduler import Scheduler
from gateway.core.tuning import Tuning
from gateway.core.waiting_room import QueueLimits

READING = Pace("reading", ttft_s=1.0, rate=4.0)
RANKED = ("lqsf", "andes", "andes_min", "andes_perfect", "fair_qoe")
"""The policies that rank everybody, and pause."""

PATIENT = QueueLimits(timeout_s=float("inf"))
"""A queue in which nobody runs out of time."""


def scheduler(
    policy: str = "fcfs",
    engines: Mapping[str, EngineCapacity] | None = None,
    limits: QueueLimits = QueueLimits(),  # noqa: B008 - frozen
    **tuning: Any,
) -> Scheduler:
    """A pool of these engines; 100 tokens are set aside for an answer unless `tuning` says otherwise."""
    made = Scheduler(find_policy(policy), limits, Tuning(**{"assumed_output_tokens": 100, **tuning}))
    for name, capacity in (engines or {}).items():
        made.engine(name, capacity, 0.0)
    return made


def spec(name: str, tenant: str = "t", prompt: int = 10, limit: int | None = None, **more: Any) -> JobSpec:
    """A program's job that is never paused."""
    return JobSpec(name, tenant, prompt, limit, **more)


def reader(name: str, tenant: str = "t", prompt: int = 10, pace: Pace = READING, **more: Any) -> JobSpec:
    """A job that somebody reads, and that can be resumed."""
    return JobSpec(name, tenant, prompt, pace=pace, resumable=True, **more)


def program(name: str, tenant: str = "t", prompt: int = 10, **more: Any) -> JobSpec:
    """A program's job that can be resumed."""
    return reader(name, tenant, prompt, MACHINE, **more)


def start(job: str, engine: str, reason: Reason = Reason.ROOM) -> Start:
    return Start(job, engine, reason)


def begun(plan: Plan) -> tuple[Start | Resume, ...]:
    """Both kinds of a leg's beginning."""
    return (*plan.start, *plan.resume)


def give(subject: Scheduler, job: str, total: int, now: float) -> None:
    """So many tokens in all were produced and sent."""
    subject.observe(job, total, now)
    subject.delivered(job, total, now)


def finish(subject: Scheduler, job: str, now: float) -> None:
    """The answer is complete and the engine holds nothing of it."""
    subject.remove(job, now, finished=True)
    subject.leg_ended(job, LegEnded(), now)


def charge(subject: Scheduler, tenant: str, service: float) -> None:
    """The tenant has had so much service besides what its jobs show."""
    counters = subject._roster.counters
    counters.charge(counters.account(tenant), service)
