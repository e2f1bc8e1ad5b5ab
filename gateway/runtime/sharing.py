"""One pool shared with other gateways: what it may use of the engines, and what each tells the others.

Rules of this file:

1. There is one exchange at a time, and at most one in 50 ms; charges alone wait 100 ms. It is made when there is
   something to tell (charges, a part to give or to take, a probe's findings, an administrator's change), when another
   gateway gave, took or lacks something, and a few times in a lease's time in any case. Who is alone and holds
   everything only keeps its lease, and its charges go with that.
2. An exchange whose answer did not come may have been done. What it told is sent again as it was, until an answer
   comes; the store knows by its number whether it has it. What happens meanwhile waits.
3. Who misses a message, is new, or finds a new epoch reads all sums; what they hold already is not merged again. Until
   then it tells nothing new: it would tell whole counters without what it has not heard.
"""

import asyncio
from dataclasses import replace
from typing import Final

from gateway.clock import Clock
from gateway.core.leases import Holder
from gateway.core.shares import Line, next_held, turns
from gateway.errors import Unavailable
from gateway.runtime.instrument import Instrument, ShareState
from gateway.runtime.pool import Pool
from gateway.runtime.registry import LOOK_S, Registry
from gateway.stores.share import Message, ShareStore

FLUSH_S: Final = 0.05
CHARGES_S: Final = 0.1  # charges alone wait so long: accounts are settled as often
REPORT_S: Final = 0.5
_BEATS: Final = 4  # exchanges in a lease's time, whatever happens


