"""`andante demo`: emulated engines (or a real server), a gateway with its own store and keys, chat and comparison."""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import uvloop

from gateway import demo_burst
from gateway.config import Config, parse_config
from gateway.errors import ConfigError
from gateway.stores.base import NewKey
from gateway.wiring import open_key_store, serve

ENGINES: Final = 2
MODEL: Final = "andante-emulated"
START_TIMEOUT_S: Final = 30.0

HELP: Final = """
Andante is running.

  chat page   {url}/#key={key}{admin}
  comparison  {compare}
  API         {url}/v1
  API key     {key}
  model       {model}

curl:
  curl -N {url}/v1/chat/completions -H 'authorization: Bearer {key}' -H 'content-type: application/json' \\
    -d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Tell me about rivers."}}]}}'

OpenAI SDK (Python):
  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  for chunk in client.chat.completions.create(
      model="{model}", stream=True, messages=[{{"role": "user", "content": "Tell me about rivers."}}]
  ):
      print(chunk.choices[0].delta.content or "", end="", flush=True)

Stop with Ctrl-C.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `andante demo`."""
    parser.add_argument("--engine", metavar="URL", help="use this server instead of emulated engines")
    parser.add_argument(
        "--kind", choices=("vllm", "openai"), default="vllm", help="what that server is (default: vllm)"
    )
    parser.add_argument("--profile", default="h100-8b", help="the emulated engines' speed (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=None, help="default: the PORT variable, or 8080; 0 takes a free one"
    )


def run(args: argparse.Namespace) -> int:
    """Run until interrupted; ConfigError when an engine does not come up."""
    port = _port("PORT", os.environ.get("PORT", "8080")) if args.port is None else _port("--port", str(args.port))
    flags = {} if args.port is None else {"port": port}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="andante-demo-")))
        compares = not args.engine and demo_burst.available()
        sides = demo_burst.POLICIES if compares else ()
        if args.engine:
            urls, kind, model = [args.engine], args.kind, served_model(args.engine)
        else:
            print(f"starting {ENGINES + len(sides)} emulated engines ({args.profile})", flush=True)
            flagged = [["--profile", args.profile]] * ENGINES + [[*demo_burst.ENGINE_FLAGS] for _ in sides]
            urls, kind, model = emulated_engines(stack, flagged), "vllm", MODEL
        pools = [
            {"model": model, "engines": [{"url": url, "kind": kind} for url in urls[: len(urls) - len(sides)]]},
            *(demo_burst.pool(policy, url, MODEL) for policy, url in zip(sides, urls[ENGINES:], strict=True)),
        ]
        config = parse_config(_settings(folder, port, pools), _environment(os.environ), flags=flags)
        _serve(config, folder, model, compares=compares)
    return 0


def _serve(config: Config, folder: Path, model: str, *, compares: bool) -> None:
    """Make the keys, and serve until interrupted."""
    keys_file = folder / "burst.csv"
    store = open_key_store(config.store.path)
    secret = store.create(NewKey(name="demo", models=(model,)), now=time.time()).secret
    if compares:
        demo_burst.make_keys(store, keys_file)
    store.close()
    burst = demo_burst.DemoBurst(keys_file) if compares else None

    def announce(host: str, bound_port: int) -> None:
        url = f"http://{host}:{bound_port}"
        admin, compare = "", "not with an engine of your own"
        if burst is not None:
            burst.url = url
            admin = f"&admin={config.auth.admin_key}"
            compare = f"{url}/compare#{admin[1:]}"
        print(HELP.format(url=url, key=secret, model=model, admin=admin, compare=compare))
        print(f"ready {url} key {secret}", flush=True)

    uvloop.run(serve(config, announce, burst=burst))


def emulated_engines(stack: ExitStack, flagged: Sequence[Sequence[str]]) -> list[str]:
    """Emulators in processes of their own on free ports, started at once; their URLs. ConfigError when one fails."""
    processes = [stack.enter_context(_emulator(flags)) for flags in flagged]
    urls = []
    for process in processes:
        assert process.stdout is not None  # asked for
        line = process.stdout.readline().split()
        if len(line) < 2 or line[0] != "ready":
            raise ConfigError("The engine emulator did not start; its message is above.")
        urls.append(line[1])
    return urls


@contextmanager
def _emulator(flags: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "gateway", "emulate", "--port", "0", "--model", MODEL, *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own command
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def served_model(url: str) -> str:
    """The first model of a running server. ConfigError when it does not answer."""
    base = url.rstrip("/").removesuffix("/v1")
    deadline = time.monotonic() + START_TIMEOUT_S
    try:
        answer = httpx2.get(f"{base}/v1/models", timeout=max(1.0, deadline - time.monotonic()))
        answer.raise_for_status()
        return str(answer.json()["data"][0]["id"])
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{url}: no model to be had there: {error}") from error


def _settings(folder: Path, port: int, pools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "server": {"port": port, "log_level": "warning", "cors_origins": ["*"]},
        "store": {"path": str(folder / "demo.db")},
        "auth": {"admin_key": secrets.token_urlsafe(24)},
        "pools": list(pools),
    }


def _environment(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The demo has its own store and engines, whatever a shell has set for another gateway."""
    return {k: v for k, v in environ.items() if k.startswith(("ANDANTE_SERVER__", "ANDANTE_AUTH__"))}


def _port(origin: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ConfigError(f"{origin}: {text!r} is not a port number")
    return int(text)
