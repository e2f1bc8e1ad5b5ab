"""Scenarios: TOML files that describe a synthetic load, made into workloads by seed.

A file's `[parameters]` are the values that may be changed without editing it: where the file says "$name", the value
stands. `loadgen/scenarios/` holds the named ones, those of both papers among them.
"""

import csv
import gzip
import math
import random
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from loadgen import arrivals
from loadgen.paces import pace_of
from loadgen.scenario_file import Length, LogNormal, Phase, Readers, ScenarioFile, Tenant, Uniform
from loadgen.traces import FOLDER as TRACES
from loadgen.traces import load_trace
from loadgen.workload import Away, Reader, Request, Workload

FOLDER: Final = Path(__file__).parent / "scenarios"
MOST_SPANS: Final = 16
"""How often one reader hides the page, or loses the network, at most while it waits for one answer."""

Parameter = str | int | float


class ScenarioError(ValueError):
    """A scenario that cannot be made; the message names the file and the field."""


def scenarios() -> list[str]:
    """The names of the scenarios that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_scenario(name_or_path: str | Path, overrides: Mapping[str, Parameter] | None = None) -> ScenarioFile:
    """A scenario's description with its parameters put in. Raises ScenarioError."""
    path = _find(name_or_path)
    try:
        text = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise ScenarioError(f"{path}: {problem}") from problem
    parameters = text.pop("parameters", {})
    unknown = set(overrides or {}) - set(parameters)
    if unknown:
        known = ", ".join(sorted(parameters)) or "none"
        raise ScenarioError(f"{path}: no parameter {', '.join(sorted(unknown))}; there are: {known}")
    try:
        return ScenarioFile.model_validate(_filled(text, {**parameters, **(overrides or {})}))
    except KeyError as missing:
        raise ScenarioError(f"{path}: ${missing.args[0]} is not among the parameters") from missing
    except ValidationError as problem:
        faults = [f"{'.'.join(str(part) for part in e['loc']) or 'scenario'}: {e['msg']}" for e in problem.errors()[:4]]
        raise ScenarioError(f"{path}: {'; '.join(faults)}") from problem


def load_scenario(
    name_or_path: str | Path,
    *,
    rate_scale: float = 1.0,
    seed: int | None = None,
    pace: str | None = None,
    overrides: Mapping[str, Parameter] | None = None,
) -> Workload:
    """A scenario as a workload: by name, or a file of one's own by its path.

    `rate_scale` multiplies the rates and leaves the lengths of phases as they are (a trace's times are divided by it).
    `seed` and `pace` replace the file's own, `overrides` its parameters. Raises ScenarioError, TraceError, PaceError.
    """
    if rate_scale <= 0:
        raise ScenarioError("rate_scale is positive")
    scenario = read_scenario(name_or_path, overrides)
    chosen = scenario.seed if seed is None else seed
    name = Path(name_or_path).stem
    if scenario.trace is not None:
        piece = scenario.trace.model_dump()
        common = pace or scenario.pace
        found = load_trace(piece.pop("file"), rate_scale=rate_scale, seed=chosen, pace=common, **piece)
        return Workload(name, found.requests)
    requests = [
        request
        for tenant in scenario.tenants
        for request in _requests(tenant, rate_scale, chosen, pace or tenant.pace or scenario.pace)
    ]
    requests.sort(key=lambda request: request.arrived_s)
    return Workload(name, tuple(replace(request, index=index) for index, request in enumerate(requests)))


