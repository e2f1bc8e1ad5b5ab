"""`POST /v1/chat/completions` and `POST /v1/completions`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from gateway.api.errors import error_response
from gateway.api.generation import GenerationResponse
from gateway.api.schemas import Answer, ChatCompletionRequest, CompletionRequest, ErrorBody, GenerationRequest
from gateway.engines.base import Endpoint
from gateway.errors import GatewayError, InvalidRequest, LimitExceeded
from gateway.runtime.admission import Admission, Ask
from gateway.runtime.dispatcher import Dispatcher
from gateway.stores.base import ApiKey

ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 413, 429, 502, 503, 504)
}
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "model": Answer,
        "description": "The answer; with `stream: true` server-sent events, the last of them `data: [DONE]`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    **ERRORS,
}


def completions_router(
    admission: Admission,
    dispatcher: Dispatcher,
    caller: Callable[..., Awaitable[ApiKey]],
    *,
    head_timeout_s: float,
) -> APIRouter:
    """The two generation calls."""
    router = APIRouter(tags=["completions"])
    Key = Annotated[ApiKey, Depends(caller)]  # noqa: N806 - a type

    async def generate(endpoint: Endpoint, fields: GenerationRequest, request: Request, key: ApiKey) -> Response:
        request.state.tenant = key.tenant
        ask = _ask(endpoint, fields, await request.body(), request.state.request_id)
        try:
            admitted = await admission.admit(key, ask)
        except GatewayError as error:
            headers: Mapping[str, str] = {}
            if isinstance(error, LimitExceeded):
                headers = await admission.limit_headers(key)
            return error_response(error, headers)
        request.state.job = admitted.stream.request.id
        return GenerationResponse(admitted.stream, dispatcher, admitted.limit_headers, head_timeout_s=head_timeout_s)

    @router.post(Endpoint.CHAT, responses=RESPONSES, summary="Chat", response_class=Response)
    async def chat(fields: ChatCompletionRequest, request: Request, key: Key) -> Response:
        """Answer a conversation. Fields that are not listed pass through to the engine untouched."""
        return await generate(Endpoint.CHAT, fields, request, key)

    @router.post(Endpoint.COMPLETIONS, responses=RESPONSES, summary="Complete", response_class=Response)
    async def complete(fields: CompletionRequest, request: Request, key: Key) -> Response:
        """Continue a text or a list of token ids. Fields that are not listed pass through to the engine untouched."""
        return await generate(Endpoint.COMPLETIONS, fields, request, key)

    return router


def _ask(endpoint: Endpoint, fields: GenerationRequest, raw: bytes, request_id: str) -> Ask:
    """What the model validated, beside the client's own object: that is what the engine gets."""
    try:
        body = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest("The body is not valid JSON.") from error
    options = fields.stream_options
    prompts = body.get("prompt")
    many = len(prompts) if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int) else 1
    return Ask(
        request_id=request_id,
        endpoint=endpoint,
        model=fields.model,
        body=body,
        stream=bool(fields.stream),
        include_usage=bool(options is not None and options.include_usage),
        token_limit=fields.token_limit,
        choices=(fields.n or 1) * many,
        pace=body.get("pace"),
    )
