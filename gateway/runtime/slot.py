"""One engine of a pool and what is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.core.capacity import EngineCapacity
from gateway.core.shares import Part
from gateway.engines.base import Engine, EngineFacts, EngineSettings, EngineState

PROBES_UNTIL_PINNED: Final = 3


class Neighbours:
    """The other gateways in front of the same engines: there are none. `Sharing` has some."""

    def probes(self, engine_id: str) -> bool:  # noqa: ARG002
        """Whether it is this gateway that probes the engine now; another one does, and tells."""
        return True

    def probed(self, engine_id: str, facts: EngineFacts | None, detail: str) -> None:
        """A probe found this; None: it failed."""

    def ours(self) -> bool:
        """Whether this gateway may use engines now."""
        return True

    def everybody(self) -> Mapping[str, Mapping[str, int]]:
        """What each gateway, this one too, runs at each engine as it said last; empty where there is no other."""
        return {}

    def running(self, engine_id: str) -> int:  # noqa: ARG002
        """What the others run there."""
        return 0

    def added(self, settings: EngineSettings) -> None:
        """An administrator added an engine here."""

    def drained(self, engine_id: str, *, draining: bool) -> None:
        """An administrator drained an engine here, or gave it work again."""

    def removed(self, engine_id: str) -> None:
        """An administrator removed an engine here."""


@dataclass(slots=True)
class EngineSlot:
    """One engine and what is known of it. `max_running` is what it has been seen to hold without queueing.

    `strikes`: legs that broke there since the last one that went on; `rest`: probes until it gets work again after too
    many of them, `rests`: how often that was so in a row. After a rest it gets one job, until that goes on.
    """

    engine: Engine
    max_running: int
    state: EngineState = EngineState.UNKNOWN
    facts: EngineFacts = field(default_factory=EngineFacts)
    failures: int = 0
    heard: bool = False  # a leg there has had tokens since the last failed probe
    pinned: int = 0  # probes in a row with requests waiting and the same number running
    strikes: int = 0
    rest: int = 0
    rests: int = 0
    draining: bool = False
    share: Part | None = None  # of the engine, where other gateways use it too

    @property
    def id(self) -> str:
        return self.engine.settings.id

    @property
    def takes_work(self) -> bool:
        """Whether new legs may begin there."""
        return self.state is EngineState.READY and not self.draining and not self.rest

    def capacity(self) -> EngineCapacity:
        """What this gateway may use."""
        whole = self.whole()
        return whole if self.share is None else whole.shared(*self.share)

    def whole(self) -> EngineCapacity:
        """All of the engine."""
        settings = self.engine.settings
        return EngineCapacity(
            max_running=min(1, self.max_running) if self.rests else self.max_running,
            kv_tokens=settings.kv_tokens or self.facts.kv_tokens,
            ready=self.takes_work,
        )

    def learn_width(self, before: EngineFacts, ours: int) -> None:
        """Narrow an engine that queues, widen it again while it does not; `ours`: all gateways' legs there.

        No server tells how many sequences it runs at once. One at its ceiling has requests waiting and always the same
        number running; a request that merely waits for the end of the present iteration does not look like that.
        """
        running, waiting = self.facts.running or 0, self.facts.waiting or 0
        pinned = waiting > 0 and running > 0 and running == before.running and ours >= running + waiting
        self.pinned = self.pinned + 1 if pinned else 0
        if self.pinned >= PROBES_UNTIL_PINNED:
            self.max_running = min(self.max_running, running)
        elif waiting == 0 and ours >= self.max_running < self.engine.settings.max_running:
            self.max_running += max(1, self.max_running // 8)
