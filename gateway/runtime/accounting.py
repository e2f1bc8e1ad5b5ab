"""What a job has used and how it ended, told to the scheduler, the tenant's limits and whoever watches."""

from gateway.core.job import JobSpec
from gateway.errors import GatewayError
from gateway.runtime.instrument import Instrument, JobEnd
from gateway.runtime.pool import Pool
from gateway.runtime.stream import JobRequest, Stream


def observe(pool: Pool, stream: Stream, instrument: Instrument, now: float) -> None:
    """Charge what was produced since the last time: once a tick, not once a token."""
    usage = stream.usage
    produced = stream.produced
    job_id = stream.request.id
    prompt, cached = (None, None) if usage is None else (usage.prompt_tokens, usage.cached_tokens)
    if stream.course.resumptions:
        cached = None  # of what was sent again: nobody's prompt
    pool.scheduler.observe(
        job_id, produced, now, prompt_tokens=prompt, cached_tokens=cached, first_token_s=stream.course.ttft_s
    )
    pool.scheduler.delivered(job_id, stream.delivered * stream.units_per_token, now)
    if produced and not stream.course.open:
        pool.scheduler.cannot_resume(job_id, now)
    if produced > stream.flushed:
        instrument.tokens(pool.settings.model, produced - stream.flushed)
        stream.flushed = produced
        stream.request.meter.settle(stream.request.prompt_tokens + produced)


def leg_end(pool: Pool, stream: Stream, instrument: Instrument, now: float) -> None:
    """A leg is over: book what going on there has cost, if it went on from anywhere."""
    cost = stream.course.end_leg(stream.usage, now)
    if cost is None:
        return
    instrument.resumed(pool.settings.model, cost)
    if cost.cached_tokens is not None:
        pool.scheduler.resumed(cost.engine_id, cost.resent_tokens, cost.cached_tokens)


def job_end(stream: Stream, error: GatewayError | None, outcome: str | None, now: float) -> JobEnd:
    """The job's last record; the engine's own usage wins over what was counted here."""
    usage = stream.usage

    def since_arrival(then: float | None) -> float | None:
        return None if then is None else then - stream.arrived

    return JobEnd(
        job_id=stream.request.id,
        request_id=stream.request.request_id,
        tenant=stream.request.tenant,
        model=stream.request.model,
        outcome=outcome or (error.code if error is not None else "completed"),
        prompt_tokens=usage.prompt_tokens if usage is not None else stream.request.prompt_tokens,
        completion_tokens=(usage.completion_tokens if usage is not None else 0) or stream.produced,
        queue_s=since_arrival(stream.started_at),
        ttft_s=since_arrival(stream.first_token_at),
        total_s=now - stream.arrived,
        legs=stream.legs,
    )


def job_spec(pool: Pool, request: JobRequest) -> JobSpec:
    """The job as the scheduler hears of it."""
    return JobSpec(
        request.id,
        request.tenant,
        request.prompt_tokens,
        request.max_tokens,
        request.weight,
        request.pace,
        resumable=bool(pool.resumability(request.leg)),
    )
