"""How fast an answer is wanted: the pace of a reader, of a listener, or of a program.

Rules of this file. A pace is two numbers, the expected time to the first token in seconds and the expected
rate afterwards in tokens per second; everything else (language, words per minute) is converted to them here
and nowhere else. Paces that count characters or seconds of media instead of tokens are made in `units`. A
machine's pace is an expectation only: what is sent to a machine is never held back.

Sources of the reading speeds. Reading aloud by language: Trauzettel-Klosinski & Dietz 2012 (the IReST
texts), Investigative Ophthalmology & Visual Science 53:5452, doi 10.1167/iovs.11-8284. Silent reading of
English, 238 words a minute: Brysbaert 2019, Journal of Memory and Language 109:104047, doi
10.1016/j.jml.2019.104047. Silent speeds of the other languages are IReST's scaled by 238/228, so that
English meets Brysbaert; take them as +-20 %. Listening is scaled in the same way to 155 words of English a
minute, the usual pace of an audiobook. Tokens per word were counted on the Universal Declaration of Human
Rights with the o200k_base tokenizer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, NoReturn

from gateway.errors import InvalidRequest

PaceKind = Literal["reading", "listening", "machine", "custom", "media"]
PaceUnit = Literal["token", "character", "second"]
PaceSpec = str | Mapping[str, str | float]

_ENGLISH_SILENT_WPM: Final = 238.0
_ENGLISH_LISTENING_WPM: Final = 155.0
_DEFAULT_TTFT_S: Final = 1.0

WORDS_PER_MINUTE: Final = (20.0, 2000.0)
TTFT_S: Final = (0.0, 3600.0)
RATE: Final = (0.1, 10_000.0)


class Language(NamedTuple):
    """One row of the table: silent reading in tokens (o200k) per second, and tokens per word.

    Chinese and Japanese are counted in characters: there a "word" is one character.
    """

    silent_rate: float
    tokens_per_word: float


LANGUAGES: Final[Mapping[str, Language]] = MappingProxyType(
    {
        "ar": Language(4.20, 1.75),
        "de": Language(4.77, 1.53),
        "en": Language(4.46, 1.12),
        "es": Language(4.77, 1.26),
        "fi": Language(7.19, 2.57),
        "fr": Language(4.52, 1.33),
        "he": Language(7.21, 2.22),
        "it": Language(5.05, 1.54),
        "ja": Language(5.75, 0.93),
        "nl": Language(4.90, 1.39),
        "pl": Language(6.50, 2.25),
        "pt": Language(4.09, 1.30),
        "ru": Language(5.50, 1.72),
        "sl": Language(6.45, 2.06),
        "sv": Language(6.49, 1.87),
        "tr": Language(6.28, 2.17),
        "zh": Language(3.87, 0.87),
    }
)


@dataclass(frozen=True, slots=True)
class Pace:
    """What a reader expects: the first token after `ttft_s` seconds, then `rate` tokens per second.

    `unit` is what is counted instead, where it is not tokens: `rate` is in units per second. Showing begins once
    `start_units` units are there, or all if there are fewer (a player's start buffer).
    """

    kind: PaceKind
    ttft_s: float
    rate: float
    unit: PaceUnit = "token"
    start_units: float = 0.0

    @property
    def paced(self) -> bool:
        """Whether delivery may be held to the rate. A machine gets every token at once."""
        return self.kind != "machine"


MACHINE: Final = Pace("machine", ttft_s=_DEFAULT_TTFT_S, rate=10.0)

_FIELDS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "reading": frozenset({"kind", "ttft", "language", "words_per_minute"}),
        "listening": frozenset({"kind", "ttft", "language", "words_per_minute"}),
        "machine": frozenset({"kind"}),
        "custom": frozenset({"kind", "ttft", "rate"}),
    }
)
_SHORTHANDS: Final[Mapping[str, str]] = MappingProxyType(
    {"reading": "reading", "listening": "listening", "machine": "machine", "off": "machine"}
)


def pace_from_spec(spec: PaceSpec) -> Pace:
    """Read the request field `pace` (or a key's or a pool's default).

    A spec is one of the words "reading", "listening", "machine", "off" (the same as "machine"), or an
    object: `{"kind": "reading" | "listening", "language": "en", "words_per_minute": 238, "ttft": 1}`,
    `{"kind": "machine"}`, or `{"ttft": seconds, "rate": tokens per second}`. Raises InvalidRequest whose
    `param` names the bad field.
    """
    if isinstance(spec, str):
        kind = _SHORTHANDS.get(spec)
        if kind is None:
            _refuse("pace", f"must be one of {_listed(_SHORTHANDS)}, or an object")
        return pace_from_spec({"kind": kind})
    if not isinstance(spec, Mapping):
        _refuse("pace", "must be a word or an object")
    kind = _kind_of(spec)
    if kind == "machine":
        return MACHINE
    ttft_s = _number(spec, "ttft", TTFT_S, default=_DEFAULT_TTFT_S)
    if kind == "custom":
        return Pace("custom", ttft_s, _number(spec, "rate", RATE, default=None))
    if kind == "reading":
        return Pace("reading", ttft_s, _rate(spec, english_wpm=_ENGLISH_SILENT_WPM))
    return Pace("listening", ttft_s, _rate(spec, english_wpm=_ENGLISH_LISTENING_WPM))


def _kind_of(spec: Mapping[str, object]) -> str:
    """The kind, once all fields are known to belong to it."""
    kind = spec.get("kind", "custom")
    if not isinstance(kind, str) or kind not in _FIELDS:
        _refuse("pace.kind", f"must be one of {_listed(_FIELDS)}")
    for field in spec:
        if field not in _FIELDS[kind]:
            # The name came from the client: it is cut short before it goes into a message.
            _refuse(f"pace.{str(field)[:40]}", f"is not a field of a {kind} pace")
    return kind


def _rate(spec: Mapping[str, object], *, english_wpm: float) -> float:
    """Tokens per second, from words per minute where given, else from the language's own speed."""
    language = _language(spec)
    if "words_per_minute" in spec:
        return _number(spec, "words_per_minute", WORDS_PER_MINUTE, default=None) / 60 * language.tokens_per_word
    return language.silent_rate * english_wpm / _ENGLISH_SILENT_WPM


def _language(spec: Mapping[str, object]) -> Language:
    """The table's row for a language tag; only its first part counts (`pt-BR` is `pt`)."""
    tag = spec.get("language", "en")
    row = LANGUAGES.get(tag.lower().replace("_", "-").partition("-")[0]) if isinstance(tag, str) else None
    if row is None:
        _refuse("pace.language", f"must be one of {_listed(LANGUAGES)}")
    return row


def _number(spec: Mapping[str, object], field: str, bounds: tuple[float, float], *, default: float | None) -> float:
    value = spec.get(field, default)
    low, high = bounds
    # bool is an int in Python, and not a number to whoever wrote the request; NaN fails every comparison.
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        _refuse(f"pace.{field}", f"must be a number from {low:g} to {high:g}")
    return float(value)


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _refuse(param: str, problem: str) -> NoReturn:
    raise InvalidRequest(f"'{param}' {problem}.", param=param)
