"""`python -m loadgen burst`: the same burst sent to several models of one server at the same moment, told as it goes.

One line of JSON each time on standard output: first what is sent (`plan`), then a frame every half second with a
figure for each side (`frame`), at last `end`. The demo's page draws it; anybody else may.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from loadgen.attack import resource_limit
from loadgen.audience import READS, Audience, tenants
from loadgen.connections import TargetError, clock
from loadgen.keys import NoKeys, keys_from
from loadgen.live_job import Asking
from loadgen.loops import open_loop
from loadgen.sender import Attack, Sender
from loadgen.workload import Workload
from loadgen.workload_args import WorkloadError, add_workload_arguments, workload_from

START_S: Final = 0.5
FRAME_S: Final = 0.5
LONGEST_S: Final = 180.0
"""Whoever has no answer then gets none: a burst ends."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `burst`."""
    parser.add_argument("--target", required=True, metavar="URL", help="the server, with or without /v1")
    parser.add_argument("--key", metavar="KEY", help="API key of every client that has no other")
    parser.add_argument("--keys-file", type=Path, metavar="FILE", help="CSV of client,key")
    parser.add_argument("--models", nargs="+", required=True, metavar="M", help="the sides, one for each model")
    add_workload_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Send it and tell it; 1 with one line of reason if it cannot be done."""
    try:
        workload = workload_from(args)
        keys = {} if args.keys_file is None else keys_from(args.keys_file)
        sides = [attack_of(args, workload, keys, model) for model in args.models]
        resource_limit()
        asyncio.run(perform(sides))
    except (WorkloadError, NoKeys, TargetError) as problem:
        print(f"burst: {problem}", file=sys.stderr)
        return 1
    return 0


def attack_of(args: argparse.Namespace, workload: Workload, keys: dict[str, str], model: str) -> Attack:
    """One side."""
    return Attack(args.target, Asking(model), workload.requests, keys, args.key, args.seed or 0, timeout_s=LONGEST_S)


async def perform(sides: Sequence[Attack]) -> None:
    """All sides at once, from the same moment on."""
    start = clock() + START_S
    audiences = [Audience(side.requests) for side in sides]
    tell({"plan": plan_of(sides)})
    senders = [Sender(side, start, audience.watch) for side, audience in zip(sides, audiences, strict=True)]
    sending = asyncio.gather(*(open_loop(sender) for sender in senders))
    while True:
        done, _ = await asyncio.wait([sending], timeout=FRAME_S)
        frames = [audience.frame(clock()) for audience in audiences]
        tell({"frame": {"t": round(max(0.0, clock() - start), 2), "sides": frames}})
        # Everything has come, but a reader takes a while to read what lies there.
        if done and not any(READS in frame["readers"] for frame in frames):
            break
        if done:
            await asyncio.sleep(FRAME_S)
    await sending
    tell({"end": {"t": round(clock() - start, 2)}})


def plan_of(sides: Sequence[Attack]) -> dict[str, Any]:
    """What is sent: the sides' models, the tenants' names, and for each request its tenant and when it comes (s)."""
    requests = sides[0].requests
    names = tenants(requests)
    return {
        "sides": [side.asking.model for side in sides],
        "tenants": names,
        "readers": [[names.index(request.client), round(request.arrived_s, 2)] for request in requests],
    }


def tell(what: dict[str, Any]) -> None:
    """One line, at once."""
    print(json.dumps(what, separators=(",", ":")), flush=True)
