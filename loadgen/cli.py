"""`python -m loadgen`: the commands of the load tools."""

import argparse
import sys
from collections.abc import Sequence

from loadgen import accuracy, attack, burst, gateways, overhead, profile, report, saturate, simulate
from loadgen.outputs import OutputError
from loadgen.studies import command as study


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and run one command; the exit status."""
    args = parser().parse_args(argv)
    try:
        return int(args.run(args))
    except OutputError as problem:
        print(f"{args.command}: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return attack.INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    whole = argparse.ArgumentParser(prog="loadgen", description="Load and measurement for streaming LLM endpoints.")
    commands = whole.add_subparsers(required=True, dest="command", metavar="COMMAND")
    cost = commands.add_parser("overhead", help="measure the gateway's own cost beside nginx's")
    overhead.add_arguments(cost)
    cost.set_defaults(run=overhead.run)
    share = commands.add_parser("profile", help="show where the gateway's CPU goes")
    profile.add_arguments(share)
    share.set_defaults(run=profile.run)
    live = commands.add_parser("attack", help="send a workload to a server and measure what its readers feel")
    attack.add_arguments(live)
    live.set_defaults(run=attack.run)
    both = commands.add_parser(
        "burst", help="send one burst to several models at once and print how their readers fare"
    )
    burst.add_arguments(both)
    both.set_defaults(run=burst.run)
    most = commands.add_parser("saturate", help="find the highest load at which a goal holds")
    saturate.add_arguments(most)
    most.set_defaults(run=saturate.run)
    exact = commands.add_parser("accuracy", help="measure the generator's own errors")
    accuracy.add_arguments(exact)
    exact.set_defaults(run=accuracy.run)
    several = commands.add_parser("gateways", help="one load on one, two, four gateways, beside the prediction")
    gateways.add_arguments(several)
    several.set_defaults(run=gateways.run)
    shown = commands.add_parser("report", help="tables and figures of a run")
    report.add_report_arguments(shown)
    shown.set_defaults(run=report.run_report)
    beside = commands.add_parser("compare", help="runs side by side, with confidence intervals over repeats")
    report.add_compare_arguments(beside)
    beside.set_defaults(run=report.run_compare)
    claim = commands.add_parser("study", help="make the tables of one claim by simulation")
    study.add_arguments(claim)
    claim.set_defaults(run=study.run)
    virtual = commands.add_parser("simulate", help="serve a workload on a virtual clock, under one or more policies")
    simulate.add_arguments(virtual)
    virtual.set_defaults(run=simulate.run)
    return whole
