"""Prometheus metrics. Labels are models, engines and outcomes, never tenants or keys: they would leak, and be many."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from gateway.engines.base import EngineState
from gateway.observability.sampled import Sampled
from gateway.runtime.instrument import JobEnd, Resumption, ShareState

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class MetricsInstrument:
    """Counts what the runtime tells; a registry of its own, so that two gateways in one process do not meet."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        model = ["model"]
        self._queued = Counter("andante_jobs_queued", "Jobs admitted.", model, registry=registry)
        self._ended = Counter("andante_jobs_ended", "Jobs that ended.", ["model", "outcome"], registry=registry)
        self._tokens = Counter("andante_tokens_produced", "Tokens that engines produced.", model, registry=registry)
        self._prompt = Counter("andante_prompt_tokens", "Prompt tokens of ended jobs.", model, registry=registry)
        self._legs = Counter(
            "andante_legs_failed", "Engine runs that broke.", ["model", "engine", "code"], registry=registry
        )
        self._waiting = Gauge("andante_jobs_waiting", "Jobs without an engine.", model, registry=registry)
        self._running = Gauge("andante_jobs_running", "Jobs at an engine.", model, registry=registry)
        self._overloaded = Gauge("andante_pool_overloaded", "1: some have to stall.", model, registry=registry)
        self._ready = Gauge("andante_engine_ready", "1: takes work.", ["model", "engine"], registry=registry)
        self._queue_s = _seconds("andante_queue", "Arrival to the first engine.", registry)
        self._ttft_s = _seconds("andante_ttft", "Arrival to the first token.", registry)
        self._tpot_s = _seconds("andante_tpot", "Time per output token after the first.", registry)

        self._gateways = Gauge(
            "andante_pool_gateways", "Gateways that share the pool, this one too.", model, registry=registry
        )
        self._share_lag = Gauge(
            "andante_share_lag_seconds", "Since the shared store answered last.", model, registry=registry
        )
        self._demand = Gauge(
            "andante_demand_ratio", "Places that all gateways could use over those there are.", model, registry=registry
        )
        place = ["model", "engine"]
        self._lease = Gauge("andante_lease_seats", "Sequences that this gateway may run.", place, registry=registry)
        self._paused = Counter(
            "andante_legs_paused", "Engine runs stopped to go on later.", [*place, "reason"], registry=registry
        )
        self._resumed = Counter(
            "andante_legs_resumed", "Engine runs that went on after a cut.", [*place, "level"], registry=registry
        )
        self._resent = Counter("andante_resent_tokens", "Tokens sent again after a cut.", place, registry=registry)
        self._cached = Counter("andante_resent_cached_tokens", "Those still known there.", place, registry=registry)
        self._resume_ttft_s = _seconds(
            "andante_resume_ttft", "A resumed run's time to its first token.", registry, *place
        )

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)

    def sample(self, name: str, text: str, read: Callable[[], float], *, counter: bool = False) -> None:
        """One more metric without labels, read when somebody asks."""
        self._registry.register(Sampled(name, text, read, counter=counter))

    def job_queued(self, model: str) -> None:
        self._queued.labels(model).inc()

    def tokens(self, model: str, count: int) -> None:
        if count > 0:
            self._tokens.labels(model).inc(count)

    def job_ended(self, end: JobEnd) -> None:
        self._ended.labels(end.model, end.outcome).inc()
        self._prompt.labels(end.model).inc(end.prompt_tokens if end.legs else 0)
        if end.queue_s is not None:
            self._queue_s.labels(end.model).observe(end.queue_s)
        if end.ttft_s is not None:
            self._ttft_s.labels(end.model).observe(end.ttft_s)
            if end.completion_tokens > 1:
                tpot_s = (end.total_s - end.ttft_s) / (end.completion_tokens - 1)
                self._tpot_s.labels(end.model).observe(tpot_s)

    def leg_failed(self, model: str, engine_id: str, code: str, detail: str) -> None:  # noqa: ARG002 - for logs
        self._legs.labels(model, engine_id, code).inc()

    def leg_paused(self, model: str, engine_id: str, reason: str) -> None:
        self._paused.labels(model, engine_id, reason).inc()

    def resumed(self, model: str, cost: Resumption) -> None:
        self._resumed.labels(model, cost.engine_id, cost.level).inc()
        self._resent.labels(model, cost.engine_id).inc(cost.resent_tokens)
        if cost.cached_tokens is not None:
            self._cached.labels(model, cost.engine_id).inc(cost.cached_tokens)
        if cost.ttft_s is not None:
            self._resume_ttft_s.labels(model, cost.engine_id).observe(cost.ttft_s)

    def engine_changed(self, model: str, engine_id: str, state: EngineState, detail: str) -> None:  # noqa: ARG002
        self._ready.labels(model, engine_id).set(1 if state is EngineState.READY else 0)
        for counter in (self._queued, self._tokens, self._prompt):
            counter.labels(model)  # is 0 from the start: the rate of a series that begins at 1 misses its first job

    def pool_load(self, model: str, waiting: int, running: int, *, overloaded: bool) -> None:
        self._waiting.labels(model).set(waiting)
        self._running.labels(model).set(running)
        self._overloaded.labels(model).set(overloaded)

    def shared(self, model: str, state: ShareState) -> None:
        self._gateways.labels(model).set(1 + len(state.others))
        self._share_lag.labels(model).set(state.lag_s)
        self._demand.labels(model).set(state.demand)
        for engine, seats in state.held.items():
            self._lease.labels(model, engine).set(seats)


def _seconds(name: str, text: str, registry: CollectorRegistry, *labels: str) -> Histogram:
    """A histogram of times, of each model unless other labels are named."""
    return Histogram(f"{name}_seconds", text, labels or ["model"], buckets=SECONDS, registry=registry)
