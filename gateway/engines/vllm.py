"""vLLM (and the emulator, which has its shape): token ids in streams, facts from /metrics, the exact prompt length."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import httpx2
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from gateway.engines.base import Endpoint, EngineFacts, LegRequest, Resumability, ResumeLevel
from gateway.engines.openai import OpenAIEngine
from gateway.engines.recording import RecordingRelay
from gateway.engines.relay import ChunkRelay, Relay
from gateway.engines.resume import continuation, obstacle, stop_matcher, token_limit, without_stops
from gateway.engines.transcript import Transcript
from gateway.errors import EngineFailed

WANTED: Final = ("vllm:num_requests_", "vllm:kv_cache_usage_perc")
TOKENIZE_FIELDS: Final = {
    Endpoint.CHAT: (
        "messages",
        "tools",
        "add_generation_prompt",
        "continue_final_message",
        "chat_template_kwargs",
    ),
    Endpoint.COMPLETIONS: ("prompt", "add_special_tokens"),
}


# Before it a chunk that a parser leaves without text was not sent at all, and its ids with it.
TELLS_ALL_IDS: Final = (0, 33)


class _Tokenized(msgspec.Struct):
    count: int


class VllmEngine(OpenAIEngine):
    """Adds to the generic adapter what vLLM's server tells. Source: vLLM's OpenAI-compatible server, 0.32 and 0.33."""

    _version = (0, 0)

    async def probe(self) -> EngineFacts:
        await self._get("/health")
        listed = await super().probe()
        self._version = await self._ask_version()
        try:
            metrics = _gauges((await self._get("/metrics")).text)
        except ValueError as error:
            raise EngineFailed("The engine's /metrics cannot be read.") from error
        blocks, block_size = metrics.get("num_gpu_blocks"), metrics.get("block_size")
        return EngineFacts(
            models=listed.models,
            context_tokens=listed.context_tokens,
            kv_tokens=int(blocks * block_size) if blocks and block_size else None,
            running=_count(metrics.get("vllm:num_requests_running")),
            waiting=_count(metrics.get("vllm:num_requests_waiting")),
            kv_usage=metrics.get("vllm:kv_cache_usage_perc"),
        )

    async def tokenize(self, endpoint: Endpoint, body: Mapping[str, Any]) -> int | None:
        fields = {key: body[key] for key in TOKENIZE_FIELDS[endpoint] if key in body}
        payload = msgspec.json.encode({"model": self._engine_model, **fields})
        try:
            response = await self._http.post("/tokenize", content=payload, headers={"content-type": "application/json"})
        except httpx2.HTTPError as error:
            raise EngineFailed("The engine's /tokenize does not answer.") from error
        if response.status_code != httpx2.codes.OK:
            return None
        try:
            return msgspec.json.decode(response.content, type=_Tokenized).count
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EngineFailed("The engine's /tokenize answers something else.") from error

    def can_resume(self, request: LegRequest) -> Resumability:
        """By token ids. Seeds do not carry over: the engine's source of chance begins anew with every leg."""
        if why := obstacle(request):
            return Resumability(ResumeLevel.NO, why)
        transcript = request.transcript
        if transcript is not None and transcript.broken:
            return Resumability(ResumeLevel.NO, transcript.broken)
        if transcript is not None and transcript.reasoned and self._version < TELLS_ALL_IDS:
            return Resumability(ResumeLevel.NO, "this version of the engine hides the ids of some tokens of reasoning")
        if transcript is not None and transcript.begun and not transcript.by_ids:
            return super().can_resume(request)
        if token_limit(request) is None and self._context_tokens is None:
            return Resumability(ResumeLevel.NO, "the answer has no limit and the engine does not tell its own")
        if request.body.get("temperature") == 0:
            return Resumability(ResumeLevel.REPLAY)
        return Resumability(ResumeLevel.TOKEN, "the engine draws anew after a cut")

    def _rank(self, request: LegRequest) -> dict[str, int]:
        """vLLM's field; without `--scheduling-policy priority` it would refuse some values and ignore others."""
        return {"priority": request.priority} if self._settings.priority else {}

    async def _ask_version(self) -> tuple[int, int]:
        try:
            return _version((await self._get_json("/version")).get("version"))
        except EngineFailed:
            return 0, 0  # a server that only speaks alike

    def _tells_ids(self, request: LegRequest) -> bool:  # noqa: ARG002 - for a subclass
        """Whether such a stream can be asked for its token ids."""
        return True

    def _body(self, request: LegRequest) -> dict[str, Any]:
        body = super()._body(request) | self._rank(request)
        if not request.stream or not self._tells_ids(request):
            return body
        body["return_token_ids"] = True
        return without_stops(body) if _matched_here(request) else body

    async def _rest(
        self, request: LegRequest, transcript: Transcript, left: int | None
    ) -> tuple[Endpoint, dict[str, Any]]:
        if not transcript.by_ids:
            return await super()._rest(request, transcript, left)
        body = continuation(request, [*transcript.prompt_ids, *transcript.token_ids], left)
        return Endpoint.COMPLETIONS, without_stops({**body, "return_token_ids": True, **self._rank(request)})

    def _relay(self, request: LegRequest) -> Relay | None:
        transcript = request.transcript
        if not request.stream or not self._tells_ids(request):
            return super()._relay(request)
        if transcript is not None and _matched_here(request):
            transcript.stops = stop_matcher(request.body)
            return self._rewriting(request, transcript)
        if transcript is not None and transcript.head is None and request.body.get("logprobs") is None:
            return RecordingRelay(
                transcript,
                include_usage=request.include_usage,
                strip_token_ids=not request.include_token_ids,
                rename=self._rename,
            )
        if transcript is not None:
            return self._rewriting(request, transcript)
        return ChunkRelay(
            include_usage=request.include_usage,
            strip_token_ids=not request.include_token_ids,
            rename=self._rename,
        )


def _version(text: Any) -> tuple[int, int]:
    """The first two numbers; (0, 0) for what is none."""
    found = re.match(r"(\d+)\.(\d+)", text) if isinstance(text, str) else None
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _matched_here(request: LegRequest) -> bool:
    """Whether the gateway looks for the stop strings itself, so that one may straddle a cut."""
    return request.transcript is not None and stop_matcher(request.body) is not None


def _gauges(text: str) -> dict[str, float]:
    """The samples that matter here, summed over an engine's ranks; cache_config_info has its figures in labels."""
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "vllm:cache_config_info":
                for label in ("num_gpu_blocks", "block_size"):
                    if sample.labels.get(label, "").isdigit():
                        values[label] = float(sample.labels[label])
            elif sample.name.startswith(WANTED) and "reason" not in sample.labels:
                values[sample.name] = values.get(sample.name, 0.0) + sample.value
    return values


def _count(value: float | None) -> int | None:
    return int(value) if value is not None and math.isfinite(value) else None
