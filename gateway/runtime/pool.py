"""The engines of one model: their health, what they told, how much the scheduler may give them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.clock import Clock
from gateway.core.capacity import EngineCapacity
from gateway.core.scheduler import Scheduler
from gateway.engines.base import Endpoint, Engine, EngineFacts, EngineState, LegRequest, Resumability
from gateway.errors import EngineFailed, EngineInUse, EngineNotFound
from gateway.runtime.instrument import Instrument
from gateway.runtime.sizing import TokenRatio

FAILURES_UNTIL_DOWN: Final = 2
PROBES_UNTIL_PINNED: Final = 3
STRIKES_UNTIL_REST: Final = 3
LONGEST_REST: Final = 32


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """A pool's own settings; times in seconds, see the configuration of the same names."""

    model: str
    policy: str
    attempts: int = 3
    failover_wait_s: float = 15.0
    first_token_timeout_s: float = 300.0
    stall_timeout_s: float = 60.0
    answer_timeout_s: float = 900.0
    probe_interval_s: float = 1.0
    context_tokens: int | None = None
    assumed_output_tokens: int = 512


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

    @property
    def id(self) -> str:
        return self.engine.settings.id

    @property
    def takes_work(self) -> bool:
        """Whether new legs may begin there."""
        return self.state is EngineState.READY and not self.draining and not self.rest

    def capacity(self) -> EngineCapacity:
        settings = self.engine.settings
        return EngineCapacity(
            max_running=min(1, self.max_running) if self.rests else self.max_running,
            kv_tokens=settings.kv_tokens or self.facts.kv_tokens,
            ready=self.takes_work,
        )


