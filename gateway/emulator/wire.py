"""vLLM's JSON, byte for byte where clients look: chunks of a stream, and whole answers.

A stream's chunk is put together from bytes made once a choice, because there is one for each token.
"""

from dataclasses import dataclass

import msgspec

from gateway.emulator.answer import Piece

DONE = b"data: [DONE]\n\n"
GARBAGE = b'data: {"id": "chatcmpl-\xff\xfe", "choices": [{"ind\n\n'

encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Reply:
    """What every part of one reply repeats; `created` in Unix seconds."""

    id: str
    chat: bool
    created: int
    model: str

    def head(self, kind: str) -> bytes:
        """The opening of a JSON object with these fields, open for more."""
        fields = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return encode(fields)[:-1]

    @property
    def chunk_kind(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of a reply."""

    prompt: int
    completion: int
    cached: int

    def fields(self) -> dict[str, object]:
        return {
            "prompt_tokens": self.prompt,
            "total_tokens": self.prompt + self.completion,
            "completion_tokens": self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


class Frames:
    """Makes the SSE events of one choice. `tool`: the name of the function whose arguments the tokens are."""

    def __init__(self, reply: Reply, index: int, *, show_ids: bool, tool: str | None) -> None:
        self._chat = reply.chat
        self._show_ids = show_ids
        self._tool = tool
        self._call_id = f"chatcmpl-tool-{reply.id}-{index}"
        self._open = b"data: " + reply.head(reply.chunk_kind) + b',"choices":[{"index":%d,' % index
        if tool is not None:
            self._before = self._open + b'"delta":{"tool_calls":[{"index":0,"function":{"arguments":'
            self._after = b'}}]},"logprobs":'
        elif reply.chat:
            self._before, self._after = self._open + b'"delta":{"content":', b'},"logprobs":'
        else:
            self._before, self._after = self._open + b'"text":', b',"logprobs":'
        self._plain = self._after + b'null,"finish_reason":null'
        self._plain += b',"token_ids":null}]}\n\n' if reply.chat else b',"stop_reason":null,"token_ids":null}]}\n\n'

    def start(self, prompt: list[int], usage: Usage | None) -> bytes:
        """What comes before the first token: the role, in a tool call also the function's name."""
        if not self._chat:
            return b""
        ids = b',"prompt_token_ids":' + encode(prompt) if self._show_ids else b""
        end = b'},"logprobs":null,"finish_reason":null}]'
        role = self._open + b'"delta":{"role":"assistant","content":""' + end + ids + _close(usage)
        if self._tool is None:
            return role
        function = {"name": self._tool, "arguments": ""}
        call = [{"id": self._call_id, "type": "function", "index": 0, "function": function}]
        return role + self._open + b'"delta":{"tool_calls":' + encode(call) + end + _close(usage)

    def token(
        self, piece: Piece, usage: Usage | None = None, logprobs: object = None, prompt: list[int] | None = None
    ) -> bytes:
        """The event of one token; `prompt`: the prompt's ids, which a completion shows with its first token."""
        text = self._before + encode(piece.text)
        if piece.finish is None and usage is None and logprobs is None and not self._show_ids:
            return text + self._plain
        finish = "tool_calls" if self._tool is not None and piece.finish == "stop" else piece.finish
        parts = [text, self._after, encode(logprobs), b',"finish_reason":', encode(finish)]
        if finish is not None or not self._chat:
            parts += [b',"stop_reason":', encode(piece.stop_reason)]
        if prompt is not None and self._show_ids and not self._chat:
            parts += [b',"prompt_token_ids":', encode(prompt)]
        parts += [b',"token_ids":', b"[%d]" % piece.token if self._show_ids else b"null", b"}]", _close(usage)]
        return b"".join(parts)


def usage_event(reply: Reply, usage: Usage) -> bytes:
    """The last chunk of a stream that was asked for its usage."""
    return b"data: " + reply.head(reply.chunk_kind) + b',"choices":[]' + _close(usage)


def error_event(message: str) -> bytes:
    """How vLLM tells of an error in the middle of a stream."""
    error = {"message": message, "type": "InternalServerError", "param": None, "code": 500}
    return b"data: " + encode({"error": error}) + b"\n\n"


@dataclass(frozen=True, slots=True)
class Whole:
    """One finished choice of a reply that is sent at once; ids are None unless they were asked for."""

    index: int
    text: str
    last: Piece
    logprobs: object
    tool: str | None
    token_ids: list[int] | None
    prompt_ids: list[int] | None

    def chat_fields(self, reply_id: str) -> dict[str, object]:
        calls = []
        if self.tool is not None:
            function = {"name": self.tool, "arguments": self.text}
            calls = [{"id": f"chatcmpl-tool-{reply_id}-{self.index}", "type": "function", "function": function}]
        message: dict[str, object] = {
            "role": "assistant",
            "content": None if self.tool is not None else self.text,
            "refusal": None,
            "tool_calls": calls,
        }
        finish = "tool_calls" if calls and self.last.finish == "stop" else self.last.finish
        return {"index": self.index, "message": message, **self._ending(finish)}

    def text_fields(self) -> dict[str, object]:
        ending = self._ending(self.last.finish)
        return {"index": self.index, "text": self.text, **ending, "prompt_token_ids": self.prompt_ids}

    def _ending(self, finish: str | None) -> dict[str, object]:
        return {
            "logprobs": self.logprobs,
            "finish_reason": finish,
            "stop_reason": self.last.stop_reason,
            "token_ids": self.token_ids,
        }


def whole_reply(reply: Reply, choices: list[Whole], usage: Usage) -> bytes:
    """The body of a reply that is not streamed."""
    if reply.chat:
        fields: dict[str, object] = {
            "choices": [choice.chat_fields(reply.id) for choice in choices],
            "prompt_token_ids": choices[0].prompt_ids,
        }
        kind = "chat.completion"
    else:
        fields = {"choices": [choice.text_fields() for choice in choices]}
        kind = "text_completion"
    fields["usage"] = usage.fields()
    return reply.head(kind) + b"," + encode(fields)[1:]


def _close(usage: Usage | None) -> bytes:
    return b"}\n\n" if usage is None else b',"usage":' + encode(usage.fields()) + b"}\n\n"
