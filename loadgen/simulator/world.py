"""The event loop of a simulation: arrivals, iterations, plans, in the order of their times.

Rules of this file: the scheduler is the gateway's own and hears exactly what a live gateway tells it; ties are broken
by the order in which events were made, so that one seed gives one run; nothing reads a clock but to time the decisions.
"""

from collections.abc import Callable
from time import perf_counter

from gateway.core.events import ReaderReport
from gateway.core.plan import Plan, Resume, Start
from gateway.errors import GatewayError
from loadgen.simulator.job import SimJob
from loadgen.simulator.serving import Serving
from loadgen.simulator.setup import Gateway, Run, Setup
from loadgen.workload import Arrivals, Request


class World(Serving):
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
        super().__init__(setup, ended)
        self._keep_plans = keep_plans
        self._arrivals = iter(workload.requests)
        self._all_arrived = False

    def run(self) -> Run:
        """Until every job has ended."""
        self._expect_next()
        if len(self._gateways) > 1:
            self.at(self._setup.staleness_s, self._share, None)
        self.pass_time()
        run = self.run_
        run.engine_s += sum(run.ended_s - engine.born_s for engine in self._engines.values() if not engine.removed)
        return run

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

    # ---- several gateways

    def _share(self, _: None) -> None:
        """What the gateways tell each other goes round, as late as the staleness says."""
        if self.idle:
            return
        self._sharing.round(self.now)
        for gateway in self._gateways:
            self._consider(gateway)
        self.at(self.now + self._setup.staleness_s, self._share, None)
