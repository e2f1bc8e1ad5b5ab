"""Who reads: `--pace SPEC` as a function that gives every request of a client its pace.

A client is one person (or program): it has one speed, drawn once by seed and name, for all of its requests. The time
to the first token that a reader or listener expects grows with the prompt: max(1 s, input tokens / 5000), as in Andes
v2 (arXiv 2404.16283v2). `reading:1` fixes it at 1 s, as in v1.

Populations: shares and seconds per token as in the generator of Andes' own request traces (generate_qoe_trace.py of
its artifact), reading by age group, speaking by language.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final

from gateway.core.pace import MACHINE, RATE, TTFT_S, Pace

PaceOf = Callable[[str, int], Pace]
"""The pace of a request: (client, input tokens) -> pace."""

READING: Final = ((0.2804, 0.196), (0.5187, 0.230), (0.1119, 0.240), (0.0556, 0.249), (0.0333, 0.264))
"""Readers by age group (18-24, 25-44, 45-54, 55-64, 65 and older): (share, seconds per token)."""

SPEAKING: Final = ((0.7929, 0.31), (0.0703, 0.15), (0.0692, 0.19), (0.0358, 0.15), (0.0317, 0.13))
"""Speakers by language (English, Chinese, Korean, French, Spanish): (share, seconds per token)."""

TOKENS_PER_EXPECTED_SECOND: Final = 5000.0
MIXTURE: Final = (("reading", 0.5), ("listening", 0.2), ("machine", 0.2), ("media", 0.1))
MEDIA: Final = Pace("media", ttft_s=1.0, rate=12.5, start_units=6.25)
"""Generated speech: a token is one codec frame of 80 ms (12.5 a second, as in Mimi, arXiv 2410.00037). Playing starts
when half a second lies ready."""


class PaceError(ValueError):
    """A pace that nobody can read; the message says what is possible."""


def pace_of(spec: str, seed: int) -> PaceOf:
    """The paces of a workload's clients.

    `spec` is `reading`, `listening` (both also with a fixed time to the first token: `reading:1`), `machine`, `media`,
    `mixed` (each client is one of these four, by MIXTURE), `RATE` or `TTFT:RATE` (tokens per second, seconds). Raises
    PaceError.
    """
    word, colon, rest = spec.partition(":")
    if word in ("reading", "listening"):
        ttft_s = _number(spec, rest, TTFT_S) if colon else None
        return _person(word, ttft_s, seed)
    if spec == "machine":
        return lambda client, input_tokens: MACHINE  # noqa: ARG005 - a program has one pace
    if spec == "media":
        return lambda client, input_tokens: MEDIA  # noqa: ARG005 - every player plays at the same speed
    if spec == "mixed":
        return _mixed(seed)
    ttft_s = _number(spec, word, TTFT_S) if colon else 1.0
    custom = Pace("custom", ttft_s, _number(spec, rest if colon else word, RATE))
    return lambda client, input_tokens: custom  # noqa: ARG005 - everybody has the same pace


def _person(kind: str, ttft_s: float | None, seed: int) -> PaceOf:
    population = READING if kind == "reading" else SPEAKING
    rates: dict[str, float] = {}

    def pace(client: str, input_tokens: int) -> Pace:
        if client not in rates:
            rates[client] = 1 / _drawn(population, seed, client)
        expected = max(1.0, input_tokens / TOKENS_PER_EXPECTED_SECOND) if ttft_s is None else ttft_s
        return Pace("reading" if kind == "reading" else "listening", expected, rates[client])

    return pace


def _mixed(seed: int) -> PaceOf:
    kinds = {name: pace_of(name, seed) for name, _ in MIXTURE}
    chosen: dict[str, PaceOf] = {}

    def pace(client: str, input_tokens: int) -> Pace:
        if client not in chosen:
            draw = random.Random(f"kind:{seed}:{client}")
            chosen[client] = kinds[draw.choices([name for name, _ in MIXTURE], [share for _, share in MIXTURE])[0]]
        return chosen[client](client, input_tokens)

    return pace


def _drawn(population: Sequence[tuple[float, float]], seed: int, client: str) -> float:
    """Seconds per token of one person; the same seed and name give the same person."""
    draw = random.Random(f"speed:{seed}:{client}")
    return draw.choices([speed for _, speed in population], [share for share, _ in population])[0]


def _number(spec: str, text: str, bounds: tuple[float, float]) -> float:
    low, high = bounds
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise PaceError(
            f"pace {spec!r}: {text!r} is not a number from {low:g} to {high:g}; a pace is reading[:TTFT], "
            "listening[:TTFT], machine, media, mixed, RATE or TTFT:RATE"
        )
    return value
