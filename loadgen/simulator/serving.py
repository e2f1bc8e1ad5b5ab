"""Engines and their legs: what runs where, what it makes, and what the scheduler hears of it."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.core.events import LegEnded
from gateway.core.scheduler import Scheduler
from gateway.emulator.profiles import Profile
from loadgen.records import Outcome
from loadgen.simulator.clock import Clock
from loadgen.simulator.engine import Leg, SimEngine
from loadgen.simulator.job import SimJob
from loadgen.simulator.setup import INPUT_PRICE, OUTPUT_PRICE, Gateway, Run, Setup
from loadgen.simulator.sharing import Sharing, Traffic


class Serving(Clock):
    """The engines of a setup; who runs there is decided by whoever derives from this."""

    def __init__(self, setup: Setup, ended: Callable[[SimJob], None] | None) -> None:
        super().__init__()
        self.run_ = Run()
        self._setup = setup
        self._tell_ended = ended
        self._jobs: dict[str, SimJob] = {}
        self._served: dict[str, float] = {}
        self._engines: dict[str, SimEngine] = {}
        self._gateways = [Gateway.of(number, setup) for number in range(setup.gateways)]
        self._sharing = Sharing(self._gateways, setup.lease_s)
        self._add({f"engine-{number}": profile for number, profile in enumerate(setup.engines, start=1)})

    def _consider(self, gateway: Gateway) -> None:
        """Something has changed for this gateway."""
        raise NotImplementedError

    @property
    def traffic(self) -> Traffic:
        """What the gateways have told each other."""
        return self._sharing.traffic

    # ---- engines

    def add_engine(self, engine_id: str, profile: Profile) -> None:
        """An engine is ready from now on."""
        self._add({engine_id: profile})

    def lose_engine(self, engine_id: str) -> None:
        """The engine is gone with all that it held: its legs have failed."""
        engine = self._engines[engine_id]
        engine.removed = True
        self.run_.engine_s += self.now - engine.born_s
        self._sharing.withdraw(engine_id, self.now)
        for leg in tuple(engine.legs.values()):
            if not leg.stopped:
                self._sync(leg)
                engine.close_run(leg)
                self._gateways[leg.job.gateway].legs.pop(leg.job.id, None)
                self._scheduler(leg.job).leg_ended(leg.job.id, LegEnded(failed=True), self.now)
        for leg in engine.dying:
            self._ended(leg)
        engine.legs.clear()
        engine.dying.clear()
        for gateway in self._gateways:
            self._consider(gateway)

    def drain_engine(self, engine_id: str) -> None:
        """The engine gets nothing new; it is gone when what runs there has ended."""
        engine = self._engines[engine_id]
        engine.removed = True
        self._sharing.withdraw(engine_id, self.now)

    def _add(self, engines: Mapping[str, Profile]) -> None:
        self._engines |= {name: SimEngine(name, profile, born_s=self.now) for name, profile in engines.items()}
        self._sharing.offer(engines, self.now)
        for gateway in self._gateways:
            self._consider(gateway)

    def _step(self, engine: SimEngine) -> None:
        """Begin the engine's next iteration, if there is work."""
        if engine.busy_until is not None or (engine.removed and not engine.legs):
            return
        step = engine.model.step()
        if step is None:
            return
        engine.busy_until = self.now + step.duration_s
        self.at(engine.busy_until, self._stepped, (engine, step))

    def _stepped(self, about: tuple[SimEngine, Any]) -> None:
        engine, step = about
        engine.busy_until = None
        if engine.removed and not engine.legs and not engine.dying:
            return
        iteration = len(engine.ends)
        engine.ends.append(self.now)
        legs = engine.legs
        for seq_id in step.preempted:
            if (leg := legs.get(seq_id)) is not None and not leg.stopped:
                engine.close_run(leg, iteration)
        for seq_id in step.started:
            if (leg := legs.get(seq_id)) is not None and not leg.stopped:
                leg.first = iteration
                self._sync(leg)  # a live gateway sees the first token at once, the rest at its next round of accounts
        for seq_id in step.finished:
            if (leg := legs.pop(seq_id, None)) is not None and not leg.stopped:
                self._finish(leg)
        if engine.dying:
            dying, engine.dying = engine.dying, []
            for leg in dying:
                engine.drop(leg)
                self.at(max(self.now, leg.job_free_s), self._ended, leg)
        self._step(engine)

    # ---- legs

    def _begin(self, job: SimJob, engine: SimEngine) -> None:
        job.legs += 1
        request = job.request
        if job.started_s is None:
            job.started_s = self.now
            self._served[request.client] = (
                self._served.get(request.client, 0.0) + INPUT_PRICE * request.input_tokens / request.weight
            )
        job.engine_id = engine.id
        leg = Leg(job, engine, f"{job.id}-{job.legs}", job.legs, base=job.produced)
        self._gateways[job.gateway].legs[job.id] = leg
        engine.begin(leg)
        self._step(engine)

    def _stop(self, leg: Leg) -> None:
        """Abort the leg: what has come counts, the rest of the present iteration is lost."""
        self._sync(leg)
        leg.engine.close_run(leg)
        leg.stopped = True
        leg.job_free_s = self.now + self._setup.tuning.settle_s
        del self._gateways[leg.job.gateway].legs[leg.job.id]
        engine = leg.engine
        if engine.busy_until is None:
            engine.drop(leg)
            self.at(leg.job_free_s, self._ended, leg)
        else:
            engine.dying.append(leg)

    def _ended(self, leg: Leg) -> None:
        """The engine has let the leg go."""
        gateway = self._gateways[leg.job.gateway]
        gateway.scheduler.leg_ended(leg.job.id, LegEnded(), self.now)
        self._consider(gateway)

    def _finish(self, leg: Leg) -> None:
        self._sync(leg)
        leg.engine.close_run(leg)
        job = leg.job
        gateway = self._gateways[job.gateway]
        del gateway.legs[job.id], self._jobs[job.id]
        self._over(job, "finished")
        gateway.scheduler.remove(job.id, self.now, finished=True)
        gateway.scheduler.leg_ended(job.id, LegEnded(), self.now)
        self._consider(gateway)

    def _over(self, job: SimJob, outcome: Outcome) -> None:
        job.outcome, job.ended_s = outcome, self.now
        self.run_.ended_s = self.now
        if self._tell_ended is not None:
            self._tell_ended(job)

    def _sync(self, leg: Leg) -> None:
        """Tell the scheduler what the leg has produced."""
        job = leg.job
        total = leg.base + leg.made()
        made = total - job.produced
        if made:
            job.produced = total
            self._served[job.request.client] += OUTPUT_PRICE * made / job.request.weight
            scheduler = self._gateways[job.gateway].scheduler
            scheduler.observe(job.id, total, self.now)
            scheduler.delivered(job.id, total, self.now)

    def _scheduler(self, job: SimJob) -> Scheduler:
        return self._gateways[job.gateway].scheduler
