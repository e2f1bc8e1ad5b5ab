"""vLLM (and the emulator, which has its shape): token ids in streams, facts from /metrics, the exact prompt length."""

import math
from collections.abc import Mapping
from typing import Any, Final

import httpx2
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from gateway.engines.base import Endpoint, EngineFacts, LegRequest
from gateway.engines.openai import OpenAIEngine
from gateway.engines.relay import ChunkRelay
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


class _Tokenized(msgspec.Struct):
    count: int


class VllmEngine(OpenAIEngine):
    """Adds to the generic adapter what vLLM's server tells. Source: vLLM's OpenAI-compatible server, 0.32 and 0.33."""

    async def probe(self) -> EngineFacts:
        await self._get("/health")
        listed = await super().probe()
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

    def _body(self, request: LegRequest) -> dict[str, Any]:
        body = super()._body(request)
        if request.stream:
            body["return_token_ids"] = True
        return body

    def _relay(self, request: LegRequest, *, strip_token_ids: bool = False) -> ChunkRelay:
        return super()._relay(request, strip_token_ids=strip_token_ids or not request.include_token_ids)


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
