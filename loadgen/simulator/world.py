"""The event loop of a simulation: arrivals, iterations, plans, in the order of their times.

Rules of this file: the scheduler is the gateway's own and hears exactly what a live gateway tells it; ties are broken
by the order in which events were made, so that one seed gives one run; nothing reads a clock but to time the decisions.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from time import perf_counter
from typing import Any

from gateway.core.events import LegEnded, ReaderReport
from gateway.core.plan import Plan, Resume, Start
from gateway.core.scheduler import Scheduler
from gateway.emulator.profiles import Profile
from gateway.errors import GatewayError
from loadgen.simulator.engine import Leg, SimEngine
from loadgen.simulator.job import SimJob
from loadgen.simulator.setup import INPUT_PRICE, OUTPUT_PRICE, Gateway, Run, Setup
from loadgen.simulator.sharing import Sharing
from loadgen.workload import Request, Workload


class World:
    """One workload on one setup. `run` once."""

    def __init__(self, workload: Workload, setup: Setup, *, keep_plans: bool = False) -> None:
        self.now = 0.0
        self.run_ = Run()
        self._setup = setup
        self._keep_plans = keep_plans
        self._requests = workload.requests
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._order = count()
        self._jobs: dict[str, SimJob] = {}
        self._legs: dict[str, Leg] = {}
        self._served: dict[str, float] = {}
        self._engines: dict[str, SimEngine] = {}
        self._gateways = [Gateway.of(number, setup) for number in range(setup.gateways)]
        self._sharing = Sharing(self._gateways, setup.lease_s)
        for number, profile in enumerate(setup.engines, start=1):
            self.add_engine(f"engine-{number}", profile)

    # ---- the clock

    def at(self, when: float, what: Callable[[Any], None], about: Any = None) -> None:
        """Let something happen then."""
        heappush(self._events, (when, next(self._order), what, about))

    def run(self) -> Run:
        """Until every job has ended."""
        if self._requests:
            self.at(self._requests[0].arrived_s, self._arrive, 0)
        if len(self._gateways) > 1:
            self.at(self._setup.staleness_s, self._share, None)
        while self._events:
            self.now, _, what, about = heappop(self._events)
            what(about)
        run = self.run_
        run.ended_s = max((job.ended_s or 0.0 for job in run.jobs), default=0.0)
        run.engine_s += sum(run.ended_s - engine.born_s for engine in self._engines.values() if not engine.removed)
        return run

    # ---- engines

    def add_engine(self, engine_id: str, profile: Profile) -> None:
        """An engine is ready from now on."""
        self._engines[engine_id] = SimEngine(engine_id, profile, born_s=self.now)
        self._offer(self._engines[engine_id])

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
                self._legs.pop(leg.job.id, None)
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

    def _offer(self, engine: SimEngine) -> None:
        self._sharing.offer(engine.id, engine.profile, self.now)
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

    def _arrive(self, index: int) -> None:
        request = self._requests[index]
        if index + 1 < len(self._requests):
            self.at(self._requests[index + 1].arrived_s, self._arrive, index + 1)
        gateway = self._gateways[index % len(self._gateways)]
        job = SimJob(request, f"j{request.index}", gateway.number)
        self.run_.jobs.append(job)
        try:
            gateway.scheduler.add(job.spec(), self.now)
        except GatewayError:
            job.outcome, job.ended_s = "rejected", self.now
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
            if (leg := self._legs.get(job.id)) is not None:
                self._sync(leg)
            self._scheduler(job).reader(job.id, ReaderReport(visible=visible), self.now)

    def _quit(self, job: SimJob) -> None:
        """The reader gives up."""
        if job.ended_s is not None:
            return
        leg = self._legs.get(job.id)
        if leg is not None:
            self._stop(leg)
        job.outcome, job.ended_s = "left", self.now
        self._scheduler(job).remove(job.id, self.now)
        del self._jobs[job.id]
        self._consider(self._gateways[job.gateway])

    def _finish(self, leg: Leg) -> None:
        self._sync(leg)
        leg.engine.close_run(leg)
        job = leg.job
        job.ended_s = self.now
        del self._legs[job.id], self._jobs[job.id]
        gateway = self._gateways[job.gateway]
        gateway.scheduler.remove(job.id, self.now, finished=True)
        gateway.scheduler.leg_ended(job.id, LegEnded(), self.now)
        self._consider(gateway)

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
            for leg in self._legs.values():
                if leg.job.gateway == gateway.number:
                    self._sync(leg)
            self.run_.sample_gap(self.now, self._served, self._gateways)
        began = perf_counter()
        plan = scheduler.plan(self.now)
        self.run_.plan_ms.append(1000 * (perf_counter() - began))
        if self._keep_plans and plan:
            self.run_.plans.append((self.now, plan))
        self._apply(plan)
        if plan.start or plan.resume:
            # Who has nothing waiting now may have again at the next plan: the meter must see that it had not between.
            self.run_.sample_gap(self.now, self._served, self._gateways)
        self._consider(gateway)

    def _apply(self, plan: Plan) -> None:
        for reject in plan.reject:
            job = self._jobs.pop(reject.job_id)
            job.outcome, job.ended_s = "rejected", self.now
        for pause in plan.pause:
            self._stop(self._legs[pause.job_id])
            self._jobs[pause.job_id].pauses += 1
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
        self._legs[job.id] = leg
        engine.begin(leg)
        self._step(engine)

    def _stop(self, leg: Leg) -> None:
        """Abort the leg: what has come counts, the rest of the present iteration is lost."""
        self._sync(leg)
        leg.engine.close_run(leg)
        leg.stopped = True
        leg.job_free_s = self.now + self._setup.tuning.settle_s
        del self._legs[leg.job.id]
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
        if not self._jobs and len(self.run_.jobs) == len(self._requests):
            return
        self._sharing.round(self.now)
        for gateway in self._gateways:
            self._consider(gateway)
        self.at(self.now + self._setup.staleness_s, self._share, None)

    def _scheduler(self, job: SimJob) -> Scheduler:
        return self._gateways[job.gateway].scheduler