class Sharing:
    """`run` and `mourn` until the process ends, `leave` after that."""

    def __init__(
        self, holder: Holder, pool: Pool, store: ShareStore, registry: Registry, clock: Clock, instrument: Instrument
    ) -> None:
        self.holder = holder
        self.pool = pool
        self.address = ""  # where this gateway answers the others
        self._store = store
        self._registry = registry
        self._clock = clock
        self._instrument = instrument
        self._poked = asyncio.Event()
        self._number = 0
        self._unsure: Message | None = None  # told, and not acknowledged
        self._waiting: list[Message] = []  # heard, not merged yet
        self._numbers: dict[str, int] = {}
        self._joined = 0  # the ledger's number of our arrival
        self._must_read = True
        self._must_seed = False
        self._left = False
        self._floor: float | None = None
        self._exchanged_at = clock.now() - holder.ttl_s
        self._answered_at = clock.now()
        self._reported_at = clock.now() - REPORT_S
        store.hear(holder.me, self._hear, self._poked.set)
        pool.share_with(registry)

    def state(self) -> ShareState:
        """How it stands."""
        held = {slot.id: self.holder.held(slot.id, self._clock.now()) for slot in self.pool.slots}
        lines = {slot.id: self.holder.lines(slot.id) for slot in self.pool.slots}
        return ShareState(
            gateway=self.holder.me,
            others=tuple(self.holder.others),
            settled=self.holder.settled,
            lag_s=self._clock.now() - self._answered_at,
            held={name: amount.seats for name, amount in held.items()},
            running={n: {who: line.used.seats for who, line in each.items()} for n, each in lines.items()},
            demand=self._demand(),
        )

    # ---- life

    async def run(self) -> None:
        """Exchange for ever."""
        loop = asyncio.get_running_loop()
        while not self._left:
            began = self._clock.now()
            try:
                await self._step(began)
            except Exception as error:  # noqa: BLE001 - the task's edge: one bad round must not be the last
                loop.call_exception_handler({"message": "a round of sharing failed", "exception": error})
            await asyncio.sleep(max(0.001, FLUSH_S - (self._clock.now() - began)))

    async def mourn(self) -> None:
        """Look often, for ever, whether what gone gateways have left at the engines has ended."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self._look()

    async def _look(self) -> None:
        if await self._registry.look():
            self._poked.set()

    async def _step(self, now: float) -> None:
        if self._store.available:  # else nothing is given back that nobody could take
            if self._has_news(now):
                await self._round(now)
            await self._merge()
        self._hold()
        if now - self._reported_at >= REPORT_S:
            self._reported_at = now
            self._instrument.shared(self.pool.settings.model, self.state())

    async def leave(self) -> None:
        """Give everything back: nothing runs here any more."""
        self._left = True
        request = self.holder.request(self._clock.now(), {}, leaves=True)
        try:
            await self._store.exchange(request, self._message())
        except Unavailable:
            return  # the others will find out

    def _hold(self) -> None:
        """Use what the leases allow now."""
        now = self._clock.now()
        self.pool.hold({slot.id: self.holder.part(slot.id, now) for slot in self.pool.slots})

    # ---- an exchange

    async def _round(self, now: float) -> None:
        self._poked.clear()
        self._exchanged_at = now
        epoch = self.holder.epoch
        request = self.holder.request(now, self._lines(), address=self.address)
        message = self._message()
        self._hold()  # what is given back is not used from here on
        try:
            reply = await self._store.exchange(request, message)
        except Unavailable:
            return
        if not self.holder.answered(request, reply, self._clock.now()):
            return
        self._unsure = None
        self._answered_at = self._clock.now()
        self.pool.scheduler.counters.begin_era(reply.era)
        if epoch != reply.epoch:
            self._must_read, self._must_seed = True, bool(epoch)
        if self._joined != (joined := reply.members[self.holder.me].joined):
            self._joined, self._must_read = joined, True  # nothing was sent to who was not in the ledger
        for source in self._numbers.keys() - self.holder.others.keys():
            del self._numbers[source]
            self.pool.scheduler.counters.lost(source)

    def _message(self) -> Message | None:
        """What there is to tell: first of all again what nobody has acknowledged."""
        if self._unsure is not None or self._must_read:
            return self._unsure
        delta = self.pool.scheduler.counters.take_delta()
        health, self._registry.health = self._registry.health, {}
        news, self._registry.news = self._registry.news, {}
        message = Message(self.holder.me, self._number + 1, delta, health, news)
        if message.empty and delta.floor == self._floor:
            return None
        self._number += 1
        self._floor = delta.floor
        self._unsure = message
        return message

    def _has_news(self, now: float) -> bool:
        if self._poked.is_set() or now - self._exchanged_at >= self.holder.ttl_s / _BEATS:
            return True
        if self._registry.health or self._registry.news:
            return True
        if self._has_everything(now):
            return False  # and nobody waits to hear of charges
        due = now - self._exchanged_at >= CHARGES_S
        return (due and self.pool.scheduler.counters.has_delta()) or self._wants_to_move(now)

    def _has_everything(self, now: float) -> bool:
        """Whether this gateway is alone, with all of every engine."""
        if self.holder.others:
            return False
        return all(
            self.holder.held(name, now) == (whole.max_running, whole.kv_tokens or 0)
            for name, whole in self.pool.wholes().items()
        )

    def _wants_to_move(self, now: float) -> bool:
        """Whether a part of an engine should be given or taken."""
        if not self.holder.settled:
            return False
        me = self.holder.me
        mine = self._lines()
        turn = turns(mine)
        for engine_id, line in mine.items():
            held = self.holder.held(engine_id, now)
            lines = {**self.holder.lines(engine_id), me: replace(line, held=held)}
            if next_held(me, lines, turn[engine_id]) != held:
                return True
        return False

    def _lines(self) -> dict[str, Line]:
        return self.pool.scheduler.lines(self.pool.wholes())

    def _demand(self) -> float:
        """What all gateways together could use now, over what the engines have: above 1 the pool is short of places."""
        lines = [line for slot in self.pool.slots for line in self.holder.lines(slot.id).values() if not line.gone]
        wanted = sum(line.want.seats for line in lines)
        return wanted / max(1, sum(whole.max_running for whole in self.pool.wholes().values()))

    # ---- what is heard

    def _hear(self, message: Message) -> None:
        self._waiting.append(message)

    async def _merge(self) -> None:
        """Take in what was heard, in its order; read the sums where something is missing."""
        waiting, self._waiting = self._waiting, []
        known = dict(self._numbers)
        for message in waiting:
            last = known.get(message.source, 0)
            self._must_read = self._must_read or message.number > last + 1
            known[message.source] = max(last, message.number)
        if self._must_read and self._unsure is None and self.holder.epoch:
            try:
                await self._read()
            except Unavailable:
                self._waiting = [*waiting, *self._waiting][-1000:]
                return
            waiting, self._waiting = [*waiting, *self._waiting], []
        for message in waiting:
            if message.number > self._numbers.get(message.source, 0):
                self._numbers[message.source] = message.number
                self.pool.scheduler.counters.merge(message.source, message.delta)
            self._registry.told(message.health)
            await self._registry.adopt(message.engines)
        await self._registry.tidy()

    async def _read(self) -> None:
        """Correct the counters to the sums: what is missing here is merged, whoever it came from."""
        if self._must_seed:
            await self._store.seed(self.pool.scheduler.counters.snapshot())
            self._must_seed = False
        sums = await self._store.sums()
        self.pool.scheduler.counters.correct(sums.totals)
        for name, number in sums.numbers.items():
            if name != self.holder.me:  # all others: a newcomer may be in the sums before the ledger has told of it
                self._numbers[name] = max(number, self._numbers.get(name, 0))
        self._must_read = False
        await self._registry.adopt(sums.engines)
