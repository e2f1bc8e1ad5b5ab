"""`python -m loadgen report` and `compare`: what runs amount to, for people and for other tools."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadgen import plot, tables
from loadgen.outputs import prepare, prepare_folder
from loadgen.page import page
from loadgen.records import JobRecord, RecordError, read_records
from loadgen.vllm_shape import vllm_result


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `report`."""
    parser.add_argument("result", type=Path, help="JSON of simulate or attack")
    parser.add_argument(
        "--records",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="rows per job of a policy (its name, where there are several); repeat for more. Figures need them",
    )
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one self-contained page with the figures")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="write every figure as SVG and PNG")
    parser.add_argument("--vllm", type=Path, metavar="FILE", help="write the JSON shape of vLLM's serving benchmark")


def run_report(args: argparse.Namespace) -> int:
    """Print the table, write the files that were asked for; 1 if something cannot be read."""
    try:
        result = tables.read_result(args.result)
        policies = result["policies"]
        records = {
            name: list(read_records(path)) for name, path in _named(args.records, list(policies), args.result).items()
        }
    except (tables.ResultError, RecordError, OSError) as problem:
        print(f"report: {problem}", file=sys.stderr)
        return 1
    prepare(args.html, args.vllm)
    prepare_folder(args.figures)
    rows = tables.side_by_side(policies)
    print(tables.markdown(rows) if args.markdown else tables.terminal(rows))
    figures = figures_of(policies, records)
    if args.html is not None:
        args.html.write_text(page(args.result.stem, rows, figures, result.get("config")), encoding="utf-8")
    if args.figures is not None:
        write_figures(args.figures, figures)
    if args.vllm is not None:
        if len(records) != 1:
            print("report: --vllm describes one run; give it one --records", file=sys.stderr)
            return 1
        ((name, jobs),) = records.items()
        args.vllm.write_text(json.dumps(vllm_result(jobs, policies.get(name, {}))), encoding="utf-8")
    return 0


def figures_of(policies: Mapping[str, Any], records: Mapping[str, Sequence[JobRecord]]) -> dict[str, Any]:
    """Caption -> figure, of what there is: records, and each policy's `gap_series` of (time, gap)."""
    figures: dict[str, Any] = {}
    if records:
        figures["Quality of experience"] = plot.qoe_distribution(records)
        figures["Time to first token"] = plot.ttft_distribution(records)
    tenants = {name: jobs for name, jobs in records.items() if len({job.client for job in jobs}) < len(jobs)}
    if tenants:  # nothing is to be told of tenants where everybody comes once
        figures["Time to first token per tenant"] = plot.ttft_by_tenant(tenants)
    for name, jobs in tenants.items():
        figures[f"Service per tenant, {name}"] = plot.service_over_time(jobs)
    gaps = {name: each["gap_series"] for name, each in policies.items() if each.get("gap_series")}
    if gaps:
        figures["Service gap between backlogged tenants"] = plot.gap_over_time(gaps)
    curves = {name: each["load_curve"] for name, each in policies.items() if each.get("load_curve")}
    if curves:
        figures["Average QoE against load"] = plot.qoe_against_load(curves)
    return figures


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `compare`."""
    parser.add_argument(
        "results",
        nargs="+",
        metavar="[NAME=]FILE",
        help="JSON of simulate or attack; files with the same name are repeats (by default: a policy's own name)",
    )
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")


def run_compare(args: argparse.Namespace) -> int:
    """Print the runs side by side, repeats as mean and 95 % confidence; 1 if something cannot be read."""
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for word in args.results:
        label, path = _split(word)
        try:
            policies = tables.read_result(path)["policies"]
        except tables.ResultError as problem:
            print(f"compare: {problem}", file=sys.stderr)
            return 1
        for name, figures in policies.items():
            own = name if not label else label if len(policies) == 1 else f"{label}:{name}"
            runs.setdefault(own, []).append(figures)
    rows = tables.compared(runs)
    print(tables.markdown(rows) if args.markdown else tables.terminal(rows))
    return 0


def _named(words: Sequence[str], policies: Sequence[str], result: Path) -> dict[str, Path]:
    """Files of records by policy. ResultError for a name that the result does not have."""
    named = {}
    for word in words:
        name, path = _split(word)
        if not name and len(policies) != 1:
            raise tables.ResultError(f"{result} has several policies: write --records NAME=FILE")
        if name and name not in policies:
            raise tables.ResultError(f"{result} has no policy {name!r}, but: {', '.join(policies)}")
        named[name or policies[0]] = path
    return named


def _split(word: str) -> tuple[str, Path]:
    """A name and a path; a file whose own name has a "=" is taken as it is."""
    name, equals, path = word.partition("=")
    return ("", Path(word)) if not equals or Path(word).exists() else (name, Path(path))


def write_figures(folder: Path, figures: Mapping[str, Any]) -> None:
    """Each as SVG and PNG in a folder that is there, named by what it shows."""
    for caption, figure in figures.items():
        name = "-".join("".join(c if c.isalnum() else " " for c in caption.lower()).split())
        plot.save(figure, folder / f"{name}.svg")
        plot.save(figure, folder / f"{name}.png")
