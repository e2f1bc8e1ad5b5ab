"""The engines of one model: their health, what they told, how much the scheduler may give them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.clock import Clock
from gateway.core.capacity import EngineCapacity
from gateway.core.scheduler import Scheduler
from gateway.core.shares import NO_PART, Part
from gateway.engines.base import Endpoint, Engine, EngineFacts, EngineState, LegRequest, Resumability
from gateway.errors import EngineFailed, EngineInUse, EngineNotFound
from gateway.runtime.instrument import Instrument
from gateway.runtime.sizing import TokenRatio
from gateway.runtime.slot import EngineSlot, Neighbours

FAILURES_UNTIL_DOWN: Final = 2
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
        self.neighbours = Neighbours()
        self._shared = False
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
        return self.neighbours.ours() and any(s.state is EngineState.READY and not s.draining for s in self.slots)

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

    # ---- other gateways

    def share_with(self, neighbours: Neighbours) -> None:
        """Others use the engines too: nothing is ours before `hold` says so. Call before `run`."""
        self.neighbours = neighbours
        self._shared = True
        self.hold({})

    def hold(self, parts: Mapping[str, Part]) -> None:
        """What this gateway may use of each engine."""
        if self._limit(parts):
            self._changed()

    def keep_to_lease(self) -> None:
        """Call before each plan: a process that has stood still may wake long after its leases have ended."""
        if not self.neighbours.ours():
            self._limit({})

    def _limit(self, parts: Mapping[str, Part]) -> bool:
        """Tell the scheduler its parts; whether any is another one than before."""
        moved = [slot for slot in self._slots.values() if slot.share != parts.get(slot.id, NO_PART)]
        for slot in moved:
            slot.share = parts.get(slot.id, NO_PART)
            self.scheduler.engine(slot.id, slot.capacity(), self._clock.now())
        return bool(moved)

    def wholes(self) -> dict[str, EngineCapacity]:
        """The engines, undivided."""
        return {slot.id: slot.whole() for slot in self._slots.values()}

    def told(self, engine_id: str, facts: EngineFacts | None, detail: str) -> None:
        """Another gateway has probed the engine."""
        if (slot := self._slots.get(engine_id)) is not None:
            if facts is None:
                self._unwell(slot, detail, self._changed)
            else:
                self._well(slot, facts, self._changed)
            self._look_whether_asked()

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
        slot.share = NO_PART if self._shared else None
        self.scheduler.engine(slot.id, slot.capacity(), self._clock.now())
        self._begin_watch(slot)
        self.neighbours.added(settings)

    def drain(self, engine_id: str, *, draining: bool = True) -> None:
        """Give it no new work, or give it some again. EngineNotFound."""
        slot = self._slot(engine_id)
        slot.draining = draining
        self.scheduler.engine(engine_id, slot.capacity(), self._clock.now())
        self._instrument.engine_changed(
            self.settings.model, engine_id, slot.state, "draining" if draining else "takes work again"
        )
        self._changed()
        self.neighbours.drained(engine_id, draining=draining)

    async def remove(self, engine_id: str) -> None:
        """Forget a drained engine. EngineNotFound; EngineInUse while it is not empty."""
        slot = self._slot(engine_id)
        if not slot.draining or self.scheduler.running(engine_id):
            raise EngineInUse("Drain the engine first, and wait until nothing runs there.", param="engine_id")
        self.scheduler.engine(engine_id, None, self._clock.now())
        del self._slots[engine_id]
        if (watch := self._watches.pop(engine_id, None)) is not None:
            watch.cancel()
        self.neighbours.removed(engine_id)
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
        runs = self.scheduler.running(engine_id) + self.neighbours.running(engine_id)
        slot.max_running = min(slot.max_running, max(0, runs - 1))
        self.scheduler.engine(engine_id, slot.capacity(), self._clock.now())

    async def _watch(self, slot: EngineSlot, changed: Callable[[], None]) -> None:
        while True:
            if slot.state is EngineState.UNKNOWN or self.neighbours.probes(slot.id):
                await self._probe(slot, changed)
                self._look_whether_asked()
            await asyncio.sleep(self.settings.probe_interval_s)

    def _look_whether_asked(self) -> None:
        if all(s.state is not EngineState.UNKNOWN for s in self._slots.values()):
            self.asked.set()

    async def _probe(self, slot: EngineSlot, changed: Callable[[], None]) -> None:
        facts, detail = None, ""
        try:
            facts = await slot.engine.probe()
        except EngineFailed as error:
            detail = error.message
        except Exception as error:  # noqa: BLE001 - the task's edge: what one engine sends must not end the watch over all
            detail = repr(error)
        if facts is None:
            self._unwell(slot, detail, changed)
        else:
            self._well(slot, facts, changed)
        self.neighbours.probed(slot.id, facts, detail)

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
        slot.learn_width(told_before, self.scheduler.running(slot.id) + self.neighbours.running(slot.id))
        if slot.state is not EngineState.READY:
            self._become(slot, EngineState.READY, "", changed)
        elif slot.capacity() != before:
            self.scheduler.engine(slot.id, slot.capacity(), self._clock.now())
            changed()

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