class Pool:
    """Probes its engines for as long as it runs and tells the scheduler what changed."""

    def __init__(
        self,
        settings: PoolSettings,
        engines: Sequence[Engine],
        scheduler: Scheduler,
        instrument: Instrument,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.scheduler = scheduler
        self.ratio = TokenRatio()
        self.asked = asyncio.Event()  # every engine has been probed once, whatever came of it
        self._instrument = instrument
        self._clock = clock
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._changed: Callable[[], None] = lambda: None
        self._slots = {e.settings.id: EngineSlot(e, max_running=e.settings.max_running) for e in engines}
        for slot in self._slots.values():
            scheduler.engine(slot.id, slot.capacity(), self._clock.now())

    def __repr__(self) -> str:
        states = ", ".join(f"{slot.id} {slot.state}" for slot in self._slots.values())
        return f"<Pool {self.settings.model}: {states}>"

    @property
    def slots(self) -> Sequence[EngineSlot]:
        return tuple(self._slots.values())

    @property
    def ready(self) -> bool:
        return any(slot.state is EngineState.READY and not slot.draining for slot in self._slots.values())

    @property
    def context_tokens(self) -> int | None:
        """The longest prompt plus answer that every engine of the pool takes; None when none tells."""
        known = [s.facts.context_tokens for s in self._slots.values() if s.facts.context_tokens is not None]
        return self.settings.context_tokens or min(known, default=None)

    def engine(self, engine_id: str) -> Engine:
        return self._slots[engine_id].engine

    def is_down(self, engine_id: str) -> bool:
        """Whether the probes have given the engine up."""
        return self._slots[engine_id].state is EngineState.DOWN

    def hears(self, engine_id: str) -> None:
        """A leg at this engine goes on."""
        slot = self._slots[engine_id]
        slot.heard = True
        if slot.strikes:
            slot.strikes = slot.rests = 0
            self.scheduler.engine(engine_id, slot.capacity(), self._clock.now())

    def struck(self, engine_id: str, changed: Callable[[], None]) -> None:
        """A leg broke there. Too many of them in a row, and the engine rests, each time twice as long.

        Not where nobody else takes work: a rest would only make jobs wait for the same failure.
        """
        slot = self._slots[engine_id]
        others = any(each.takes_work for each in self._slots.values() if each is not slot)
        slot.strikes += 1
        if slot.strikes >= STRIKES_UNTIL_REST and others and not slot.rest:
            slot.rest = min(2**slot.rests, LONGEST_REST)
            slot.rests += 1
            self.scheduler.engine(engine_id, slot.capacity(), self._clock.now())
            self._instrument.engine_changed(self.settings.model, engine_id, slot.state, "rests: its legs break")
            changed()

    def ready_besides(self, engine_id: str) -> bool:
        """Whether another engine could take over."""
        return any(s.state is EngineState.READY and not s.draining for s in self._slots.values() if s.id != engine_id)

    def resumability(self, request: LegRequest) -> Resumability:
        """How exactly such a request goes on after a cut, at the worst of the pool's engines."""
        found = [slot.engine.can_resume(request) for slot in self._slots.values()]
        return max(found, key=lambda each: each.level.rank)

    async def tokenize(self, endpoint: Endpoint, body: Mapping[str, Any]) -> int | None:
        """The prompt's exact length from the first engine that answers; None when none can tell."""
        for slot in self._slots.values():
            if slot.state is EngineState.READY:
                try:
                    return await slot.engine.tokenize(endpoint, body)
                except EngineFailed:
                    continue
        return None

    async def run(self, changed: Callable[[], None]) -> None:
        """Probe until cancelled; `changed` is called when an engine's capacity or health did."""
        self._changed = changed
        async with asyncio.TaskGroup() as self._group:
            for slot in self._slots.values():
                self._begin_watch(slot)
            await asyncio.get_running_loop().create_future()  # engines may come as long as it runs

    def add(self, engine: Engine) -> None:
        """A new engine: it gets work once it is well. EngineInUse if its name or its address is taken."""
        settings = engine.settings
        if any(settings.id == slot.id or settings.url == slot.engine.settings.url for slot in self._slots.values()):
            raise EngineInUse(f"There is an engine {settings.id!r}, or one with this URL.", param="id")
        slot = self._slots[settings.id] = EngineSlot(engine, max_running=settings.max_running)
        self.scheduler.engine(slot.id, slot.capacity(), self._clock.now())
        self._begin_watch(slot)

    def drain(self, engine_id: str, *, draining: bool = True) -> None:
        """Give it no new work, or give it some again. EngineNotFound."""
        slot = self._slot(engine_id)
        slot.draining = draining
        self.scheduler.engine(engine_id, slot.capacity(), self._clock.now())
        self._instrument.engine_changed(
            self.settings.model, engine_id, slot.state, "draining" if draining else "takes work again"
        )
        self._changed()

    async def remove(self, engine_id: str) -> None:
        """Forget a drained engine. EngineNotFound; EngineInUse while it is not empty."""
        slot = self._slot(engine_id)
        if not slot.draining or self.scheduler.running(engine_id):
            raise EngineInUse("Drain the engine first, and wait until nothing runs there.", param="engine_id")
        self.scheduler.engine(engine_id, None, self._clock.now())
        del self._slots[engine_id]
        if (watch := self._watches.pop(engine_id, None)) is not None:
            watch.cancel()
        await slot.engine.close()

    def _begin_watch(self, slot: EngineSlot) -> None:
        assert self._group is not None  # engines come while the pool runs
        self._watches[slot.id] = self._group.create_task(self._watch(slot, self._changed))

    def _slot(self, engine_id: str) -> EngineSlot:
        try:
            return self._slots[engine_id]
        except KeyError:
            raise EngineNotFound(f"There is no engine {engine_id[:100]!r}.", param="engine_id") from None

    async def close(self) -> None:
        for slot in self._slots.values():
            await slot.engine.close()

    def unreachable(self, engine_id: str, changed: Callable[[], None]) -> None:
        """A connection was refused: no need to wait for the probe to say so."""
        slot = self._slots[engine_id]
        slot.failures = FAILURES_UNTIL_DOWN
        self._become(slot, EngineState.DOWN, "connection refused", changed)

    def busy(self, engine_id: str) -> None:
        """The engine refused a job as one too many: what else runs there is what it can hold for now.

        The probes widen it again, so its jobs wait in our queue and not at its door.
        """
        slot = self._slots[engine_id]
        slot.max_running = min(slot.max_running, max(0, self.scheduler.running(engine_id) - 1))
        self.scheduler.engine(engine_id, slot.capacity(), self._clock.now())

    async def _watch(self, slot: EngineSlot, changed: Callable[[], None]) -> None:
        while True:
            await self._probe(slot, changed)
            if all(s.state is not EngineState.UNKNOWN for s in self._slots.values()):
                self.asked.set()
            await asyncio.sleep(self.settings.probe_interval_s)

    async def _probe(self, slot: EngineSlot, changed: Callable[[], None]) -> None:
        try:
            facts = await slot.engine.probe()
        except EngineFailed as error:
            self._unwell(slot, error.message, changed)
        except Exception as error:  # noqa: BLE001 - the task's edge: what one engine sends must not end the watch over all
            self._unwell(slot, repr(error), changed)
        else:
            self._well(slot, facts, changed)

    def _unwell(self, slot: EngineSlot, detail: str, changed: Callable[[], None]) -> None:
        if slot.heard:
            slot.heard = False
            return  # it works: a server on starved cores may stream and still not answer a probe
        slot.failures += 1
        if slot.failures >= FAILURES_UNTIL_DOWN or slot.state is EngineState.UNKNOWN:
            self._become(slot, EngineState.DOWN, detail, changed)

    def _well(self, slot: EngineSlot, facts: EngineFacts, changed: Callable[[], None]) -> None:
        before, told_before = slot.capacity(), slot.facts
        slot.rest = max(0, slot.rest - 1)
        slot.failures = 0
        slot.heard = False
        slot.facts = replace(facts, context_tokens=facts.context_tokens or slot.facts.context_tokens)
        self._learn_width(slot, told_before)
        if slot.state is not EngineState.READY:
            self._become(slot, EngineState.READY, "", changed)
        elif slot.capacity() != before:
            self.scheduler.engine(slot.id, slot.capacity(), self._clock.now())
            changed()

    def _learn_width(self, slot: EngineSlot, before: EngineFacts) -> None:
        """Narrow an engine that queues, widen it again step by step while it does not.

        No server tells how many sequences it runs at once. One at its ceiling has requests waiting and always the same
        number running; a request that merely waits for the end of the present iteration does not look like that.
        """
        running, waiting = slot.facts.running or 0, slot.facts.waiting or 0
        mine = self.scheduler.running(slot.id)
        pinned = waiting > 0 and running > 0 and running == before.running and mine >= running + waiting
        slot.pinned = slot.pinned + 1 if pinned else 0
        if slot.pinned >= PROBES_UNTIL_PINNED:
            slot.max_running = min(slot.max_running, running)
        elif waiting == 0 and mine >= slot.max_running < slot.engine.settings.max_running:
            slot.max_running += max(1, slot.max_running // 8)

    def _become(self, slot: EngineSlot, state: EngineState, detail: str, changed: Callable[[], None]) -> None:
        if slot.state is state:
            return
        slot.state = state
        self._instrument.engine_changed(self.settings.model, slot.id, state, detail)
        self.scheduler.engine(slot.id, slot.capacity(), self._clock.now())
        changed()


def engine_states(pools: Sequence[Pool]) -> dict[str, dict[str, EngineState]]:
    """Health by model and engine, for /readyz and the admin's view."""
    return {pool.settings.model: {slot.id: slot.state for slot in pool.slots} for pool in pools}
