"""The engines of a pool as all its gateways know them: what probes found, and what administrators changed anywhere."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from math import inf
from typing import Final

from gateway.clock import Clock
from gateway.core.leases import Holder
from gateway.engines.base import Engine, EngineFacts, EngineSettings
from gateway.errors import EngineInUse, EngineNotFound
from gateway.runtime.pool import Pool
from gateway.runtime.slot import Neighbours
from gateway.stores.share import EngineRecord, Health

LOOK_S: Final = 0.25  # an engine drops what a gone gateway asked of it well within that
_SILENT_ROUNDS: Final = 3


class Registry(Neighbours):
    """Each engine is probed by one living gateway, found from the names of both, so that all agree without a word. Who
    hears nothing of an engine for three rounds probes it itself.

    `make` builds an adapter, `drain` moves an engine's streams away as well.
    """

    def __init__(
        self,
        pool: Pool,
        holder: Holder,
        clock: Clock,
        make: Callable[[EngineSettings], Engine],
        drain: Callable[[str], object],
    ) -> None:
        self._pool = pool
        self._holder = holder
        self._clock = clock
        self._make = make
        self._drain = drain
        self._records: dict[str, EngineRecord] = {}
        self._heard: dict[str, float] = {}
        self._looked: dict[str, float] = {}
        self.health: dict[str, Health] = {}  # to be told
        self.news: dict[str, EngineRecord] = {}

    # ---- what happens here

    def probes(self, engine_id: str) -> bool:
        me, others = self._holder.me, self._holder.others
        if all(_rank(engine_id, me) >= _rank(engine_id, other) for other in others):
            return True
        patience_s = _SILENT_ROUNDS * self._pool.settings.probe_interval_s
        return self._clock.now() - self._heard.get(engine_id, 0.0) > patience_s

    def probed(self, engine_id: str, facts: EngineFacts | None, detail: str) -> None:
        if self._holder.others:
            self.health[engine_id] = Health(facts, detail)
        self._look(engine_id, facts)

    async def look(self) -> bool:
        """Count again where legs of gone gateways may still run, as their places are waited for; whether we did so
        anywhere. It is no probe: health and width go by the pool's own rhythm."""
        mourned = [slot for slot in self._pool.slots if self._holder.mourns(slot.id) and self.probes(slot.id)]
        slots = [slot for slot in mourned if slot.facts.running is not None]
        answers = await asyncio.gather(*(slot.engine.probe() for slot in slots), return_exceptions=True)
        for slot, facts in zip(slots, answers, strict=True):
            if isinstance(facts, EngineFacts):  # what fails here fails the next probe too, and that tells of it
                self._look(slot.id, facts)
        return bool(slots)

    def running(self, engine_id: str) -> int:
        lines = self._holder.lines(engine_id)
        return sum(line.used.seats for name, line in lines.items() if name != self._holder.me and not line.gone)

    def ours(self) -> bool:
        return self._holder.valid(self._clock.now())

    def everybody(self) -> Mapping[str, Mapping[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for slot in self._pool.slots:
            for name, line in self._holder.lines(slot.id).items():
                found.setdefault(name, {})[slot.id] = line.used.seats
        return found

    def added(self, settings: EngineSettings) -> None:
        self._note(settings.id, EngineRecord(settings))

    def drained(self, engine_id: str, *, draining: bool) -> None:
        self._note(engine_id, replace(self._records.get(engine_id, EngineRecord()), draining=draining))

    def removed(self, engine_id: str) -> None:
        self._note(engine_id, EngineRecord(draining=True, removed=True))

    def _note(self, engine_id: str, record: EngineRecord) -> None:
        if self._records.get(engine_id, EngineRecord()) != record:
            self._records[engine_id] = self.news[engine_id] = record

    # ---- what is heard

    def told(self, health: Mapping[str, Health]) -> None:
        """Another gateway has probed."""
        for engine_id, each in health.items():
            self._heard[engine_id] = self._clock.now()
            self._look(engine_id, each.facts)
            self._pool.told(engine_id, each.facts, each.detail)

    async def adopt(self, records: Mapping[str, EngineRecord]) -> None:
        """What administrators did at other gateways. An engine that still runs something here is removed later."""
        for engine_id, record in records.items():
            if self._records.get(engine_id, EngineRecord()) != record:
                self._records[engine_id] = record
                await self._apply(engine_id, record)

    async def tidy(self) -> None:
        """Remove what was removed elsewhere and is empty here by now."""
        for engine_id in [slot.id for slot in self._pool.slots]:
            record = self._records.get(engine_id)
            if record is not None and record.removed and not self._pool.scheduler.running(engine_id):
                await self._pool.remove(engine_id)

    async def _apply(self, engine_id: str, record: EngineRecord) -> None:
        try:
            here = next((slot for slot in self._pool.slots if slot.id == engine_id), None)
            if here is None and record.settings is not None and not record.removed:
                self._pool.add(self._make(record.settings))
                here = next(slot for slot in self._pool.slots if slot.id == engine_id)
            if here is not None and here.draining != record.draining:
                if record.draining:
                    self._drain(engine_id)
                else:
                    self._pool.drain(engine_id, draining=False)
            if here is not None and record.removed:
                await self.tidy()
        except (EngineInUse, EngineNotFound):
            return  # this gateway's own file names another engine so

    def _look(self, engine_id: str, facts: EngineFacts | None) -> None:
        now = self._clock.now()
        if facts is None or facts.running is None or now - self._looked.get(engine_id, -inf) < LOOK_S / 2:
            return  # two looks at one moment are one
        self._looked[engine_id] = now
        self._holder.seen(engine_id, facts.running + (facts.waiting or 0))  # what waits in the engine is to run there


def _rank(engine_id: str, gateway: str) -> bytes:
    return blake2b(f"{engine_id} {gateway}".encode(), digest_size=8).digest()
