"""SGLang. Source: its server's source and documentation, 0.5.23; tried only against a server that speaks its protocol.

Completions tell token ids, streamed chats refuse to: so a chat goes on as text. A closed connection stops a run only
after two seconds, so a run is also stopped by its id.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from gateway.engines.base import Endpoint, EngineFacts, EngineSettings, Leg, LegRequest, LegSink, Resumability
from gateway.engines.base import ResumeLevel as Level
from gateway.engines.openai import OpenAIEngine
from gateway.engines.relay import Relay
from gateway.engines.resume import obstacle
from gateway.engines.textual import chat_that_goes_on, continues_text
from gateway.engines.transcript import Transcript
from gateway.engines.vllm import VllmEngine
from gateway.errors import EngineFailed

METRICS: Final = "sglang:"


class SglangEngine(VllmEngine):
    """As vLLM where both speak alike; `--enable-metrics` lets it tell its load."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self._aborts: set[asyncio.Task[None]] = set()

    async def probe(self) -> EngineFacts:
        await self._get("/health")
        listed = await OpenAIEngine.probe(self)
        try:
            values = _gauges((await self._get("/metrics")).text)
        except (EngineFailed, ValueError):
            return listed
        kv_tokens = values.get("max_total_num_tokens")
        return EngineFacts(
            models=listed.models,
            context_tokens=listed.context_tokens,
            kv_tokens=int(kv_tokens) if kv_tokens else None,
            running=int(values.get("num_running_reqs", 0)),
            waiting=int(values.get("num_queue_reqs", 0)),
            kv_usage=values.get("token_usage"),
        )

    async def tokenize(self, endpoint: Endpoint, body: Mapping[str, Any]) -> int | None:
        prompt = body.get("prompt")
        if endpoint is Endpoint.CHAT or not isinstance(prompt, str):
            return None
        return len(await self._ids_of(prompt))

    def can_resume(self, request: LegRequest) -> Resumability:
        """Completions by ids, chats as text unless an engine before told their ids."""
        if request.body.get("repetition_penalty") not in (None, 1):
            return Resumability(Level.NO, "the penalty counts the leg's own tokens only")
        if why := obstacle(request):
            return Resumability(Level.NO, why)
        transcript = request.transcript
        known = transcript is not None and transcript.begun and transcript.by_ids
        if request.endpoint is Endpoint.CHAT and not known:
            return continues_text(request, chats=True)
        return super().can_resume(request)

    async def start(self, request: LegRequest, sink: LegSink) -> Leg:
        """The prompt's ids, which the stream does not tell, are asked for before a leg that may be cut."""
        transcript = request.transcript
        if transcript is not None and not transcript.prompt_ids and self._tells_ids(request):
            prompt = request.body["prompt"]
            # An engine that is not there fails its start; one that only does not count answers, by text or uncut.
            with contextlib.suppress(EngineFailed):
                transcript.prompt(await self._ids_of(prompt) if isinstance(prompt, str) else prompt)
        return await super().start(request, sink)

    async def close(self) -> None:
        await asyncio.gather(*self._aborts, return_exceptions=True)
        await super().close()

    def _tells_ids(self, request: LegRequest) -> bool:
        return request.endpoint is Endpoint.COMPLETIONS

    def _body(self, request: LegRequest) -> dict[str, Any]:
        return {**super()._body(request), "rid": _rid(request)}

    async def _rest(
        self, request: LegRequest, transcript: Transcript, left: int | None
    ) -> tuple[Endpoint, dict[str, Any]]:
        rid = {"rid": _rid(request)}
        if request.endpoint is Endpoint.CHAT and not transcript.by_ids:
            body = chat_that_goes_on(request, transcript, left)
            return Endpoint.CHAT, {**body, "continue_final_message": True, "add_generation_prompt": False, **rid}
        path, body = await super()._rest(request, transcript, left)
        return path, {**body, **rid}

    async def _send(
        self, path: str, body: Mapping[str, Any], request: LegRequest, sink: LegSink, relay: Relay | None
    ) -> Leg:
        return _StoppedById(await super()._send(path, body, request, sink, relay), self, _rid(request))

    def stop(self, rid: str) -> None:
        """Stop a run, now and without waiting for an answer."""
        task = asyncio.get_running_loop().create_task(self._stop(rid))
        self._aborts.add(task)
        task.add_done_callback(self._aborts.discard)

    async def _stop(self, rid: str) -> None:
        try:
            await self._post("/abort_request", {"rid": rid})
        except EngineFailed:
            return  # the closed connection stops it too, a little later

    async def _ids_of(self, prompt: str) -> list[int]:
        answer = await self._post_json("/tokenize", {"model": self._engine_model, "prompt": prompt})
        ids = answer.get("tokens") if isinstance(answer, dict) else None
        if not isinstance(ids, list):
            raise EngineFailed("The engine's /tokenize answers something else.")
        return ids


class _StoppedById:
    """A leg whose abort also names it."""

    def __init__(self, leg: Leg, engine: SglangEngine, rid: str) -> None:
        self._leg = leg
        self._engine = engine
        self._rid = rid
        self.pause_reading = leg.pause_reading
        self.resume_reading = leg.resume_reading

    def abort(self) -> None:
        self._leg.abort()
        self._engine.stop(self._rid)


def _rid(request: LegRequest) -> str:
    """An abort stops every run whose name begins with the given one, and a leg's id begins with the stream's."""
    return f"{request.id}-leg"


def _gauges(text: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith(METRICS):
                name = sample.name.removeprefix(METRICS)
                values[name] = values.get(name, 0.0) + sample.value
    return values
