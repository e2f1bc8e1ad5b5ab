"""The `andante` command."""

import argparse
import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvloop

from gateway import __version__, cli_engines, cli_keys, cli_verify, demo
from gateway.config import load_config
from gateway.emulator import command as emulator
from gateway.errors import ConfigError
from gateway.wiring import CannotListen, serve

# Commands that have a module of their own: `add_arguments` and `run`.
PARTS: Final = (
    ("keys", "create, list, show, rotate and revoke API keys", cli_keys),
    ("engines", "list, add, drain and remove a running gateway's engines", cli_engines),
    ("verify-resume", "compare paused and resumed streams with unbroken ones", cli_verify),
    ("emulate", "run an engine emulator with vLLM's HTTP shape", emulator),
    ("demo", "run two emulated engines, a gateway and a chat page", demo),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and run one command; the exit status."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except ConfigError as error:
        print(error.message, file=sys.stderr)
        return 2
    except CannotListen as error:
        print(error.message, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="andante", description="A fair, reader-aware gateway in front of LLM engines."
    )
    parser.add_argument("--version", action="version", version=f"andante {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("serve", help="run the gateway")
    run.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML configuration")
    run.add_argument("--port", type=int, metavar="P", help="overrides [server] port; 0 takes a free one")
    run.add_argument("--host", help="overrides [server] host")
    run.set_defaults(run=_serve)

    check = commands.add_parser("check-config", help="check a configuration file and say what is wrong")
    check.add_argument("file", type=Path)
    check.set_defaults(run=_check_config)

    health = commands.add_parser("health", help="exit with 0 if a gateway or engine at URL is well")
    health.add_argument("url", help="for example http://127.0.0.1:8080/readyz")
    health.add_argument("--timeout", type=float, default=3.0, help="seconds (default: %(default)s)")
    health.set_defaults(run=_health)

    for name, text, part in PARTS:
        command = commands.add_parser(name, help=text)
        part.add_arguments(command)
        command.set_defaults(run=part.run)
    return parser


def _serve(args: argparse.Namespace) -> int:
    flags = {name: value for name in ("host", "port") if (value := getattr(args, name)) is not None}
    config = load_config(args.config, flags=flags)
    uvloop.run(serve(config, _announce))
    return 0


def _announce(host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    print(f"ready http://{shown}:{port}", flush=True)


def _check_config(args: argparse.Namespace) -> int:
    config = load_config(args.file)
    for pool in config.pools:
        print(f"{pool.model}: {len(pool.engines)} engines, policy {pool.policy}")
    print(f"{args.file}: ok")
    return 0


def _health(args: argparse.Namespace) -> int:
    if not args.url.startswith(("http://", "https://")):
        print(f"not a URL: {args.url}", file=sys.stderr)
        return 2
    try:
        with urllib.request.urlopen(args.url, timeout=args.timeout) as response:  # noqa: S310 - http(s), see above
            return 0 if response.status == 200 else 1
    except (urllib.error.URLError, OSError) as error:
        print(f"{args.url}: {error}", file=sys.stderr)
        return 1
    except (http.client.InvalidURL, ValueError) as error:
        print(f"{args.url}: {error}", file=sys.stderr)
        return 2
    except http.client.HTTPException as error:
        print(f"{args.url}: the answer is not HTTP ({type(error).__name__})", file=sys.stderr)
        return 1
