"""Traces: CSV files of arrival times and lengths, read as workloads.

Columns, in any order: `arrived_s` (seconds), `input_tokens`, `output_tokens`, `client` (optional; may be empty). A name
ending in .gz is unpacked.
Blank lines, spaces after commas and a byte order mark do not matter. The traces that come with the package, and their
sources: `loadgen/traces/README.md`.
"""

import csv
import gzip
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from loadgen.paces import pace_of
from loadgen.workload import Request, Workload

FOLDER: Final = Path(__file__).parent / "traces"
TENANTS: Final = 20
"""How many clients a trace without clients gets, by Zipf's law: the k-th has a share in proportion to 1/k."""

COARSE_S: Final = {"mooncake_conversation": 3.0}
"""Traces whose times are rounded down to a step, in seconds: each request is spread over its step."""


class TraceError(ValueError):
    """A trace that cannot be read; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a trace; `client` is empty where the source has none."""

    arrived_s: float
    input_tokens: int
    output_tokens: int
    client: str


def bundled() -> list[str]:
    """The names of the traces that come with the package."""
    return sorted(path.name.removesuffix(".csv.gz") for path in FOLDER.glob("*.csv.gz"))


def find_trace(name_or_path: str | Path) -> Path:
    """A file as it is given, or the package's own trace of that name. TraceError if there is neither."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    own = FOLDER / f"{name_or_path}.csv.gz"
    if str(name_or_path) in bundled():
        return own
    raise TraceError(f"{name_or_path}: no such file, and no trace of that name here ({', '.join(bundled())})")


def load_trace(
    path: str | Path,
    *,
    rate_scale: float = 1.0,
    seed: int = 0,
    pace: str = "reading",
    start_s: float = 0.0,
    duration_s: float | None = None,
    clients_every: int = 1,
) -> Workload:
    """A trace, or a piece of it, as a workload whose time begins at 0.

    `path` is a file or the name of a bundled trace, `pace` as in `paces.pace_of`. `start_s` and `duration_s` choose a
    piece by the trace's own time; `clients_every` k keeps every k-th client (by first appearance) whole, which keeps
    each client's burstiness. Then times are divided by `rate_scale`: 2 is twice the rate. Raises TraceError, PaceError.
    """
    if rate_scale <= 0 or clients_every < 1:
        raise TraceError("rate_scale is positive, clients_every at least 1")
    file = find_trace(path)
    name = file.name.removesuffix(".gz").removesuffix(".csv")
    rows = _named(_spread(list(read_rows(file)), COARSE_S.get(name, 0.0), seed), seed)
    kept = set(list(dict.fromkeys(row.client for row in rows))[::clients_every])
    end_s = float("inf") if duration_s is None else start_s + duration_s
    paces = pace_of(pace, seed)
    piece = [row for row in rows if row.client in kept and start_s <= row.arrived_s < end_s]
    if not piece:
        raise TraceError(f"{path}: no request in it, or none in the piece that was asked for")
    at = [(row.arrived_s - start_s) / rate_scale for row in piece]
    sizes = [(row.client, row.input_tokens, row.output_tokens) for row in piece]
    made = (Request(k, at[k], *size, paces(*size[:2])) for k, size in enumerate(sizes))
    return Workload(name, tuple(made))


def read_rows(path: Path) -> Iterator[Row]:
    """The lines of a trace, in the file's order. TraceError names the line that is wrong."""
    with _opened(path) as file:
        reader = csv.reader(file, skipinitialspace=True)
        header = next(reader, [])
        missing = {"arrived_s", "input_tokens", "output_tokens"} - set(header)
        if missing:
            raise TraceError(f"{path}:1: column missing: {', '.join(sorted(missing))}")
        at = {name: header.index(name) for name in header}
        for cells in reader:
            if not cells:
                continue  # a blank line, as editors leave them at the end
            try:
                client = cells[at["client"]] if "client" in at else ""
                row = Row(
                    float(cells[at["arrived_s"]]),
                    int(cells[at["input_tokens"]]),
                    int(cells[at["output_tokens"]]),
                    client,
                )
            except (ValueError, IndexError) as problem:
                raise TraceError(f"{path}:{reader.line_num}: {problem}") from problem
            if not 0 <= row.arrived_s < float("inf") or row.input_tokens < 1 or row.output_tokens < 1:
                raise TraceError(f"{path}:{reader.line_num}: times are not negative, lengths at least 1")
            yield row


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """The file as text, unpacked; what is not gzip or not UTF-8 is a TraceError."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as packed:
                yield packed
        else:
            with path.open(encoding="utf-8-sig", newline="") as plain:
                yield plain
    except (OSError, EOFError, UnicodeDecodeError) as problem:
        raise TraceError(f"{path}: {problem}") from problem


def _spread(rows: list[Row], step_s: float, seed: int) -> list[Row]:
    """In order of time; each request at a random place of its step where the source rounded down."""
    draw = random.Random(f"spread:{seed}")
    if step_s:
        rows = [Row(r.arrived_s + draw.random() * step_s, r.input_tokens, r.output_tokens, r.client) for r in rows]
    return sorted(rows, key=lambda row: row.arrived_s)


def _named(rows: list[Row], seed: int) -> list[Row]:
    """Every row with a client: those of the trace, or drawn ones where it names none."""
    if any(row.client for row in rows):
        return rows
    draw = random.Random(f"tenants:{seed}")
    names = [f"t{k}" for k in range(1, TENANTS + 1)]
    chosen = draw.choices(names, [1 / k for k in range(1, TENANTS + 1)], k=len(rows))
    return [Row(r.arrived_s, r.input_tokens, r.output_tokens, c) for r, c in zip(rows, chosen, strict=True)]