def _find(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.is_file():
        return path
    if str(name_or_path) in scenarios():
        return FOLDER / f"{name_or_path}.toml"
    raise ScenarioError(f"{name_or_path}: no such file, and no scenario of that name ({', '.join(scenarios())})")


def _filled(value: Any, parameters: Mapping[str, Parameter]) -> Any:
    """The same tree with "$name" replaced; KeyError for a name that is not a parameter."""
    if isinstance(value, str) and value.startswith("$"):
        return parameters[value[1:]]
    if isinstance(value, dict):
        return {key: _filled(below, parameters) for key, below in value.items()}
    return [_filled(below, parameters) for below in value] if isinstance(value, list) else value


def _requests(tenant: Tenant, rate_scale: float, seed: int, pace: str) -> Iterator[Request]:
    """All requests of a tenant's clients, each client drawn from a seed of its own."""
    paces = pace_of(pace, seed)
    pairs = _pairs(tenant) if tenant.lengths is not None else []
    for number in range(1, tenant.count + 1):
        name = tenant.client if tenant.count == 1 else f"{tenant.client}{number}"
        draw = random.Random(f"scenario:{seed}:{name}")
        times = arrivals.arrivals(_curve(tenant.phases, rate_scale), _gaps(tenant, draw))
        # One stream of draws for the times and one for the rest: other lengths leave the arrivals as they are.
        other = random.Random(f"requests:{seed}:{name}")
        for nth, at in enumerate(times, start=1):
            client = f"{name}-{nth}" if tenant.each_new else name
            size = (
                other.choice(pairs)
                if pairs
                else (_length(tenant.input_tokens, other), _length(tenant.output_tokens, other))
            )
            yield Request(0, at, client, *size, paces(client, size[0]), tenant.weight, _reader(tenant.readers, other))


def _curve(phases: tuple[Phase, ...], rate_scale: float) -> arrivals.Curve:
    return [piece for phase in phases for piece in _pieces(phase, phase.rate * rate_scale, rate_scale)]


def _pieces(phase: Phase, rate: float, rate_scale: float) -> arrivals.Curve:
    if phase.end_rate is not None:
        return arrivals.ramp(rate, phase.end_rate * rate_scale, phase.length_s)
    if phase.on_s is not None and phase.off_s is not None:
        return arrivals.on_off(rate, phase.length_s, on_s=phase.on_s, off_s=phase.off_s)
    if phase.period_s is not None and phase.share is not None and phase.intensity is not None:
        cycle = {"period_s": phase.period_s, "share": phase.share, "intensity": phase.intensity}
        return arrivals.cyclic_burst(rate, phase.length_s, **cycle)
    return arrivals.flat(rate, phase.length_s)


def _gaps(tenant: Tenant, draw: random.Random) -> Iterator[float]:
    if tenant.gaps == "constant":
        return arrivals.constant_gaps(draw)
    return arrivals.poisson_gaps(draw) if tenant.gaps == "poisson" else arrivals.gamma_gaps(draw, tenant.cv)


def _lengths(tenant: Tenant, draw: random.Random) -> tuple[int, int]:
    return _length(tenant.input_tokens, draw), _length(tenant.output_tokens, draw)


def _length(length: Length | None, draw: random.Random) -> int:
    if isinstance(length, Uniform):
        return draw.randint(length.low, length.high)
    if isinstance(length, LogNormal):
        sigma = math.sqrt(math.log(1 + length.cv**2))
        value = draw.lognormvariate(math.log(length.mean) - sigma**2 / 2, sigma)
        return min(length.high, max(1, round(value)))
    return length or 1


def _pairs(tenant: Tenant) -> list[tuple[int, int]]:
    """The table's pairs of input and output tokens, those above the tenant's `max_total` left out."""
    try:
        with gzip.open(_table(tenant.lengths or ""), "rt", encoding="utf-8", newline="") as file:
            pairs = [(int(row["input_tokens"]), int(row["output_tokens"])) for row in csv.DictReader(file)]
    except OSError as problem:
        raise ScenarioError(f"no table of lengths is called {tenant.lengths!r}") from problem
    kept = [pair for pair in pairs if tenant.max_total is None or sum(pair) <= tenant.max_total]
    if not kept:
        raise ScenarioError(f"no pair of {tenant.lengths!r} has at most {tenant.max_total} tokens")
    return kept


def _table(name: str) -> Path:
    """A table of lengths alone, or those of a trace that comes with the package."""
    own = FOLDER / "lengths" / f"{name}.csv.gz"
    return own if own.is_file() else TRACES / own.name


def _reader(readers: Readers, draw: random.Random) -> Reader:
    """One person's behaviour while one answer is on its way."""
    away = _spans(readers.visible_s, readers.hidden_s, draw) if draw.random() < readers.hiding else ()
    leaves_after_s = draw.expovariate(1 / readers.leaves_after_s) if draw.random() < readers.leaving else None
    # No draw for what a scenario does not have: its other draws stay what they were before there were networks.
    lossy = readers.lossy > 0 and draw.random() < readers.lossy
    outages = _spans(readers.outage_every_s, readers.outage_s, draw) if lossy else ()
    slow = readers.slow > 0 and draw.random() < readers.slow
    returning = readers.returning > 0 and draw.random() < readers.returning
    gone = _spans(readers.stays_s, readers.gone_s, draw) if returning else ()
    return Reader(away, leaves_after_s, outages, readers.bytes_per_s if slow else None, gone)


def _spans(apart_s: float, length_s: float, draw: random.Random) -> Away:
    """Intervals of exponential lengths at exponential distances."""
    spans, end = [], 0.0
    for _ in range(MOST_SPANS):
        begin = end + draw.expovariate(1 / apart_s)
        end = begin + draw.expovariate(1 / length_s)
        spans.append((begin, end))
    return tuple(spans)
