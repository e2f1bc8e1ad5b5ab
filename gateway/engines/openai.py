"""Any server that speaks the OpenAI API: the least that an engine must offer."""

from collections.abc import Mapping
from typing import Any

import httpx2
import msgspec

from gateway.engines.base import Endpoint, EngineFacts, EngineSettings, Leg, LegRequest, LegSink
from gateway.engines.leg import HttpLeg
from gateway.engines.relay import ChunkRelay, Renaming
from gateway.engines.wire import Channel
from gateway.errors import EngineFailed

PROBE_TIMEOUT_S = 5.0  # a server at work on starved cores has been seen to need more than two


class OpenAIEngine:
    """Generations over our own wire, everything else over httpx2."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        url = settings.url.rstrip("/").removesuffix("/v1")
        self._channel = Channel(url, api_key=settings.api_key, connect_timeout_s=settings.connect_timeout_s)
        engine_model = settings.served_model or settings.model
        self._rename = Renaming(engine_model, settings.model) if engine_model != settings.model else None
        headers = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        self._http = httpx2.AsyncClient(base_url=url, headers=headers, timeout=PROBE_TIMEOUT_S, trust_env=False)

    @property
    def settings(self) -> EngineSettings:
        return self._settings

    async def start(self, request: LegRequest, sink: LegSink) -> Leg:
        body = self._body(request)
        relay = self._relay(request) if request.stream else None
        payload = self._channel.request(request.endpoint.value, msgspec.json.encode(body), request.id)
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
        if request.stream:
            options = body.get("stream_options")
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        return body

    def _relay(self, request: LegRequest, *, strip_token_ids: bool = False) -> ChunkRelay:
        return ChunkRelay(
            include_usage=request.include_usage,
            strip_token_ids=strip_token_ids,
            rename=self._rename,
        )

    async def _get_json(self, path: str) -> dict[str, Any]:
        try:
            body = msgspec.json.decode((await self._get(path)).content)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EngineFailed(f"The engine's {path} is not JSON.") from error
        if not isinstance(body, dict):
            raise EngineFailed(f"The engine's {path} is not an object.")
        return body

    async def _get(self, path: str) -> httpx2.Response:
        """GET a small page. EngineFailed on any trouble."""
        try:
            response = await self._http.get(path)
            response.raise_for_status()
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise EngineFailed(f"The engine's {path} does not answer: {type(error).__name__}.") from error
        return response
