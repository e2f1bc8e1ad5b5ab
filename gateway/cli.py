"""The `andante` command."""

import argparse
import asyncio
import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import uvloop

from gateway import __version__, cli_engines, cli_keys, cli_verify, demo
from gateway.cli_workers import FDS_FLAG, Worker, Workers, end_with_parent, inherited
from gateway.config import Config, load_config
from gateway.emulator import command as emulator
from gateway.errors import ConfigError
from gateway.wiring import CannotListen, bind, serve

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

    _add_serve(commands.add_parser("serve", help="run the gateway"))

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


def _add_serve(run: argparse.ArgumentParser) -> None:
    run.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML configuration")
    run.add_argument("--port", type=int, metavar="P", help="overrides [server] port; 0 takes a free one")
    run.add_argument("--host", help="overrides [server] host")
    run.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes behind the port; need Redis")
    run.add_argument(
        "--worker-port", type=int, metavar="P", help="worker n of N also listens on P + n (from 0), to be scraped alone"
    )
    run.add_argument(FDS_FLAG, help=argparse.SUPPRESS)
    run.set_defaults(run=_serve)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _serve(args: argparse.Namespace) -> int:
    flags = {name: value for name in ("host", "port") if (value := getattr(args, name)) is not None}
    config = load_config(args.config, flags=flags)
    if args.inherited_fds is not None:
        uvloop.run(_serve_inherited(config, args.inherited_fds))
        return 0
    if args.workers == 1 and args.worker_port is None:
        uvloop.run(serve(config, _announce))
        return 0
    if args.workers > 1 and config.redis.url is None:
        raise ConfigError(
            f"{args.workers} workers must share engines, limits and streams, and do it through Redis: "
            "set [redis] url or ANDANTE_REDIS__URL, or leave --workers out"
        )
    return _serve_workers(config, args)


async def _serve_inherited(config: Config, fds: str) -> None:
    end_with_parent()
    await serve(config, _announce, inherited(fds))


def _serve_workers(config: Config, args: argparse.Namespace) -> int:
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(args.config)]
    for name in ("host", "port"):
        if (value := getattr(args, name)) is not None:
            command += [f"--{name}", str(value)]
    with ExitStack() as stack:
        host = config.server.host
        shared = bind(host, config.server.port)
        own = [[] if args.worker_port is None else bind(host, args.worker_port + n) for n in range(args.workers)]
        for each in [*shared, *(one for some in own for one in some)]:
            stack.callback(each.close)
        port = shared[0].getsockname()[1]
        workers = [Worker(command, [*shared, *some]) for some in own]
        return asyncio.run(Workers(workers, lambda: _announce(host, port)).run())


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
