"""One streamed answer as its client sees it: what came when, how many tokens it was, and how it ended.

Chunks are not tokens: a server may put several into one, and a gateway may send several at once. Tokens are counted by
the ids that a chunk carries, where the server was asked for them and gives them. Else the server's own count at the end
(`usage`) is spread over the text in proportion to its characters. Only where neither is given the characters alone
must do, at the rate of English text, and the run's figures say for how many answers that was.

Text that the reader does not see (reasoning) is counted as produced, and is not on the reader's timeline.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from gateway.core.qoe import Delivery
from gateway.core.units import CHARACTERS_PER_TOKEN
from gateway.engines.sse import SseDecoder
from gateway.errors import EngineFailed
from loadgen.numbered import NumberedEvents

DONE: Final = b"[DONE]"
MAX_ERROR_BYTES: Final = 64 << 10


class Counting(StrEnum):
    """Where the number of tokens is known from."""

    IDS = "ids"
    USAGE = "usage"
    CHARACTERS = "characters"


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None
    refusal: Any = None

    def shown(self) -> int:
        """Characters that the reader sees."""
        seen = self.content or self.refusal
        if isinstance(seen, str):
            return len(seen)
        return len(msgspec.json.encode(self.tool_calls)) if self.tool_calls else 0

    def hidden(self) -> bool:
        return bool(self.reasoning_content or self.reasoning)


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    text: str | None = None
    token_ids: list[int] | None = None
    finish_reason: str | None = None

    def shown(self) -> int:
        return len(self.text) if self.text else self.delta.shown() if self.delta is not None else 0


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


class Piece(msgspec.Struct, gc=False):
    """What one chunk brought: seconds of the clock, characters to be read, token ids (-1: it had none)."""

    at: float
    characters: int
    ids: int


class Answer:
    """Fed with the bytes of a response as they come; it takes memory for the pieces of one answer only."""

    def __init__(self, numbered: NumberedEvents | None = None) -> None:
        """`numbered`: of a stream that can be left and read on."""
        self._sse = SseDecoder() if numbered is None else numbered
        self._decode = msgspec.json.Decoder(_Chunk).decode
        self._hidden_ids = 0
        self.pieces: list[Piece] = []
        self.usage: _Usage | None = None
        self.done = False
        self.error: str | None = None

    def feed(self, data: bytes, now: float) -> None:
        """Part of the body of a stream. A stream that is none, or that brings an error, sets `error`."""
        try:
            for payload in self._sse.feed(data):
                if payload == DONE:
                    self.done = True
                else:
                    self._take(self._decode(payload), now)
        except (EngineFailed, msgspec.MsgspecError, UnicodeDecodeError):
            self.error = self.error or "garbage"

    def _take(self, chunk: _Chunk, now: float) -> None:
        if chunk.error is not None:
            self.error = self.error or error_code(chunk.error) or "error event"
        if chunk.usage is not None:
            self.usage = chunk.usage
        for choice in chunk.choices or ():
            # Some servers end without [DONE]; the reason says as well that nothing is missing.
            self.done = self.done or bool(choice.finish_reason)
            ids = -1 if choice.token_ids is None else len(choice.token_ids)
            shown = choice.shown()
            if choice.delta is not None and choice.delta.hidden():
                self._hidden_ids += max(0, ids)
            elif shown or ids > 0:
                self.pieces.append(Piece(now, shown, ids))

    @property
    def counting(self) -> Counting:
        if all(piece.ids >= 0 for piece in self.pieces):
            return Counting.IDS
        return Counting.CHARACTERS if self.usage is None else Counting.USAGE

    @property
    def produced(self) -> int:
        """Tokens that the server made, those that nobody sees among them."""
        counted = self.usage.completion_tokens if self.usage is not None else 0
        return max(counted, round(sum(self._tokens())) + self._hidden_ids)

    @property
    def told(self) -> int | None:
        """Tokens of all choices by their ids; None where one piece had none."""
        counted = self.counting is Counting.IDS
        return sum(piece.ids for piece in self.pieces) + self._hidden_ids if counted else None

    @property
    def first_at(self) -> float | None:
        """When the first token came that the reader sees."""
        return self.pieces[0].at if self.pieces else None

    @property
    def last_at(self) -> float | None:
        return self.pieces[-1].at if self.pieces else None

    def deliveries(self, since: float) -> list[Delivery]:
        """What came when, in seconds after `since`."""
        return [Delivery(piece.at - since, units) for piece, units in zip(self.pieces, self._tokens(), strict=True)]

    def stall(self, rate: float) -> tuple[float, float | None]:
        """The longest time that a reader of `rate` units a second, having begun, had nothing to read, and its start."""
        longest, since, end = 0.0, None, None
        for piece, units in zip(self.pieces, self._tokens(), strict=True):
            if end is not None and piece.at - end > longest:
                longest, since = piece.at - end, end
            end = max(piece.at, piece.at if end is None else end) + units / rate
        return longest, since

    def _tokens(self) -> list[float]:
        """Tokens of each piece; parts of tokens where they are spread over the text."""
        if self.counting is Counting.IDS:
            return [float(piece.ids) for piece in self.pieces]
        characters = sum(piece.characters for piece in self.pieces)
        per_character = 1 / CHARACTERS_PER_TOKEN["en"]
        if self.usage is not None and characters:
            per_character = self.usage.completion_tokens / characters
        return [piece.characters * per_character for piece in self.pieces]


def error_code(error: Any) -> str | None:
    """The short name inside an OpenAI error object, for counting by kind."""
    if not isinstance(error, dict):
        return None
    return next((str(error[name]) for name in ("code", "type") if error.get(name)), None)


def error_of(body: bytes) -> str | None:
    """The same of a whole error response; None if it is in no known shape."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return error_code(found.get("error", found)) if isinstance(found, dict) else None
