"""`python -m loadgen attack`: a workload sent to a server over HTTP, measured as its readers feel it."""

import argparse
import contextlib
import json
import resource
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gateway.core.pace import MACHINE
from loadgen.arguments import count, fraction, not_negative, positive
from loadgen.connections import TargetError, clock
from loadgen.keys import NoKeys, keys_from, made_keys
from loadgen.live_figures import Objectives, live_figures
from loadgen.live_job import Asking
from loadgen.loops import run_alone, run_loop
from loadgen.outputs import prepare
from loadgen.progress import Progress
from loadgen.prompts import PROBES, Calibration
from loadgen.records import write_records
from loadgen.sender import Attack, Outcome, Sender
from loadgen.shared_attack import START_S, PartError, perform_shared
from loadgen.tables import side_by_side, terminal
from loadgen.workload import Request, Workload
from loadgen.workload_args import WorkloadError, add_workload_arguments, workload_from

INTERRUPTED: Final = 130
"""The exit status of a program that Ctrl-C ended."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `attack`."""
    add_sending_arguments(parser, required=True)
    parser.add_argument("--records", type=Path, metavar="FILE", help="a row per job, CSV or CSV.gz")


def add_sending_arguments(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """What is sent where, and what is made of it; without `required` a server need not be named."""
    parser.add_argument("--target", required=required, metavar="URL", help="the server, with or without /v1")
    parser.add_argument("--key", metavar="KEY", help="API key of every client that has no other")
    parser.add_argument("--keys-file", type=Path, metavar="FILE", help="CSV of client,key")
    parser.add_argument("--admin-key", metavar="KEY", help="makes a key for each client at an Andante gateway")
    parser.add_argument("--model", required=required, metavar="M")
    parser.add_argument("--completions", action="store_true", help="ask /v1/completions, not /v1/chat/completions")
    parser.add_argument(
        "--plain", action="store_true", help="send only what is in OpenAI's API: no exact lengths, no pace"
    )
    add_workload_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="OUT", help="the figures")
    parser.add_argument("--processes", type=count, default=1, metavar="N", help="share the sending among N processes")
    parser.add_argument("--closed", action="store_true", help="closed loop: each client reads, thinks, and asks again")
    parser.add_argument(
        "--think-s", type=not_negative, default=10.0, metavar="S", help="mean of the thinking time (10)"
    )
    parser.add_argument("--timeout-s", type=positive, default=600.0, metavar="S", help="give a job up after so long")
    parser.add_argument("--slo-ttft-s", type=not_negative, metavar="S", help="goodput: first token within S")
    parser.add_argument(
        "--slo-tpot-ms", type=not_negative, metavar="MS", help="goodput: time per output token within MS"
    )
    parser.add_argument("--slo-qoe", type=fraction, metavar="Q", help="goodput: QoE of at least Q")


def run(args: argparse.Namespace) -> int:
    """Attack, print the table, write the files. 1 with one line of reason if it cannot be done, 130 if interrupted."""
    try:
        prepare(args.json, args.records)
        workload = workload_from(args)
        with client_keys(args, workload) as keys:
            attack = calibrated(attack_of(args, workload, keys))
            outcome = perform(attack, args.processes, sys.stderr.isatty())
    except (WorkloadError, NoKeys, TargetError, PartError) as problem:
        print(f"attack: {problem}", file=sys.stderr)
        return 1
    figures = live_figures(outcome, objectives(args))
    print(terminal(side_by_side({"live": figures})))
    if outcome.bottleneck is not None:
        print(f"the generator may be the bottleneck: {outcome.bottleneck}", file=sys.stderr)
    if args.json is not None:
        result = {"config": config_of(args, workload, attack), "policies": {"live": figures}}
        args.json.write_text(json.dumps(result, indent=2), encoding="utf-8")
    if args.records is not None:
        write_records(args.records, outcome.records)
    if outcome.interrupted:
        sent, planned = len(outcome.records), len(workload.requests)
        print(f"interrupted: the figures are of the {sent} of {planned} requests that were sent", file=sys.stderr)
        return INTERRUPTED
    return 0


def objectives(args: argparse.Namespace) -> Objectives:
    """What goodput means here."""
    tpot_s = None if args.slo_tpot_ms is None else args.slo_tpot_ms / 1000
    return Objectives(args.slo_ttft_s, tpot_s, args.slo_qoe)


def calibrated(attack: Attack) -> Attack:
    """The same with what the server makes of words. TargetError if it does not answer a first request."""
    key = next(iter(attack.keys.values()), attack.key)
    probes = tuple(Request(number, 0.0, "", words, 1, MACHINE) for number, words in enumerate(PROBES))
    probing = replace(attack, requests=probes, keys={}, key=key, timeout_s=60.0, think_s=None)
    outcome = perform(probing, 1, live=False)
    if outcome.interrupted:
        raise KeyboardInterrupt
    bad = next((record for record in outcome.records if record.outcome != "finished"), None)
    if bad is not None:
        hint = "" if attack.asking.plain or not (bad.error or "").startswith("4") else " (perhaps it needs --plain)"
        raise TargetError(f"{attack.url} did not answer a first request: {bad.error or bad.outcome}{hint}")
    first, second = (record.input_tokens for record in outcome.records)
    return replace(attack, calibration=Calibration.of((first, second)))


def perform(attack: Attack, processes: int, live: bool) -> Outcome:
    """Run it, here or shared among processes; with `live`, show how it goes. Raises PartError."""
    resource_limit()
    if processes > 1:
        return perform_shared(attack, processes, live)

    async def performed() -> Outcome:
        sender = Sender(attack, clock() + START_S)
        with Progress({"live": sender}) if live else contextlib.nullcontext():
            return await run_loop(sender)

    return run_alone(performed())


def resource_limit() -> None:
    """As many open files as the system allows: each stream has a socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def attack_of(args: argparse.Namespace, workload: Workload, keys: Mapping[str, str]) -> Attack:
    """What the command line asks for."""
    return Attack(
        url=args.target,
        asking=Asking(args.model, chat=not args.completions, plain=args.plain),
        requests=workload.requests,
        keys=dict(keys),
        key=args.key,
        seed=args.seed or 0,
        timeout_s=args.timeout_s,
        think_s=args.think_s if args.closed else None,
    )


@contextlib.contextmanager
def client_keys(args: argparse.Namespace, workload: Workload) -> Iterator[Mapping[str, str]]:
    """The key of each client that has one of its own; keys that are made are revoked afterwards. Raises NoKeys."""
    if args.admin_key is not None:
        with made_keys(args.target, args.admin_key, workload) as keys:
            yield keys
    else:
        yield {} if args.keys_file is None else keys_from(args.keys_file)


def config_of(args: argparse.Namespace, workload: Workload, attack: Attack) -> dict[str, Any]:
    """What was asked for, and what came of it before the run."""
    calibration = attack.calibration
    return {
        **asked(args),
        "workload": workload.name,
        "jobs": len(workload.requests),
        "prompt_tokens_per_word": calibration.per_word if calibration.measured else None,
        "prompt_tokens_overhead": calibration.overhead if calibration.measured else None,
    }


def asked(args: argparse.Namespace) -> dict[str, Any]:
    """The command line, but for the secrets."""
    hidden = {"key", "admin_key", "keys_file", "run"}
    return {name: str(v) if isinstance(v, Path) else v for name, v in vars(args).items() if name not in hidden}
