"""`andante emulate`: its flags, and the server that they describe."""

import argparse
import dataclasses
import sys
from random import Random

from pydantic import ValidationError

from gateway.emulator.app import Emulator
from gateway.emulator.blocks import BLOCK_TOKENS
from gateway.emulator.faults import FaultBook, Faults
from gateway.emulator.model import EngineModel
from gateway.emulator.profiles import PROFILES, Profile
from gateway.emulator.runner import Runner
from gateway.emulator.server import serve
from gateway.emulator.text import Language

DESCRIPTION = (
    "Run an emulated LLM engine: vLLM's HTTP interface over a model of a batching engine. It needs no GPU, speaks in"
    " deterministic readable text, and misbehaves when told to."
)
DEFAULT_PROFILE = "h100-8b"
DEFAULT_MODEL = "andante-emulated"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags on a parser of one's own."""
    parser.description = DESCRIPTION
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=_port, default=8100, help="0 takes a free one (default %(default)s)")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name of the served model (default %(default)s)")
    parser.add_argument("--profile", choices=sorted(PROFILES), default=DEFAULT_PROFILE, help="default %(default)s")
    parser.add_argument("--list-profiles", action="store_true", help="describe the profiles and their sources, and end")
    parser.add_argument("--speed", type=_positive, default=1.0, metavar="X", help="run X times faster than real")
    parser.add_argument("--max-num-seqs", type=int, metavar="N", help="sequences in a batch (of the profile)")
    parser.add_argument("--kv-tokens", type=int, metavar="N", help="tokens of context in memory (of the profile)")
    parser.add_argument("--max-model-len", type=int, metavar="N", help="tokens of prompt and answer (of the profile)")
    parser.add_argument(
        "--scheduling-policy", choices=("fcfs", "priority"), default="fcfs", help="priority: lowest first (%(default)s)"
    )
    parser.add_argument("--no-prefix-cache", action="store_true", help="forget blocks when they are freed")
    parser.add_argument("--seed", type=int, help="of what requests leave to chance (default: drawn)")
    parser.add_argument("--shutdown-s", type=float, default=3.0, metavar="S", help="grace on SIGTERM (default 3)")
    levels = ("critical", "error", "warning", "info", "debug")
    parser.add_argument("--log-level", choices=levels, default="warning", help="default %(default)s")
    faults = parser.add_argument_group("faults (each request; also POST /emulator/faults, or field emulator_faults)")
    for name, field in Faults.model_fields.items():
        if name != "seed":
            faults.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar="N", help=field.description)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop; the exit status."""
    if args.list_profiles:
        for profile in PROFILES.values():
            print(_described(profile))
        return 0
    try:
        emulator = build(args)
        serve(emulator, args.host, args.port, args.log_level, args.shutdown_s)
    except (ValueError, OSError) as error:
        print(f"andante emulate: {_told(error)}", file=sys.stderr)
        return 2
    return 0


def build(args: argparse.Namespace) -> Emulator:
    """The emulator that the flags describe; ValueError when they contradict each other."""
    given = {name: getattr(args, name) for name in Faults.model_fields if name != "seed"}
    faults = Faults.model_validate({name: value for name, value in given.items() if value is not None})
    return Emulator(
        model_name=args.model,
        language=Language(),
        runner=Runner(EngineModel(_profile(args), by_priority=args.scheduling_policy == "priority"), args.speed),
        book=FaultBook(faults),
        random=Random(args.seed),  # noqa: S311 - draws text, not secrets
    )


def _profile(args: argparse.Namespace) -> Profile:
    """The named profile with the flags' changes; a smaller memory shortens the longest context to what fits."""
    profile = PROFILES[args.profile]
    kv_tokens = args.kv_tokens or profile.kv_tokens
    max_num_seqs = args.max_num_seqs or profile.max_num_seqs
    return dataclasses.replace(
        profile,
        kv_tokens=kv_tokens,
        max_num_seqs=max_num_seqs,
        max_model_len=args.max_model_len or min(profile.max_model_len, kv_tokens // BLOCK_TOKENS * BLOCK_TOKENS),
        max_batched_tokens=max(profile.max_batched_tokens, max_num_seqs),
        prefix_cache=not args.no_prefix_cache,
    )


def _described(profile: Profile) -> str:
    shown = ("a_s", "b_s", "c_s", "prefill_tokens_per_s", "kv_tokens", "max_num_seqs", "max_model_len")
    figures = ", ".join(f"{name}={getattr(profile, name)}" for name in shown)
    return f"{profile.name}\n  {figures}\n  {profile.source}\n"


def _told(error: ValueError | OSError) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return str(error)


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError("must be 0..65535")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be positive")
    return value
