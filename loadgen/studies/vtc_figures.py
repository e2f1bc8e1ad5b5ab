"""The synthetic figures of the VTC paper: what each of them shows, ours beside the figures of its stored runs.

Sheng et al., "Fairness in Serving Large Language Models", OSDI'24, arXiv 2401.00588v2. The paper prints curves; the
numbers called "paper" are computed from the raw results in its artifact. Service of a job counts evenly from its first
token to its last, as there. First-token times are means over the jobs whose first token falls into the span.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.measures import Table as Columns
from loadgen.measures import summarise
from loadgen.records import JobRecord
from loadgen.scenarios import load_scenario
from loadgen.simulator.artifact import serve
from loadgen.simulator.oracles import find_rule
from loadgen.studies.table import Cell, Table, show

Array = NDArray[np.float64]
Words = Mapping[str, tuple[str, str]]

WHOLE: Final = "whole run"


@dataclass(frozen=True, slots=True)
class Span:
    """Stretches of a run (seconds) that are looked at together; `paper`: policy -> (service/s, first token in s)."""

    name: str
    pieces: tuple[tuple[float, float], ...]
    paper: Words = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure; `paper`: policy -> (largest accumulated difference, tokens/s)."""

    number: str
    shows: str
    scenario: str
    policies: tuple[str, ...]
    spans: tuple[Span, ...]
    paper: Words = field(default_factory=dict)
    overrides: Mapping[str, int | float] = field(default_factory=dict)
    until_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one figure under one policy; arrays by client, in order of their names.

    `service` and `first_s` by span; `difference`: the largest of max_i W_i(0,t) - min_i W_i(0,t) over every second up
    to the last arrival; `gap`: the largest between two clients while both wait.
    """

    service: Mapping[str, Array]
    first_s: Mapping[str, Array]
    difference: float
    gap: float
    throughput: float


def _whole(**paper: tuple[str, str]) -> Span:
    return Span(WHOLE, ((0.0, float("inf")),), paper)


def _minutes(first: int, last: int, *, step: int = 1) -> tuple[tuple[float, float], ...]:
    """Minutes `first` to `last`, counted from 1."""
    return tuple((60.0 * (minute - 1), 60.0 * minute) for minute in range(first, last + 1, step))


FIGURES: Final = (
    Figure(
        "3",
        "both above their share: bounded gap",
        "vtc_overload",
        ("fcfs", "vtc"),
        (
            Span("minutes 2-10", _minutes(2, 10), {"fcfs": ("437 / 874", ""), "vtc": ("677 / 674", "")}),
            _whole(fcfs=("", "485 / 485"), vtc=("", "215 / 598")),
        ),
        {"fcfs": ("261,978", "876"), "vtc": ("1,675", "895")},
    ),
    Figure(
        "4",
        "two below their share, one above: who asks for little waits little",
        "vtc_proportional",
        ("fcfs", "vtc"),
        (
            Span("minutes 2-10", _minutes(2, 10), {"fcfs": ("143 / 287 / 860", ""), "vtc": ("190 / 383 / 755", "")}),
            _whole(fcfs=("", "97 / 97 / 96"), vtc=("", "4.8 / 4.9 / 124")),
        ),
        {"fcfs": ("", "856"), "vtc": ("", "883")},
    ),
    Figure(
        "5",
        "c1 on and off below its share: its idle share is lent",
        "vtc_on_off_less",
        ("fcfs", "vtc"),
        (
            Span("c1 on", _minutes(1, 9, step=2), {"vtc": ("326 / 990", "")}),
            Span("c1 off", _minutes(2, 10, step=2), {"vtc": ("57 / 1260", "")}),
            _whole(vtc=("", "3.5 / 102")),
        ),
        {"vtc": ("", "877")},
    ),
    Figure(
        "6",
        "c1 on and off above its share, so that it waits while off too: equal shares throughout",
        "vtc_on_off_overload",
        ("fcfs", "vtc"),
        (Span("minutes 2-10", _minutes(2, 10), {"vtc": ("654 / 661", "")}), _whole(vtc=("", "75 / 509"))),
        {"vtc": ("8,835", "879")},
    ),
    Figure(
        "7",
        "480 requests of 64/64 and 90 of 256/256 a minute: size does not matter",
        "vtc_short_long",
        ("fcfs", "vtc"),
        (
            Span("minutes 2-10", _minutes(2, 10), {"fcfs": ("1310 / 935", ""), "vtc": ("1025 / 1010", "")}),
            _whole(fcfs=("", "69 / 68"), vtc=("", "133 / 45")),
        ),
        {"fcfs": ("219,873", "1475"), "vtc": ("20,469", "1445")},
    ),
    Figure(
        "8",
        "long answers beside long prompts, lengths as in the text (64/512, 512/64)",
        "vtc_in_out",
        ("fcfs", "vtc"),
        (Span("minutes 2-10", _minutes(2, 10)), _whole()),
    ),
    Figure(
        "8a",
        "the same with the artifact's lengths (512/32, 32/512)",
        "vtc_in_out",
        ("fcfs", "vtc"),
        (
            Span("minutes 2-5", _minutes(2, 5), {"fcfs": ("1750 / 590", ""), "vtc": ("780 / 780", "")}),
            Span("minute 1", _minutes(1, 1), {"vtc": ("1334 / 656", "")}),
            _whole(fcfs=("", "250 / 245 (5 min)"), vtc=("", "902 / 303")),
        ),
        {"fcfs": ("337,966 (5 min)", "1923"), "vtc": ("41,549", "1671")},
        {"short": 512, "long": 32},
    ),
    Figure(
        "9",
        "c2 asks for more and more: c1 does not feel it",
        "vtc_increase",
        ("fcfs", "vtc"),
        (
            Span(
                "minute 10",
                _minutes(10, 10),
                {"fcfs": ("294 / 1063", "29 / 29"), "vtc": ("383 / 977", "0.5 / 36.9")},
            ),
            _whole(fcfs=("", "7.2 / 11.7"), vtc=("", "0.35 / 14.6")),
        ),
        {"fcfs": ("", "743"), "vtc": ("", "744")},
    ),
    Figure(
        "10",
        "the mix changes: with the lift 1:1, without it c1's old credit is repaid",
        "vtc_shift",
        ("lcf", "vtc"),
        (
            Span("minutes 6-10", _minutes(6, 10), {"lcf": ("769 / 590", "4.5 / 212"), "vtc": ("678 / 678", "")}),
            Span("minute 6", _minutes(6, 6), {"vtc": ("", "14 (c1)")}),
            Span("minute 10", _minutes(10, 10), {"vtc": ("", "40 (c1)")}),
        ),
        {"lcf": ("", "899"), "vtc": ("", "903")},
        until_s=900.0,
    ),
    Figure(
        "16",
        "weights 1:2:3:4 at equal rates, each above its share (the paper's rates were as 1:2:3:4: FCFS does the same)",
        "vtc_weighted",
        ("fcfs", "vtc"),
        (Span("minutes 2-6", _minutes(2, 6), {"vtc": ("134 / 269 / 404 / 538", "")}), _whole()),
        until_s=360.0,
    ),
)

QUICK: Final = ("9",)


def see(figure: Figure, policy: str, seed: int) -> Seen:
    """Serve the figure's load on the artifact's server."""
    run = serve(load_scenario(figure.scenario, seed=seed, overrides=figure.overrides), find_rule(policy))
    records = [job.record() for job in run.jobs]
    columns, names = Columns.of(records), list(dict.fromkeys(record.client for record in records))
    order = np.argsort(names)
    service, first_s = {}, {}
    for span in figure.spans:
        pieces = [(low, min(high, run.ended_s)) for low, high in span.pieces]
        got = np.array([columns.received(*piece) for piece in pieces]).sum(axis=0)
        service[span.name] = got[order] / sum(high - low for low, high in pieces)
        first_s[span.name] = np.array([_first_s(records, names[at], span) for at in order])
    throughput = summarise(records)["throughput_tok_s"]
    return Seen(service, first_s, _difference(columns, figure.until_s), run.gap.largest, throughput)


def _first_s(records: Sequence[JobRecord], client: str, span: Span) -> float:
    """Mean first-token time of the client's jobs whose first token falls into the span (s); nan of none."""
    waits = [
        record.first_token_s - record.arrived_s
        for record in records
        if record.client == client
        and record.first_token_s is not None
        and any(low <= record.first_token_s < high for low, high in span.pieces)
    ]
    return float(np.mean(waits)) if waits else float("nan")


