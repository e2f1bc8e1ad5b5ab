"""Text Generation Inference. Source: its documentation, 3.3; tried only against a server that speaks its protocol.

It takes no token ids, so everything goes on as text. A chat's last message would lose its white space, so a chat goes
on as a completion of its rendered prompt, without the first mark that the server puts before every prompt itself.
"""

from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from gateway.engines.base import Endpoint, EngineFacts, LegRequest, Resumability
from gateway.engines.openai import OpenAIEngine
from gateway.engines.resume import continuation
from gateway.engines.textual import continues_text
from gateway.engines.transcript import Transcript
from gateway.errors import EngineFailed

BEGIN_MARKS: Final = ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>")


class TgiEngine(OpenAIEngine):
    """Adds health, lengths and the load. A run is stopped by closing its connection, at the next token."""

    async def probe(self) -> EngineFacts:
        await self._get("/health")
        info = await self._get_json("/info")
        context, name = info.get("max_total_tokens"), info.get("model_id")
        if name != self._engine_model:
            raise EngineFailed(f"The engine does not serve the model {self._engine_model!r}.")
        self._context_tokens = context if isinstance(context, int) else None
        running, waiting = _load((await self._get("/metrics")).text)
        return EngineFacts(models=(str(name),), context_tokens=self._context_tokens, running=running, waiting=waiting)

    def can_resume(self, request: LegRequest) -> Resumability:
        """As text."""
        return continues_text(request, chats=True)

    async def _rest(
        self, request: LegRequest, transcript: Transcript, left: int | None
    ) -> tuple[Endpoint, dict[str, Any]]:
        if request.endpoint is Endpoint.COMPLETIONS:
            return await super()._rest(request, transcript, left)
        asked = {"model": self._engine_model, "messages": request.body["messages"]}
        answer = await self._post_json("/chat_tokenize", asked)
        prompt = answer.get("templated_text") if isinstance(answer, dict) else None
        if not isinstance(prompt, str):
            raise EngineFailed("The engine's /chat_tokenize answers something else.")
        for mark in BEGIN_MARKS:
            prompt = prompt.removeprefix(mark)
        return Endpoint.COMPLETIONS, continuation(request, prompt + transcript.said, left)


def _load(text: str) -> tuple[int | None, int | None]:
    """Requests in the batch and in the queue."""
    values: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(text):
            values |= {sample.name: sample.value for sample in family.samples}
    except ValueError as error:
        raise EngineFailed("The engine's /metrics cannot be read.") from error
    running, waiting = values.get("tgi_batch_current_size"), values.get("tgi_queue_size")
    return (None if running is None else int(running)), (None if waiting is None else int(waiting))
