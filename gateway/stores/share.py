"""Port of what the gateways of a pool share: the ledger of the engines, the counters, and what they tell each other.

One exchange does all of it at once, so that it costs one round trip; what one gateway tells reaches the others as a
message. Messages may be lost: each has a number, and who misses one reads the sums anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.core.accounts import Delta
from gateway.core.ledger import Reply, Request
from gateway.engines.base import EngineFacts, EngineSettings


@dataclass(frozen=True, slots=True)
class Health:
    """What a probe found: the engine's facts, None where it failed for the reason in `detail`."""

    facts: EngineFacts | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """An engine as administrators left it: its settings (None for one of the configuration files), and whether it gets
    work. A removed one stays on record, so that who comes later does not bring it back."""

    settings: EngineSettings | None = None
    draining: bool = False
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """What one gateway tells the others. `number` counts its messages from 1; `health` and `engines` are by engine."""

    source: str
    number: int
    delta: Delta = field(default_factory=Delta)
    health: Mapping[str, Health] = field(default_factory=dict)
    engines: Mapping[str, EngineRecord] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether it says nothing; the floor alone is not looked at."""
        return not (self.delta.charges or self.delta.lifts or self.delta.last or self.health or self.engines)


@dataclass(frozen=True, slots=True)
class Sums:
    """The tenants' totals, the numbers of the messages that are in them, and the records of the engines.

    Tenants that nobody told of, and gateways that told nothing, since before the last era are not among them.
    """

    totals: Delta = field(default_factory=Delta)
    numbers: Mapping[str, int] = field(default_factory=dict)
    engines: Mapping[str, EngineRecord] = field(default_factory=dict)


class ShareStore(Protocol):
    """One pool's. Every call raises Unavailable, and may have been done all the same."""

    @property
    def available(self) -> bool:
        """Whether it is worth trying."""

    async def exchange(self, request: Request, message: Message | None) -> Reply:
        """Write to the ledger; charge, record and pass on what the message says, once; do nothing if it comes late."""

    async def sums(self) -> Sums:
        """Everything that is summed up."""

    async def seed(self, totals: Delta) -> None:
        """Totals that a gateway remembers: of the same era the larger ones count, else those of the later era."""

    def hear(self, me: str, message: Callable[[Message], None], moved: Callable[[], None]) -> None:
        """Call `message` with what others than `me` tell, and `moved` when one of them gave, took or lacks a part of an
        engine."""
