"""Writes the test vectors that every implementation of QoE and pacing must meet.

    python -m tests.vectors.make        # rewrites qoe.json, pacing.json and paces.json beside this file

Inputs are fixed by a seed and rounded to milliseconds; expectations come from the exact formulas of gateway.core.qoe,
never from the online tracker. README.md describes the format.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

from gateway.core.pace import LANGUAGES, Pace, PaceSpec, pace_from_spec
from gateway.core.qoe import Away, Delivery, Ending, exact_qoe, reader_time, shown_times
from gateway.core.units import in_characters, media_pace

HERE: Final = Path(__file__).parent
SEED: Final = 16283
READER: Final = Pace("custom", ttft_s=1.0, rate=4.0)

Case = dict[str, Any]
Stream = tuple[str, Pace, list[Delivery], Away]


def steady(count: int, first: float, rate: float, units: float = 1.0) -> list[Delivery]:
    """`count` deliveries at an even rate (per second), to the millisecond."""
    return [Delivery(round(first + i / rate, 3), units) for i in range(count)]


def named_streams() -> Iterator[Stream]:
    """One stream for each rule."""
    once = [Delivery(at) for at in (2.0, 2.1, 2.2, 5.0, 5.1)]
    yield "worked example: 0.5097", READER, once, []
    yield "on time", READER, steady(20, 1.0, 4.0), []
    yield "all early", READER, steady(20, 0.2, 20.0), []
    yield "late, then fast", READER, steady(20, 3.0, 20.0), []
    yield "half the speed", READER, steady(20, 1.0, 2.0), []
    yield "a stall of 4 s", READER, [*steady(10, 1.0, 4.0), *steady(10, 7.5, 4.0)], []
    yield "a stall that the buffer covers", READER, [Delivery(1.0, 10), *steady(10, 3.5, 4.0)], []
    yield "gulps", READER, [Delivery(1.5, 7), Delivery(1.6, 1), Delivery(6.25, 12)], []
    yield "a single token, late", READER, [Delivery(3.0)], []
    yield "nothing at all", READER, [], []
    yield "delivered while away", READER, [*steady(4, 1.0, 4.0), *steady(8, 5.0, 4.0)], [(1.9, 20.0)]
    yield "away before the first token", READER, steady(6, 8.0, 4.0), [(0.5, 7.5)]
    yield "away twice", READER, steady(30, 1.0, 2.0), [(3.2, 5.2), (6.1, 11.2)]
    yield "a machine", pace_from_spec("machine"), steady(40, 2.0, 10.0), []
    characters = in_characters(pace_from_spec({"kind": "reading", "language": "en"}))
    yield "characters", characters, steady(25, 1.2, 5.0, 4), []
    sound = media_pace(ttft_s=1.0, start_buffer_s=3.0)
    yield "media with a start buffer", sound, steady(6, 0.8, 0.5, 2.0), []
    yield "media shorter than its buffer", sound, [Delivery(1.0, 0.5), Delivery(4.0, 0.5)], []
    yield "media in two qualities", sound, [Delivery(1.0, 4.0), Delivery(3.0, 4.0, 0.6), Delivery(4.0, 2.0)], []


def random_streams(count: int) -> Iterator[Stream]:
    """Anything else: gaps, gulps, absences."""
    chance = Random(SEED)
    for number in range(count):
        pace = Pace("custom", chance.randint(0, 3000) / 1000, chance.randint(5, 120) / 10)
        clock, deliveries, away = 0, [], []
        for _ in range(chance.randint(1, 40)):
            clock += chance.choice([chance.randint(1, 400), chance.randint(1, 4000)])
            if chance.random() < 0.05:
                left, clock = clock, clock + chance.randint(500, 9000)
                away.append((left / 1000, clock / 1000))
                deliveries.append(Delivery((left + clock) // 2 / 1000, chance.randint(1, 12)))
                clock += 1
            deliveries.append(Delivery(clock / 1000, chance.choice([1, 1, 1, chance.randint(1, 12)])))
        yield f"random {number}", pace, deliveries, away


def streams() -> Iterator[Stream]:
    yield from named_streams()
    yield from random_streams(30)


def described(name: str, pace: Pace, deliveries: list[Delivery], away: Away) -> Case:
    """What both files say of a stream."""
    return {
        "name": name,
        "pace": {"ttft_s": pace.ttft_s, "rate": pace.rate, "start_units": pace.start_units, "paced": pace.paced},
        "deliveries": [[d.at_s, d.units, d.quality] for d in deliveries],
        "away": [list(each) for each in away],
    }


def instants(deliveries: list[Delivery]) -> list[float]:
    """Some times to ask at: before, during and after (seconds since arrival)."""
    last = deliveries[-1].at_s if deliveries else 2.0
    return [round(last * share, 3) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] + [round(last + 3.0, 3)]


def qoe_cases() -> Iterator[Case]:
    """The final QoE however a stream ends."""
    for name, pace, deliveries, away in streams():
        times = instants(deliveries)
        case = described(name, pace, deliveries, away)
        case["finished"] = {"at_s": times[-1], "qoe": exact_qoe(pace, deliveries, Ending.FINISHED, times[-1], away)}
        case["left"] = [{"at_s": at, "qoe": exact_qoe(pace, deliveries, Ending.LEFT, at, away)} for at in times]
        yield case


def pacing_cases() -> Iterator[Case]:
    """When each delivery begins to be shown, and how far ahead of its reader a stream is."""
    for name, pace, deliveries, away in streams():
        case = described(name, pace, deliveries, away)
        case["shown_from_s"] = [each.read_from_s for each in shown_times(pace, deliveries, away)]
        case["lead"] = [{"at_s": at, "lead_s": lead(pace, deliveries, at, away)} for at in instants(deliveries)]
        yield case


def pace_cases() -> Iterator[Case]:
    """What a spec of the field `pace` means in characters."""
    specs: list[PaceSpec] = ["reading", "listening", "machine", "off", {"kind": "machine"}, {"ttft": 2.5, "rate": 4.8}]
    for language in LANGUAGES:
        specs += [{"kind": kind, "language": language} for kind in ("reading", "listening")]
        specs += [{"kind": "reading", "language": language, "words_per_minute": 300, "ttft": 0.5}]
    specs.append({"kind": "listening", "language": "pt-BR", "words_per_minute": 120})
    for spec in specs:
        tag = "en" if isinstance(spec, str) else str(spec.get("language", "en"))
        pace = in_characters(pace_from_spec(spec), tag.partition("-")[0])
        yield {"spec": spec, "ttft_s": pace.ttft_s, "rate": pace.rate if pace.paced else None}


def lead(pace: Pace, deliveries: list[Delivery], at_s: float, away: Away) -> float:
    """Delivered and unshown, in seconds of reading."""
    seen = [d for d in deliveries if d.at_s <= at_s]
    units = sum(d.units for d in seen)
    if not pace.paced or not seen:
        return 0.0
    if units < pace.start_units:
        return units / pace.rate
    last = shown_times(pace, seen, away)[-1]
    return max(0.0, last.read_from_s + last.units / pace.rate - reader_time(at_s, away))


def text_of(cases: Iterator[Case]) -> str:
    """A case a line, so that a change reads well. Numbers are rounded far below the tolerance that README.md gives."""
    lines = (json.dumps(_rounded(case), ensure_ascii=True) for case in cases)
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 12)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def files() -> dict[str, str]:
    """Each file's name and what it holds."""
    return {
        "qoe.json": text_of(qoe_cases()),
        "pacing.json": text_of(pacing_cases()),
        "paces.json": text_of(pace_cases()),
    }


if __name__ == "__main__":
    for file, text in files().items():
        (HERE / file).write_text(text, encoding="utf-8")
