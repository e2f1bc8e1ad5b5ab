"""`POST /v1/chat/completions` and `POST /v1/completions`."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from gateway.api.auth import Caller
from gateway.api.body import read_object
from gateway.api.errors import error_response
from gateway.api.generation import GenerationResponse
from gateway.api.openapi import json_body
from gateway.api.pace_schema import pace_spec
from gateway.api.schemas import Answer, ChatCompletionRequest, CompletionRequest, GenerationRequest, errors
from gateway.api.streams import RESUME, FollowResponse, last_words, opted_in
from gateway.api.validation import refusal
from gateway.engines.base import Endpoint
from gateway.errors import GatewayError
from gateway.runtime.admission import Admission, Ask
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.readers import Desk
from gateway.runtime.stream import Stream
from gateway.stores.base import ApiKey

BODIES: Final = (ChatCompletionRequest, CompletionRequest)
EVENT: Final = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "description": "A chunk as JSON, an error object, or `[DONE]`."}},
}
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "model": Answer,
        "description": "The answer; with `stream: true` server-sent events, the last of them `data: [DONE]`.",
        "content": {"text/event-stream": {"itemSchema": EVENT}},
    },
    **errors(400, 401, 403, 404, 413, 429, 502, 503, 504),
}


class _Generation:
    """What both calls do with a request.

    They read their bodies by themselves: who calls is asked first, and the JSON is parsed once, into the object that
    the engine gets.
    """

    def __init__(
        self, admission: Admission, dispatcher: Dispatcher, desk: Desk, caller: Caller, head_timeout_s: float
    ) -> None:
        self._desk = desk
        self._admission = admission
        self._dispatcher = dispatcher
        self._caller = caller
        self._head_timeout_s = head_timeout_s

    async def answer(self, endpoint: Endpoint, model: type[GenerationRequest], request: Request) -> Response:
        key = await self._caller(request)
        request.state.tenant = key.tenant
        body = await read_object(request)
        ask = _ask(endpoint, _validated(model, body), body, request.state.request_id)
        try:
            admitted = await self._admission.admit(key, ask)
        except GatewayError as error:
            return error_response(error, await self._admission.limit_headers(key))
        stream = admitted.stream
        request.state.job = stream.request.id
        if ask.stream and opted_in(request):
            return self._resumable(stream, key, admitted.limit_headers)
        return GenerationResponse(stream, self._dispatcher, admitted.limit_headers, head_timeout_s=self._head_timeout_s)

    def _resumable(self, stream: Stream, key: ApiKey, limit_headers: Mapping[str, str]) -> Response:
        level = self._dispatcher.pool(stream.request.model).resumability(stream.request.leg).level
        try:
            stream_id = self._desk.open(stream, key.id, last_words)
        except GatewayError:
            self._dispatcher.cancel(stream)
            raise
        return FollowResponse(self._desk, stream_id, key.id, 0, {**limit_headers, RESUME: level.value})


def completions_router(
    admission: Admission, dispatcher: Dispatcher, desk: Desk, caller: Caller, *, head_timeout_s: float
) -> APIRouter:
    """The two generation calls."""
    router = APIRouter(tags=["completions"])
    generation = _Generation(admission, dispatcher, desk, caller, head_timeout_s)

    def described(model: type[GenerationRequest], summary: str) -> dict[str, Any]:
        extra = {**json_body(model), **caller.described}
        return {"responses": RESPONSES, "summary": summary, "response_class": Response, "openapi_extra": extra}

    @router.post(Endpoint.CHAT, **described(ChatCompletionRequest, "Chat"))
    async def chat(request: Request) -> Response:
        """Answer a conversation. Fields that are not listed pass through to the engine untouched."""
        return await generation.answer(Endpoint.CHAT, ChatCompletionRequest, request)

    @router.post(Endpoint.COMPLETIONS, **described(CompletionRequest, "Complete"))
    async def complete(request: Request) -> Response:
        """Continue a text or a list of token ids. Fields that are not listed pass through to the engine untouched."""
        return await generation.answer(Endpoint.COMPLETIONS, CompletionRequest, request)

    return router


def _validated(model: type[GenerationRequest], body: dict[str, Any]) -> GenerationRequest:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise refusal(error.errors(include_url=False, include_context=False, include_input=False), body) from error


def _ask(endpoint: Endpoint, fields: GenerationRequest, body: dict[str, Any], request_id: str) -> Ask:
    """What the model validated, beside the client's own object: that is what the engine gets."""
    for name in ("n", "prompt"):
        if name in body:
            body[name] = getattr(fields, name)  # numbers that others count by: 2.0 is 2
    if isinstance(fields, CompletionRequest):
        body["prompt"] = _alone(fields.prompt)
    options = fields.stream_options
    return Ask(
        request_id=request_id,
        endpoint=endpoint,
        model=fields.model,
        body=body,
        stream=bool(fields.stream),
        include_usage=bool(options is not None and options.include_usage),
        token_limit=fields.token_limit,
        choices=(fields.n or 1) * fields.prompts,
        pace=pace_spec(fields.pace),
    )


def _alone(prompt: Any) -> Any:
    """A list of one prompt is that prompt, which can be continued after a cut."""
    one = isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int)
    return prompt[0] if one else prompt
