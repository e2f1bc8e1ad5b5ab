"""How much an engine can take, how much of it is taken, and how fast it is.

The gateway keeps an engine's own queue empty: it never has more jobs there than `max_running`, nor more tokens than
the watermark of its KV memory.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from gateway.core.job import Job
from gateway.core.latency import IterationModel, LatencyFit
from gateway.core.resumes import ResumeCost

BLOCK_TOKENS: Final = 16
WATERMARK: Final = 0.9
_ITERATIONS: Final = 8  # in a span that the fit learns from
_PATIENCE_S: Final = 2.0  # a slow engine's span has fewer
_MEMORY: Final = 100  # spans until one counts little
_NEWEST: Final = 0.05  # weight of the last span's prompts
GRAIN_S: Final = 0.045  # shortest span over which tokens are counted: below, an iteration more or less is all there is


@dataclass(frozen=True, slots=True)
class EngineCapacity:
    """An engine as the scheduler sees it.

    `max_running` in sequences; `kv_tokens` is the KV memory in tokens, None when nobody knows it; an engine that is
    not `ready` gets no new work (its running legs go on). `model`: what is believed of its speed before it is seen.
    Where several gateways share the engine, the numbers are this one's part and `fraction` says how much of the engine
    that is; `whole_tokens` is all of the memory, `most_tokens` what the legs here may grow to: what the others leave.
    """

    max_running: int
    kv_tokens: int | None = None
    ready: bool = True
    model: IterationModel | None = None
    whole_tokens: int | None = None
    most_tokens: int | None = None
    fraction: float = 1.0

    def shared(self, seats: int, tokens: int, most: int, fraction: float) -> "EngineCapacity":
        """A part of the engine."""
        whole = self.kv_tokens
        part = None if whole is None else min(tokens, whole)
        return EngineCapacity(min(seats, self.max_running), part, self.ready, self.model, whole, most, fraction)


class Outlook(NamedTuple):
    """What a job can expect of an engine: tokens per second, seconds to the first token besides those for each token to
    compute, and the factor by which a resume differs from a start."""

    speed: float
    first_s: float
    per_token_s: float
    resume_factor: float

    def start_s(self, tokens: int) -> float:
        """Seconds from a start to the first token, for so many tokens to compute."""
        return self.first_s + self.per_token_s * tokens

    def resume_s(self, tokens: int) -> float:
        """The same for a resume, as they have lately taken there."""
        return self.resume_factor * self.start_s(tokens)


@dataclass(slots=True, eq=False)
class EngineLoad:
    """What runs on one engine: its legs (one that is being stopped still counts) and the tokens held for them."""

    id: str
    capacity: EngineCapacity
    prior: IterationModel
    legs: dict[str, Job] = field(default_factory=dict)
    tokens: int = 0
    stopping: set[str] = field(default_factory=set)
    stopping_tokens: int = 0
    decoding: int = 0
    model: IterationModel = field(init=False)
    _latency: LatencyFit = field(init=False)
    _made: int = 0  # tokens after each leg's first ones, and seconds of those legs' time that they took
    _made_s: float = 0.0
    _prefilled: int = 0
    _prompts: float = 0.0  # prompt tokens in an iteration, lately: those who decode wait for them too
    _since: float | None = None
    _iteration_s: float | None = None  # of the present batch, once somebody has asked
    resumes: ResumeCost = field(default_factory=ResumeCost)
    share: float = field(init=False, default=0.0)
    """How full the engine is, 0 (idle) to 1: the larger of its two measures. Kept up to date, because placing a job
    looks at it at every engine."""

    def __post_init__(self) -> None:
        self.model = self.capacity.model or self.prior
        self._latency = LatencyFit(self.model, memory=_MEMORY, every=1)

    # ---- room

    def resize(self, capacity: EngineCapacity) -> None:
        """The engine, or this gateway's part of it, has changed."""
        self.capacity = capacity
        self._weigh()

    @property
    def running(self) -> int:
        return len(self.legs)

    @property
    def crowd(self) -> float:
        """How many sequences run at the engine, those of other gateways taken to be as many for their parts."""
        return len(self.legs) / (self.capacity.fraction or 1.0)

    @property
    def free_seats(self) -> int:
        """How many more legs its batch has room for, whatever they need."""
        return max(0, self.capacity.max_running - len(self.legs)) if self.capacity.ready else 0

    def fits(self, tokens: int) -> bool:
        """Whether one more leg with this many tokens has room.

        A job that is larger than the watermark of an idle engine still runs there, alone: refusing it for ever would
        starve it. A part of an engine must hold the whole job.
        """
        capacity = self.capacity
        if not capacity.ready or len(self.legs) >= capacity.max_running:
            return False
        if capacity.kv_tokens is None or self.tokens + tokens <= WATERMARK * capacity.kv_tokens:
            return True
        return not self.legs and capacity.kv_tokens >= min(tokens, capacity.whole_tokens or capacity.kv_tokens)

    @property
    def excess(self) -> int:
        """Tokens by which the legs here, without those that stop, have outgrown the memory that they may use."""
        capacity = self.capacity
        limit = capacity.kv_tokens if capacity.most_tokens is None else capacity.most_tokens
        return max(0, self.tokens - self.stopping_tokens - limit) if limit else 0

    def take(self, job: Job, tokens: int, now: float) -> None:
        """A leg of this job begins and holds so many tokens."""
        job.engine_id = job.home = self.id
        job.reserved = tokens
        job.leg_base = job.produced
        job.asked_at = now
        self.legs[job.spec.id] = job
        self.tokens += tokens
        self._weigh()

    def grow(self, job: Job, tokens: int) -> None:
        """The leg holds so many tokens more."""
        job.reserved += tokens
        self.tokens += tokens
        self._weigh()
        if job.spec.id in self.stopping:
            self.stopping_tokens += tokens

    def stop(self, job: Job) -> None:
        """The leg is told to stop, or its job is gone: its room will be free soon."""
        if job.spec.id not in self.stopping:
            self.stopping.add(job.spec.id)
            self.stopping_tokens += job.reserved

    def keep(self, job: Job) -> None:
        """The leg is not stopped after all."""
        if job.spec.id in self.stopping:
            self.stopping.remove(job.spec.id)
            self.stopping_tokens -= job.reserved

    def free(self, job: Job) -> None:
        """The leg is over."""
        name = job.spec.id
        del self.legs[name]
        self.tokens -= job.reserved
        self.keep(job)
        if job.produced > job.leg_base:
            self.decoding -= 1
        job.engine_id = None
        job.reserved = 0
        self._weigh()

    def _weigh(self) -> None:
        by_jobs = len(self.legs) / max(1, self.capacity.max_running)
        by_tokens = self.tokens / self.capacity.kv_tokens if self.capacity.kv_tokens else 0.0
        self.share = max(by_jobs, by_tokens)
        self._iteration_s = None

    # ---- speed

    def produced(self, job: Job, made: int, now: float, first_token_s: float | None = None) -> None:
        """A leg has produced so many tokens more; call before `job.produced` is raised.

        `first_token_s`: how long its first one took, where that was measured; else it came just now.
        """
        if job.produced > job.leg_base:
            self._made += made
            self._made_s += now - job.heard_at
        job.heard_at = now
        if job.produced == job.leg_base:
            self.decoding += 1
            self._prefilled += job.context_tokens
            if job.leg_base:
                took_s = now - job.asked_at if first_token_s is None else first_token_s
                self.resumes.took(took_s, self.first_token_s(job.context_tokens))

    def measure(self, now: float) -> None:
        """Learn the speed from what was produced since the last call.

        Each leg's tokens count over the time since that leg was last heard of: legs are heard of in rounds that have
        nothing to do with when this is called, so that the time between two calls would say something else. Prompts are
        known to be computed only when it is over, so that a span of few iterations would pair them with others' times,
        and they would seem to cost next to nothing.
        """
        if self._since is None:
            self._since = now
            return
        span = now - self._since
        if span < GRAIN_S or (self._made < _ITERATIONS * self.decoding and span < _PATIENCE_S):
            return
        if self._made:
            iteration_s = self._made_s / self._made
            prefilled = self._prefilled * iteration_s / span
            self._latency.observe(iteration_s, len(self.legs), self.tokens, prefilled)
            self._prompts += _NEWEST * (prefilled - self._prompts)
            model = self._latency.model
            self.model = replace(model, base_s=model.base_s + model.prefill_s(self._prompts))
            self._iteration_s = None
        elif self.decoding:
            return  # they are at work, and have not been heard of yet
        self._since, self._made, self._made_s, self._prefilled = now, 0, 0.0, 0

    def iteration_s(self) -> float:
        """Seconds of an iteration of the present batch."""
        if self._iteration_s is None:
            self._iteration_s = self.model.iteration_s(len(self.legs), self.tokens)
        return self._iteration_s

    def outlook(self) -> Outlook:
        """What a job can expect here, at the speed of a full batch of the present mean context."""
        batch = max(1, self.capacity.max_running)
        speed = self.model.speed(batch, self.tokens / max(1, len(self.legs)) * batch)
        return Outlook(speed, 2 * self.iteration_s(), self.model.per_prefill_token_s, self.resumes.factor)

    def potential(self) -> float:
        """Tokens per second of all its places together, as far as its memory has room for contexts like the present."""
        batch = max(1, self.capacity.max_running)
        mean = self.tokens / max(1, len(self.legs))
        if self.capacity.kv_tokens is not None and mean:
            batch = max(1, min(batch, int(WATERMARK * self.capacity.kv_tokens / mean)))
        return self.model.speed(batch, mean * batch) * batch

    def first_token_s(self, tokens: int) -> float:
        """Seconds from a start to the first token, for so many tokens to compute."""
        return 2 * self.iteration_s() + self.model.prefill_s(tokens)

    def resume_s(self, context_tokens: int) -> float:
        """Seconds from a resume to the first new token, as resumes here have lately taken: what the engine's prefix
        cache spares is in the measured factor."""
        return self.resumes.factor * self.first_token_s(context_tokens)

    def recompute_s(self, context_tokens: int) -> float:
        """Seconds of the engine's time that a pause costs: what is computed again, and a place that waits idle besides,
        twice, while its next holder begins, and while the victim does.

        Without the second part a warm cache would make pauses free, and a contended pool would do little else.
        """
        computed_s = self.model.prefill_s(self.resumes.computed * context_tokens)
        idle_s = max(0.0, self.resume_s(context_tokens) - computed_s)
        return computed_s + 2 * idle_s / max(2.0, self.crowd)


Fits = Callable[[EngineLoad, Job, int], bool]
"""Whether a leg of this job, which sets aside so many tokens, has room on the engine."""


def by_watermark(load: EngineLoad, _job: Job, tokens: int) -> bool:
    """What a gateway can know: `EngineLoad.fits`."""
    return load.fits(tokens)


def tokens_to_reserve(context_tokens: int, prompt_tokens: int, max_tokens: int | None, assumed_output: int) -> int:
    """Tokens to set aside when a leg starts.

    At least the present context and one block; at most what the job can reach. The answer's length is unknown, so
    `assumed_output` stands for it where the client's limit is larger or missing: an engine whose memory runs out in
    the middle would queue or preempt by itself.
    """
    output = assumed_output if max_tokens is None else min(max_tokens, assumed_output)
    return max(context_tokens + BLOCK_TOKENS, prompt_tokens + output)