def _difference(columns: Columns, until_s: float) -> float:
    """The largest difference of what clients got so far, per weight, over every second."""
    sums = (columns.received(0.0, at_s) / columns.weight for at_s in np.arange(1.0, until_s + 1))
    return max(float(np.ptp(one)) for one in sums)


def run(args: argparse.Namespace) -> list[Table]:
    """Every figure in two tables: what each client got when, and how far apart they came."""
    chosen = [figure for figure in FIGURES if not args.quick or figure.number in QUICK]
    seen = [(figure, policy, see(figure, policy, args.seed)) for figure in chosen for policy in figure.policies]
    return [_clients(seen), _gaps(seen)]


def _clients(seen: Sequence[tuple[Figure, str, Seen]]) -> Table:
    rows: list[list[Cell]] = []
    for figure, policy, found in seen:
        for span in figure.spans:
            printed = span.paper.get(policy, ("", ""))
            service, first_s = _row(found.service[span.name]), _row(found.first_s[span.name])
            if span.name == WHOLE:
                service = ""  # over the whole run everybody gets all that was asked for
            rows.append([figure.number, policy, span.name, service, printed[0], first_s, printed[1]])
    shown = "; ".join(f"{number}: {shows}" for number, shows in {f.number: f.shows for f, _, _ in seen}.items())
    columns = ["figure", "policy", "when", "service/s by client", "paper", "first token (s)", "paper"]
    return Table("VTC, synthetic figures: what each client got", columns, rows, f"What the figures show. {shown}.")


def _gaps(seen: Sequence[tuple[Figure, str, Seen]]) -> Table:
    rows: list[list[Cell]] = []
    for figure, policy, found in seen:
        apart, speed = figure.paper.get(policy, ("", ""))
        rows.append([figure.number, policy, found.difference, apart, found.gap, found.throughput, speed])
    columns = ["figure", "policy", "largest difference", "paper", "gap while both wait", "tok/s", "paper"]
    note = "The bound on the gap while both wait is 2U = 40,000 (U = 2 * 10,000 tokens of pool; the least weight is 1)."
    return Table("VTC, synthetic figures: how far apart, how fast", columns, rows, note)


def _row(values: Array) -> str:
    return " / ".join("-" if np.isnan(value) else show(float(value)) for value in values)
