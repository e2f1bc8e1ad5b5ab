"""What a policy is: the order in which waiting jobs come to a start."""

from typing import Protocol

from gateway.core.job import Job


class Policy(Protocol):
    """Keeps the waiting jobs of one pool in its own order.

    The scheduler takes the `peek`ed job, starts it if some engine has room, and stops at the first that does not fit.
    """

    def push(self, job: Job) -> None:
        """The job waits (again); a job that comes back keeps its place by arrival."""

    def take(self, job: Job) -> None:
        """The job that was peeked starts."""

    def discard(self, job: Job) -> None:
        """The job waits no more without having been started."""

    def peek(self) -> Job | None:
        """Whose turn it is; None when nobody waits. Does not change the order."""
