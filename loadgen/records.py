"""What became of each request: one record per job, as rows of a CSV file.

The simulator and the load generator write the same records, so that the same measures and reports are made of both.
Times are in seconds from the start of the run; None is what did not happen or could not be seen.
"""

import csv
import gzip
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, TextIO, get_args, get_type_hints

Outcome = Literal["finished", "rejected", "failed", "left"]


class RecordError(ValueError):
    """A file of records that cannot be read; the message names the file and the line."""


@dataclass(slots=True)
class JobRecord:
    """One job. `output_tokens` were asked for, `produced` came; `engine` is the one that served it last.

    `ttft_due_s` and `rate` are its pace (seconds after arrival, units per second). `qoe` counts as
    gateway/core/qoe.py says: 0 for a job that failed or was rejected. `stall_after_pause_s` is the longest time that
    its reader, having begun, had nothing to read because of a pause; `reprefilled_tokens` were computed once more.
    `stall_s` is the longest time of that kind whatever the cause, begun at `stalled_s`: what a client sees. None of
    readers who looked away.
    `policy` tells apart the jobs of several simulations in one file.
    """

    index: int
    client: str
    weight: float
    arrived_s: float
    input_tokens: int
    output_tokens: int
    pace_kind: str
    ttft_due_s: float
    rate: float
    outcome: Outcome
    started_s: float | None = None
    first_token_s: float | None = None
    last_token_s: float | None = None
    ended_s: float | None = None
    produced: int = 0
    qoe: float = 0.0
    pauses: int | None = None
    stall_after_pause_s: float | None = None
    stall_s: float | None = None
    stalled_s: float | None = None
    reprefilled_tokens: int | None = None
    engine: str | None = None
    error: str | None = None
    policy: str | None = None


COLUMNS: Final = tuple(field.name for field in fields(JobRecord))


def write_records(path: str | Path, records: Iterable[JobRecord]) -> None:
    """One row per job, packed if the name ends in .gz. OSError if it cannot be written."""
    with _opened(Path(path), "wt") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([getattr(record, name) for name in COLUMNS] for record in records)


def read_records(path: str | Path) -> Iterator[JobRecord]:
    """The jobs of a file, in its order. RecordError names the line that is wrong; OSError if there is no file."""
    readers = {name: _reader(kind) for name, kind in get_type_hints(JobRecord).items()}
    with _opened(Path(path), "rt") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if set(header) != set(COLUMNS):
            raise RecordError(f"{path}:1: these are not the columns of records")
        kinds = [(name, *readers[name]) for name in header]
        for row in rows:
            try:
                cells = zip(kinds, row, strict=True)
                values: dict[str, Any] = {
                    name: None if optional and not cell else kind(cell) for (name, kind, optional), cell in cells
                }
                record = JobRecord(**values)
            except ValueError as problem:
                raise RecordError(f"{path}:{rows.line_num}: {problem}") from problem
            if record.outcome not in get_args(Outcome):
                raise RecordError(f"{path}:{rows.line_num}: no outcome is called {record.outcome!r}")
            yield record


def _reader(kind: Any) -> tuple[Any, bool]:
    """How a cell of this type is read, and whether it may be empty."""
    if isinstance(kind, types.UnionType):
        return get_args(kind)[0], True
    return (str if kind is Outcome else kind), False


@contextmanager
def _opened(path: Path, mode: Literal["rt", "wt"]) -> Iterator[TextIO]:
    """A text file, packed or not."""
    if path.suffix == ".gz":
        with gzip.open(path, mode, encoding="utf-8", newline="") as packed:
            yield packed
    else:
        with path.open(mode, encoding="utf-8", newline="") as plain:
            yield plain
