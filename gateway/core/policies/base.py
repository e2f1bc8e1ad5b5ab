"""What a policy is, and the simple kind: an order in which waiting jobs come to a start."""

from typing import ClassVar, Final, Protocol

from gateway.core.job import Job, JobSpec
from gateway.core.plan import Reason
from gateway.core.roster import Roster


class Policy(Protocol):
    """Decides who starts, who stands still and who goes on, by `Roster.begin` and `Roster.pause`.

    `ticks`: it looks at running jobs too, so that a decision gets old with time and not by events only.
    """

    ticks: ClassVar[bool]

    @property
    def overloaded(self) -> bool:
        """Whether somebody who reads has to stall, as far as the policy looks at that."""

    def admit(self, spec: JobSpec, now: float, /) -> None:
        """A job wants to come in; RateLimited to refuse it."""

    def push(self, job: Job) -> None:
        """The job waits (again)."""

    def discard(self, job: Job) -> None:
        """The job waits no more without having been started."""

    def reported(self, job: Job, /) -> None:
        """The reader's browser has said how far it is."""

    def decide(self, now: float) -> None:
        """Make the moves of this plan."""

    def waits_for(self, job: Job, /) -> Reason:
        """Why a job that was never started is still waiting. Changes nothing."""


class ForRoom:
    """Whoever waits, waits for room and nothing else; what readers say is looked at when it is needed."""

    def reported(self, _job: Job, /) -> None:
        """Nothing was worked out of it."""

    def waits_for(self, _job: Job, /) -> Reason:
        return Reason.ROOM


class InOrder(ForRoom):
    """A policy that never pauses: the first in its order starts if an engine has room, and nobody is passed over.

    Strict, so that a large job is never passed over for ever. Only who waits for another engine than the one that
    failed it lets others go first. Subclasses say the order.
    """

    ticks: ClassVar[bool] = False
    overloaded: Final = False

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def admit(self, spec: JobSpec, now: float) -> None:
        """Everybody may come in."""

    def push(self, job: Job) -> None:
        """The job waits (again); a job that comes back keeps its place by arrival."""
        raise NotImplementedError

    def take(self, job: Job) -> None:
        """The job that was peeked starts."""
        self.discard(job)

    def discard(self, job: Job) -> None:
        """The job waits no more without having been started."""
        raise NotImplementedError

    def peek(self) -> Job | None:
        """Whose turn it is; None when nobody waits. Does not change the order."""
        raise NotImplementedError

    def decide(self, now: float) -> None:
        """Start the first ones while there is room."""
        roster = self._roster
        aside: list[Job] = []
        while (job := self.peek()) is not None:
            need = roster.need(job)
            load = roster.fleet.place(job, need)
            if load is not None:
                self.take(job)
                roster.begin(job, load, Reason.ROOM, now)
            elif roster.fleet.waits_for_another(job, need):
                self.discard(job)
                aside.append(job)
            else:
                break
        for job in aside:
            self.push(job)
