"""The event loop of a simulation: arrivals, iterations, plans, in the order of their times.

Rules of this file: the scheduler is the gateway's own and hears exactly what a live gateway tells it; ties are broken
by the order in which events were made, so that one seed gives one run; nothing reads a clock but to time the decisions.
"""

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from gateway.core.events import LegEnded, ReaderReport
from gateway.core.plan import Plan, Resume, Start
from gateway.core.scheduler import Scheduler
from gateway.emulator.profiles import Profile
from gateway.errors import GatewayError
from loadgen.records import Outcome
from loadgen.simulator.clock import Clock
from loadgen.simulator.engine import Leg, SimEngine
from loadgen.simulator.job import SimJob
from loadgen.simulator.setup import INPUT_PRICE, OUTPUT_PRICE, Gateway, Run, Setup
from loadgen.simulator.sharing import Sharing, Traffic
from loadgen.workload import Arrivals, Request


class World(Clock):
    """One workload on one setup. `run` once.

    Jobs are kept in `Run.jobs`, or, where there is an `ended`, given to that when they end and forgotten.
    """

    def __init__(
        self,
        workload: Arrivals,
        setup: Setup,
        *,
        keep_plans: bool = False,
        ended: Callable[[SimJob], None] | None = None,
    ) -> None:
        super().__init__()
        self.run_ = Run()
        self._setup = setup
        self._keep_plans = keep_plans
        self._arrivals = iter(workload.requests)
        self._all_arrived = False
        self._tell_ended = ended
        self._jobs: dict[str, SimJob] = {}
        self._served: dict[str, float] = {}
        self._engines: dict[str, SimEngine] = {}
        self._gateways = [Gateway.of(number, setup) for number in range(setup.gateways)]
        self._sharing = Sharing(self._gateways, setup.lease_s)
        self._add({f"engine-{number}": profile for number, profile in enumerate(setup.engines, start=1)})

    def run(self) -> Run:
        """Until every job has ended."""
        self._expect_next()
        if len(self._gateways) > 1:
            self.at(self._setup.staleness_s, self._share, None)
        self.pass_time()
        run = self.run_
        run.engine_s += sum(run.ended_s - engine.born_s for engine in self._engines.values() if not engine.removed)
        return run

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

    # ---- jobs

    @property
    def idle(self) -> bool:
        """Whether nobody is here and nobody will come."""
        return self._all_arrived and not self._jobs

    def _expect_next(self) -> None:
        request = next(self._arrivals, None)
        if request is None:
            self._all_arrived = True
        else:
            self.at(request.arrived_s, self._arrive, request)

    def _arrive(self, request: Request) -> None:
        self._expect_next()
        gateway = self._gateways[request.index % len(self._gateways)]
        job = SimJob(request, f"j{request.index}", gateway.number)
        if self._tell_ended is None:
            self.run_.jobs.append(job)
        try:
            gateway.scheduler.add(job.spec(), self.now)
        except GatewayError:
            self._over(job, "rejected")
            return
        self._jobs[job.id] = job
        self._expect_reader(job, request)
        self._consider(gateway)

    def _expect_reader(self, job: SimJob, request: Request) -> None:
        reader = request.reader
        for left, back in reader.absent:
            self.at(request.arrived_s + left, self._look, (job, False))
            if back != float("inf"):
                self.at(request.arrived_s + back, self._look, (job, True))
        if reader.leaves_after_s is not None:
            self.at(request.arrived_s + reader.leaves_after_s, self._quit, job)

    def _look(self, about: tuple[SimJob, bool]) -> None:
        job, visible = about
        if job.ended_s is None:
            if (leg := self._gateways[job.gateway].legs.get(job.id)) is not None:
                self._sync(leg)
            self._scheduler(job).reader(job.id, ReaderReport(visible=visible), self.now)

    def _quit(self, job: SimJob) -> None:
        """The reader gives up."""
        if job.ended_s is not None:
            return
        gateway = self._gateways[job.gateway]
        leg = gateway.legs.get(job.id)
        if leg is not None:
            self._stop(leg)
        gateway.scheduler.remove(job.id, self.now)
        del self._jobs[job.id]
        self._over(job, "left")
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

    # ---- plans

    def _consider(self, gateway: Gateway) -> None:
        at = gateway.scheduler.plan_at
        if at is None or at == float("inf"):
            return
        at = max(at, self.now)
        if gateway.next_plan is None or at < gateway.next_plan:
            gateway.next_plan = at
            self.at(at, self._plan, gateway)

    def _plan(self, gateway: Gateway) -> None:
        if gateway.next_plan != self.now:
            return  # an earlier plan has been made instead
        gateway.next_plan = None
        scheduler = gateway.scheduler
        if scheduler.waiting:
            if self.now - gateway.settled_at >= self._setup.accounts_s:
                gateway.settled_at = self.now
                for leg in gateway.legs.values():
                    self._sync(leg)
            self._sample_gap(gateway)
        began = perf_counter()
        plan = scheduler.plan(self.now)
        self.run_.plan_ms.append(1000 * (perf_counter() - began))
        if self._keep_plans and plan:
            self.run_.plans.append((self.now, plan))
        self._apply(plan)
        if plan.start or plan.resume:
            # Who has nothing waiting now may have again at the next plan: the meter must see that it had not between.
            self._sample_gap(gateway)
        self._consider(gateway)

    def _sample_gap(self, gateway: Gateway) -> None:
        gateway.backlogged = gateway.scheduler.backlogged()
        self.run_.sample_gap(self.now, self._served, self._gateways, self._setup.gap_every_s)

    def _apply(self, plan: Plan) -> None:
        for reject in plan.reject:
            self._over(self._jobs.pop(reject.job_id), "rejected")
        for pause in plan.pause:
            job = self._jobs[pause.job_id]
            self._stop(self._gateways[job.gateway].legs[job.id])
            job.pauses += 1
        moves: tuple[Start | Resume, ...] = (*plan.start, *plan.resume)
        for move in moves:
            self._begin(self._jobs[move.job_id], self._engines[move.engine_id])

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

    # ---- several gateways

    def _share(self, _: None) -> None:
        """What the gateways tell each other goes round, as late as the staleness says."""
        if self.idle:
            return
        self._sharing.round(self.now)
        for gateway in self._gateways:
            self._consider(gateway)
        self.at(self.now + self._setup.staleness_s, self._share, None)

    def _scheduler(self, job: SimJob) -> Scheduler:
        return self._gateways[job.gateway].scheduler
