"""The field `pace`, of requests and of keys alike: what is described here is what is accepted.

The meaning, and the words of a refusal, are those of `gateway.core.pace`.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, StringConstraints, ValidationError, WrapValidator

from gateway.api.fields import Strict
from gateway.core.pace import LANGUAGES, RATE, TTFT_S, WORDS_PER_MINUTE, PaceSpec, pace_from_spec

_ANY_CASE: Final = "|".join("".join(f"[{letter}{letter.upper()}]" for letter in tag) for tag in LANGUAGES)
_LANGUAGE_PATTERN: Final = f"^({_ANY_CASE})([-_][A-Za-z0-9_-]{{1,30}})?$"

TimeToFirstToken = Annotated[float, Field(ge=TTFT_S[0], le=TTFT_S[1], description="seconds")]


class ReaderPace(Strict):
    """A reader or a listener, by language or in words per minute (characters, for Chinese and Japanese)."""

    kind: Literal["reading", "listening"]
    language: Annotated[str, StringConstraints(pattern=_LANGUAGE_PATTERN)] = "en"
    words_per_minute: Annotated[float, Field(ge=WORDS_PER_MINUTE[0], le=WORDS_PER_MINUTE[1])] | None = None
    ttft: TimeToFirstToken = 1.0


class MachinePace(Strict):
    """A program: every token at once."""

    kind: Literal["machine"]


class CustomPace(Strict):
    """A rate in tokens per second."""

    kind: Literal["custom"] = "custom"
    ttft: TimeToFirstToken = 1.0
    rate: Annotated[float, Field(ge=RATE[0], le=RATE[1], description="tokens per second")]


def _in_plain_words(value: Any, check: Callable[[Any], Any]) -> Any:
    """A union's refusal lists every branch; the core's names the field."""
    try:
        return check(value)
    except ValidationError:
        pace_from_spec(value)
        raise


Pace = Annotated[
    Literal["reading", "listening", "machine", "off"] | ReaderPace | MachinePace | CustomPace,
    WrapValidator(_in_plain_words),
]


def pace_spec(pace: str | BaseModel | None) -> PaceSpec | None:
    """The same for the core and the stores: what was given, without what was null."""
    if pace is None or isinstance(pace, str):
        return pace
    return pace.model_dump(exclude_unset=True, exclude_none=True)
