"""Paces whose unit is not a token: characters of text, seconds of audio or video.

Rules of this file. Readers differ in words, tokenizers differ in tokens: a reader's speed in characters holds for
every model, so a character pace is turned into tokens only with what the stream itself shows (`UnitRatio`), never
with a table of somebody else's tokenizer. A second of media is played in one second, so a media pace has rate 1;
what can vary is how much lies ready before playing starts, and the quality.

Characters per token were counted on the Universal Declaration of Human Rights with o200k_base, the tokenizer in
which `pace.LANGUAGES` states its rates, so that a language's character pace reads as fast as its token pace.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from gateway.core.pace import Pace

CHARACTERS_PER_TOKEN: Final[Mapping[str, float]] = MappingProxyType(
    {
        "ar": 5850 / 2216,
        "de": 9768 / 2404,
        "en": 8424 / 1888,
        "es": 9369 / 2321,
        "fi": 9301 / 3112,
        "fr": 9360 / 2502,
        "he": 5588 / 2676,
        "it": 9577 / 2693,
        "ja": 3683 / 3407,
        "nl": 10286 / 2642,
        "pl": 9120 / 3274,
        "pt": 8795 / 2210,
        "ru": 9639 / 2619,
        "sl": 8392 / 3038,
        "sv": 8540 / 2782,
        "tr": 8501 / 2824,
        "zh": 2433 / 2124,
    }
)


def in_characters(pace: Pace, language: str = "en") -> Pace:
    """The same speed of the same reader, in characters (Unicode code points) per second.

    `language` is a key of `CHARACTERS_PER_TOKEN` (KeyError otherwise). A machine, and a pace that does not count
    tokens, stay as they are.
    """
    if pace.unit != "token" or not pace.paced:
        return pace
    ratio = CHARACTERS_PER_TOKEN[language]
    return replace(pace, rate=pace.rate * ratio, unit="character", start_units=pace.start_units * ratio)


class UnitRatio:
    """A stream's own units per token, measured as it grows.

    Starts from `expected` (units per token), which counts as much as `prior_tokens` tokens of the stream: the first
    few tokens of an answer say little about the rest. ValueError unless both are positive.
    """

    __slots__ = ("_tokens", "_units")

    def __init__(self, expected: float = CHARACTERS_PER_TOKEN["en"], prior_tokens: float = 20.0) -> None:
        if not (expected > 0 and prior_tokens > 0):
            raise ValueError("expected and prior_tokens must be positive")
        self._tokens = prior_tokens
        self._units = expected * prior_tokens

    def __repr__(self) -> str:
        return f"<UnitRatio {self.units_per_token:.3f}>"

    def observe(self, tokens: float, units: float) -> None:
        """So many more tokens made so many more units."""
        self._tokens += tokens
        self._units += units

    @property
    def units_per_token(self) -> float:
        return self._units / self._tokens

    def in_tokens(self, pace: Pace) -> Pace:
        """The pace in tokens of this stream as it is known now; a token pace stays as it is."""
        if pace.unit == "token":
            return pace
        ratio = self.units_per_token
        return replace(pace, rate=pace.rate / ratio, unit="token", start_units=pace.start_units / ratio)


@dataclass(frozen=True, slots=True)
class Rung:
    """One quality of a media stream.

    `value` scales QoE, 0 to 1 (best). `cost` is the service that a second takes, as a share of the best quality's.
    """

    name: str
    value: float
    cost: float


@dataclass(frozen=True, slots=True)
class Ladder:
    """The qualities that a media stream can be served in, best first.

    ValueError unless values and costs both fall from rung to rung, from (1, 1) and above 0: a rung that is worse and
    not cheaper would never be chosen.
    """

    rungs: Sequence[Rung]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rungs", tuple(self.rungs))
        if not self.rungs or (self.rungs[0].value, self.rungs[0].cost) != (1.0, 1.0):
            raise ValueError("the best rung has value 1 and cost 1")
        pairs = zip(self.rungs, self.rungs[1:], strict=False)
        if any(not (0 < low.value < high.value and 0 < low.cost < high.cost) for high, low in pairs):
            raise ValueError("values and costs fall from rung to rung and stay above 0")

    def best_within(self, cost: float) -> Rung:
        """The best rung that costs at most `cost`; the lowest if none does, since a stream must go on."""
        return next((rung for rung in self.rungs if rung.cost <= cost), self.rungs[-1])


ONE_QUALITY: Final = Ladder((Rung("full", 1.0, 1.0),))


def media_pace(*, ttft_s: float = 1.0, start_buffer_s: float = 0.0) -> Pace:
    """A listener or viewer of generated media: one second of it per second.

    Playing is expected to start after `ttft_s` seconds and starts once `start_buffer_s` seconds lie ready. ValueError
    if one of them is negative or not finite.
    """
    if not (0 <= ttft_s < float("inf") and 0 <= start_buffer_s < float("inf")):
        raise ValueError("ttft_s and start_buffer_s must be finite and not negative")
    return Pace("media", ttft_s, 1.0, unit="second", start_units=start_buffer_s)
