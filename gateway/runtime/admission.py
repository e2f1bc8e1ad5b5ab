"""From a validated request to a queued job: does it fit the model, may the key, is there room to wait."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.clock import Clock
from gateway.core.limits import Reservation
from gateway.core.pace import Pace, PaceSpec, pace_from_spec
from gateway.engines.base import Endpoint, LegRequest
from gateway.errors import ContextTooLong, InvalidRequest, ModelNotAllowed
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.pool import Pool
from gateway.runtime.sizing import PromptSize, longest_ids, measure
from gateway.runtime.stream import JobRequest, Stream
from gateway.stores.base import ApiKey, LimitStore

# The gateway's own field, and those by which a client could reach other clients' jobs at a shared engine.
WITHHELD: Final = frozenset(
    {
        "pace",
        "priority",
        "cache_salt",
        "kv_transfer_params",
        "input_ids",
        "custom_logit_processor",
        "request_id",
        "rid",
        "stream_interval",
    }
)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as the API has validated it; `body` is the client's own JSON object."""

    request_id: str
    endpoint: Endpoint
    model: str
    body: Mapping[str, Any]
    stream: bool
    include_usage: bool
    token_limit: int | None
    choices: int
    pace: PaceSpec | None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A job, and what its key has left (header names and values)."""

    stream: Stream
    limit_headers: Mapping[str, str]


class LimitMeter:
    """A job's reservation, settled as its tokens come."""

    def __init__(self, limits: LimitStore, reservation: Reservation, clock: Clock) -> None:
        self._limits = limits
        self._reservation = reservation
        self._clock = clock

    def settle(self, total_tokens: int) -> None:
        self._limits.settle(self._reservation, total_tokens, now=self._clock.now())

    def release(self, total_tokens: int) -> None:
        self._limits.release(self._reservation, total_tokens, now=self._clock.now())


class Admission:
    """The door: everything that can be said about a request before it waits."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        limits: LimitStore,
        clock: Clock,
        *,
        default_paces: Mapping[str, Pace],
        max_messages: int,
    ) -> None:
        self._dispatcher = dispatcher
        self._limits = limits
        self._clock = clock
        self._default_paces = default_paces
        self._max_messages = max_messages

    async def admit(self, key: ApiKey, ask: Ask) -> Admitted:
        """Queue the job, or raise what is wrong; a refused request leaves nothing behind."""
        if not key.allows(ask.model):
            raise ModelNotAllowed("This key may not use this model.", param="model")
        pool = self._dispatcher.pool(ask.model)
        pace = self._pace(key, ask)
        size = measure(ask.endpoint, ask.body)
        if size.messages > self._max_messages:
            raise InvalidRequest(f"More than {self._max_messages} messages.", param="messages")
        exact = await self._fit(pool, ask, size)
        prompt_tokens = exact if exact is not None else pool.ratio.estimate(size)
        reservation = await self._reserve(key, ask, prompt_tokens, pool.settings.assumed_output_tokens)
        meter = LimitMeter(self._limits, reservation, self._clock)
        request = JobRequest(
            leg=self._leg(ask),
            request_id=ask.request_id,
            tenant=key.tenant,
            weight=key.weight,
            model=ask.model,
            size=size,
            prompt_tokens=prompt_tokens,
            max_tokens=None if ask.token_limit is None else ask.token_limit * ask.choices,
            pace=pace,
            meter=meter,
            reservation=reservation,
        )
        try:
            stream = self._dispatcher.submit(request)
        except Exception:
            # Refused by us and for our own reasons: the key has not used its request.
            self._limits.cancel(reservation, now=self._clock.now())
            raise
        return Admitted(stream, reservation.state.headers())

    def take_over(self, request: JobRequest) -> JobRequest:
        """A job that another gateway had admitted: its tokens are settled here from now on."""
        assert request.reservation is not None  # it was admitted
        reservation = self._limits.take_over(request.reservation, now=self._clock.now())
        return replace(request, meter=LimitMeter(self._limits, reservation, self._clock), reservation=reservation)

    def leave(self, request: JobRequest) -> None:
        """A job that another gateway has taken over: its tokens are settled there."""
        if request.reservation is not None:
            self._limits.leave(request.reservation, now=self._clock.now())

    def _pace(self, key: ApiKey, ask: Ask) -> Pace:
        spec = ask.pace if ask.pace is not None else key.pace
        return self._default_paces[ask.model] if spec is None else pace_from_spec(spec)

    async def _fit(self, pool: Pool, ask: Ask, size: PromptSize) -> int | None:
        """Check the request against the model's context; the prompt's exact tokens if they had to be counted."""
        context = pool.context_tokens
        wanted = ask.token_limit or 1
        if context is None or size.most_tokens + wanted <= context:
            return None
        exact: int | None = size.token_ids
        longest: int | None
        if exact and not size.text_bytes:
            longest = longest_ids(ask.body)
        elif size.opaque or isinstance(ask.body.get("prompt"), list):
            return None  # pictures, or several texts, each with the whole context: the engine decides
        else:
            exact = longest = await pool.tokenize(ask.endpoint, ask.body)
        if longest is not None and longest + wanted > context:
            raise ContextTooLong(
                f"This model's maximum context length is {context} tokens. However, the request asks for "
                f"{longest + wanted} tokens ({longest} in the prompt, {wanted} for the answer).",
                param="messages" if ask.endpoint is Endpoint.CHAT else "prompt",
            )
        return exact

    async def _reserve(self, key: ApiKey, ask: Ask, prompt_tokens: int, assumed_output: int) -> Reservation:
        if ask.token_limit is not None:
            tokens = prompt_tokens + ask.token_limit * ask.choices
        else:
            # Without a limit of the client's the answer's length is a guess, and a guess alone refuses nobody.
            tokens = prompt_tokens + assumed_output * ask.choices
            if key.limits.tokens_per_minute is not None:
                tokens = max(prompt_tokens + 1, min(tokens, key.limits.tokens_per_minute))
        return await self._limits.reserve(key.id, key.limits, tokens, now=self._clock.now())

    def _leg(self, ask: Ask) -> LegRequest:
        body = {name: value for name, value in ask.body.items() if name not in WITHHELD}
        return LegRequest(
            id=uuid.uuid4().hex,
            endpoint=ask.endpoint,
            body=body,
            stream=ask.stream,
            include_usage=ask.include_usage,
            include_token_ids=bool(ask.body.get("return_token_ids")),
        )

    async def limit_headers(self, key: ApiKey) -> Mapping[str, str]:
        """What the key has left, for the refusal itself."""
        state = await self._limits.state(key.id, key.limits, now=self._clock.now())
        return state.headers()
