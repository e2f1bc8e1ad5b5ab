"""Any server that speaks the OpenAI API: the least that an engine must offer."""

from collections.abc import Mapping
from typing import Any

import httpx2
import msgspec

from gateway.engines.base import (
    Endpoint,
    EngineFacts,
    EngineSettings,
    Leg,
    LegRequest,
    LegSink,
    Resumability,
)
from gateway.engines.leg import HttpLeg, finish
from gateway.engines.recording import RecordingRelay
from gateway.engines.relay import ChunkRelay, Relay, Renaming
from gateway.engines.resume import continuation, remaining
from gateway.engines.rewriting import RewritingRelay
from gateway.engines.textual import continues_text
from gateway.engines.transcript import Transcript
from gateway.engines.wire import Channel
from gateway.errors import EngineFailed, EngineUnreachable

PROBE_TIMEOUT_S = 5.0  # a server at work on starved cores has been seen to need more than two


class OpenAIEngine:
    """Generations over our own wire, everything else over httpx2."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        url = settings.url.rstrip("/").removesuffix("/v1")
        self._channel = Channel(url, api_key=settings.api_key, connect_timeout_s=settings.connect_timeout_s)
        engine_model = settings.served_model or settings.model
        self._context_tokens: int | None = None
        self._rename = Renaming(engine_model, settings.model) if engine_model != settings.model else None
        headers = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        self._http = httpx2.AsyncClient(base_url=url, headers=headers, timeout=PROBE_TIMEOUT_S, trust_env=False)

    @property
    def settings(self) -> EngineSettings:
        return self._settings

    def can_resume(self, request: LegRequest) -> Resumability:
        """By text, where the prompt is one: a completion's prompt and what came of it make the next one's."""
        return continues_text(request, chats=False)

    async def start(self, request: LegRequest, sink: LegSink) -> Leg:
        transcript = request.transcript
        if transcript is not None and transcript.begun:
            return await self._go_on(request, transcript, sink)
        return await self._send(request.endpoint, self._body(request), request, sink, self._relay(request))

    async def _go_on(self, request: LegRequest, transcript: Transcript, sink: LegSink) -> Leg:
        relay = self._rewriting(request, transcript)
        left = remaining(request, transcript, self._context_tokens)
        if left == 0 or transcript.finished:
            return finish(sink, relay)
        path, body = await self._rest(request, transcript, left)
        body = self._streaming({**body, "model": self._engine_model})
        return await self._send(path, body, request, sink, relay)

    async def _send(
        self, path: str, body: Mapping[str, Any], request: LegRequest, sink: LegSink, relay: Relay | None
    ) -> Leg:
        payload = self._channel.request(path, msgspec.json.encode(body), request.id)
        leg = HttpLeg(self._channel, payload, sink, relay, self._rename)
        await leg.start()
        return leg

    async def probe(self) -> EngineFacts:
        models = await self._get_json("/v1/models")
        listed = models.get("data")
        entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        names = tuple(str(entry["id"]) for entry in entries if "id" in entry)
        if self._engine_model not in names:
            raise EngineFailed(f"The engine does not serve the model {self._engine_model!r}.")
        lengths = [entry.get("max_model_len") for entry in entries if entry.get("id") == self._engine_model]
        context = lengths[0] if lengths and isinstance(lengths[0], int) else None
        self._context_tokens = context
        return EngineFacts(models=names, context_tokens=context)

    async def tokenize(self, endpoint: Endpoint, body: Mapping[str, Any]) -> int | None:  # noqa: ARG002 - the port's
        return None

    async def close(self) -> None:
        self._channel.close()
        await self._http.aclose()

    @property
    def _engine_model(self) -> str:
        return self._settings.served_model or self._settings.model

    def _body(self, request: LegRequest) -> dict[str, Any]:
        """The client's fields, with the engine's name of the model; usage is always asked for in streams."""
        body = {**request.body, "model": self._engine_model}
        return self._streaming(body) if request.stream else body

    async def _rest(
        self, request: LegRequest, transcript: Transcript, left: int | None
    ) -> tuple[Endpoint, dict[str, Any]]:
        """The call that goes on from the transcript."""
        return Endpoint.COMPLETIONS, continuation(request, request.body["prompt"] + transcript.said, left)

    def _streaming(self, body: dict[str, Any]) -> dict[str, Any]:
        options = body.get("stream_options")
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        return body

    def _relay(self, request: LegRequest) -> Relay | None:
        """What makes the client's bytes of the engine's in a leg that begins at the prompt."""
        if not request.stream:
            return None
        transcript = request.transcript
        if transcript is None:
            return ChunkRelay(include_usage=request.include_usage, rename=self._rename)
        if transcript.head is not None or request.body.get("logprobs") is not None:
            return self._rewriting(request, transcript)
        return RecordingRelay(transcript, include_usage=request.include_usage, rename=self._rename)

    def _rewriting(
        self, request: LegRequest, transcript: Transcript, relay: type[RewritingRelay] = RewritingRelay
    ) -> RewritingRelay:
        return relay(
            transcript,
            chat=request.endpoint is Endpoint.CHAT,
            model=self._settings.model,
            include_usage=request.include_usage,
            show_ids=request.include_token_ids,
            reasoning_end=self._settings.reasoning_end,
        )

    async def _get_json(self, path: str) -> dict[str, Any]:
        try:
            body = msgspec.json.decode((await self._get(path)).content)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EngineFailed(f"The engine's {path} is not JSON.") from error
        if not isinstance(body, dict):
            raise EngineFailed(f"The engine's {path} is not an object.")
        return body

    async def _post_json(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST JSON, get JSON. EngineFailed on any trouble, EngineUnreachable where nobody is there."""
        try:
            return msgspec.json.decode((await self._post(path, body)).content)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EngineFailed(f"The engine's {path} is not JSON.") from error

    async def _post(self, path: str, body: Mapping[str, Any]) -> httpx2.Response:
        """POST JSON. EngineFailed on any trouble, EngineUnreachable where nobody is there."""
        headers = {"content-type": "application/json"}
        try:
            response = await self._http.post(path, content=msgspec.json.encode(body), headers=headers)
            response.raise_for_status()
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise EngineUnreachable(f"The engine cannot be reached: {type(error).__name__}.") from error
        except httpx2.HTTPError as error:
            raise EngineFailed(f"The engine's {path} does not answer: {type(error).__name__}.") from error
        return response

    async def _get(self, path: str) -> httpx2.Response:
        """GET a small page. EngineFailed on any trouble."""
        try:
            response = await self._http.get(path)
            response.raise_for_status()
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise EngineFailed(f"The engine's {path} does not answer: {type(error).__name__}.") from error
        return response
