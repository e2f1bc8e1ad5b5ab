"""`python -m loadgen study NAME`: the tables of one claim."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from loadgen.arguments import whole
from loadgen.outputs import prepare_folder
from loadgen.studies import (
    andes,
    andes_seats,
    beyond,
    fleet,
    live,
    live_readers,
    questions,
    readers,
    scaling,
    speed,
    vtc,
    vtc_figures,
)
from loadgen.studies.table import Table

Study = Callable[[argparse.Namespace], Sequence[Table]]

STUDIES: Final[Mapping[str, Study]] = MappingProxyType(
    {
        "andes": andes.run,
        "andes-seats": andes_seats.run,
        "beyond": beyond.run_beyond,
        "fleet": fleet.run,
        "live": live.run,
        **{f"live-{name}": live.of(name) for name in live.CASES},
        "live-readers": live_readers.run,
        "questions": questions.run,
        **{f"questions-{name}": questions.of(name) for name in questions.PARTS},
        "readers": readers.run,
        "scaling": scaling.run,
        "slack": beyond.run_slack,
        "speed": speed.run,
        "vtc-table2": vtc.run,
        "vtc-figures": vtc_figures.run,
    }
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("name", choices=sorted(STUDIES), metavar="NAME", help=f"one of {', '.join(sorted(STUDIES))}")
    parser.add_argument("--seed", type=whole, default=1, help="of arrivals, clients and speeds (default 1)")
    parser.add_argument("--quick", action="store_true", help="a small version, to see that it works")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write NAME.json, NAME.md and figures there")


def run(args: argparse.Namespace) -> int:
    """Make the study, print its tables, write them where asked."""
    prepare_folder(args.out)
    tables = STUDIES[args.name](args)
    text = "\n".join(table.markdown() for table in tables)
    sys.stdout.write(text)
    if args.out is not None:
        (args.out / f"{args.name}.md").write_text(text, encoding="utf-8")
        found = {"study": args.name, "seed": args.seed, "tables": [table.as_json() for table in tables]}
        (args.out / f"{args.name}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0
