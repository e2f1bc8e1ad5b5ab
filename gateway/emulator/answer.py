"""One answer, token by token: what each token adds to the text and when the answer is over. Pure.

Text leaves at whole characters only, as in vLLM: a token that ends inside one comes with the text "". With stop strings
the last characters are held back for as long as they may be the beginning of one.
"""

import codecs
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gateway.emulator.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may end an answer: `max_tokens` always, the rest if given; nothing but it before `min_tokens`."""

    max_tokens: int
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    stop_token_ids: frozenset[int] = frozenset()
    include_stop: bool = False


class Piece(NamedTuple):
    """One token; `finish` is None, "stop" or "length", `stop_reason` the string or token that stopped it."""

    token: int
    text: str
    finish: str | None = None
    stop_reason: str | int | None = None


class Source(Protocol):
    """Where tokens come from."""

    def next(self, *, may_end: bool) -> int:
        """The next token; the end-of-sequence token only if it `may_end`."""


class Script:
    """A source that says given tokens, then ends."""

    def __init__(self, ids: list[int], eos: int) -> None:
        self._left = iter([*ids, eos])

    def next(self, *, may_end: bool) -> int:  # noqa: ARG002
        return next(self._left)


class Answer:
    """Calls the source and applies the limits; `opened` are the bytes of a character that the prompt ends inside."""

    __slots__ = ("_decoder", "_held", "_hold", "_limits", "_partial", "_released", "_source", "_vocabulary", "produced")

    def __init__(self, vocabulary: Vocabulary, source: Source, limits: Limits, opened: tuple[int, ...] = ()) -> None:
        self._vocabulary = vocabulary
        self._source = source
        self._limits = limits
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = bool(opened)
        self._decoder.decode(bytes(opened))
        self._hold = max((len(stop) for stop in limits.stop), default=1) - 1
        self._held = ""
        self._released = 0
        self.produced = 0

    def next(self) -> Piece:
        """The next token. Not to be called after one that finishes."""
        limits = self._limits
        free = self.produced >= limits.min_tokens
        token = self._source.next(may_end=free and not limits.ignore_eos)
        self.produced += 1
        if token == self._vocabulary.eos:
            return Piece(token, self._held[self._released :], "stop")
        if token in limits.stop_token_ids and free:
            text = self._text(token) if limits.include_stop else ""
            return Piece(token, self._held[self._released :] + text, "stop", token)
        text = self._text(token)
        stopped = None
        if limits.stop:
            text, stopped = self._withhold(text, check=self.produced > limits.min_tokens)
        if stopped is not None:
            return Piece(token, text, "stop", stopped)
        if self.produced >= limits.max_tokens:
            return Piece(token, text + self._held[self._released :], "length")
        return Piece(token, text)

    def _text(self, token: int) -> str:
        whole = self._vocabulary.whole[token]
        if whole is not None and not self._partial:
            return whole
        text = self._decoder.decode(self._vocabulary.spelling[token])
        self._partial = bool(self._decoder.getstate()[0])
        return text

    def _withhold(self, text: str, *, check: bool) -> tuple[str, str | None]:
        """What of the held and the new text may leave, and the stop string that was met."""
        window, released, include = self._held + text, self._released, self._limits.include_stop
        if check:
            met = [(at, stop) for stop in self._limits.stop if (at := window.find(stop)) >= 0]
            if met:
                at, stop = min(met, key=lambda found: found[0])
                return window[released : at + len(stop) if include else at], stop
        cut = max(0, len(window) - self._hold)
        self._held = window[cut:]
        self._released = len(self._held) if include else 0
        return (window[released:] if include else window[:cut]), None
