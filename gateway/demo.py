"""`andante demo`: two emulated engines (or a real server), a gateway with its own store, a key, a page to chat on."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import uvloop

from gateway.config import parse_config
from gateway.errors import ConfigError
from gateway.stores.base import NewKey
from gateway.wiring import open_key_store, serve

ENGINES: Final = 2
MODEL: Final = "andante-emulated"
START_TIMEOUT_S: Final = 30.0

HELP: Final = """
Andante is running.

  chat page   {url}/#key={key}
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
        if args.engine:
            urls, kind, model = [args.engine], args.kind, served_model(args.engine)
        else:
            print(f"starting {ENGINES} emulated engines ({args.profile})", flush=True)
            urls = [stack.enter_context(emulated_engine(args.profile)) for _ in range(ENGINES)]
            kind, model = "vllm", MODEL
        settings = _settings(folder, port, urls, kind, model)
        config = parse_config(settings, _environment(os.environ), flags=flags)
        store = open_key_store(config.store.path)
        secret = store.create(NewKey(name="demo"), now=time.time()).secret
        store.close()

        def announce(host: str, bound_port: int) -> None:
            url = f"http://{host}:{bound_port}"
            print(HELP.format(url=url, key=secret, model=model))
            print(f"ready {url} key {secret}", flush=True)

        uvloop.run(serve(config, announce))
    return 0


@contextmanager
def emulated_engine(profile: str) -> Iterator[str]:
    """An emulator in a process of its own on a free port; its URL. ConfigError when it does not start."""
    command = [sys.executable, "-m", "gateway", "emulate", "--port", "0", "--profile", profile, "--model", MODEL]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own command
    try:
        assert process.stdout is not None  # asked for
        line = process.stdout.readline().split()
        if len(line) < 2 or line[0] != "ready":
            raise ConfigError("The engine emulator did not start; its message is above.")
        yield line[1]
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


def _settings(folder: Path, port: int, urls: list[str], kind: str, model: str) -> dict[str, Any]:
    return {
        "server": {"port": port, "log_level": "warning", "cors_origins": ["*"]},
        "store": {"path": str(folder / "demo.db")},
        "pools": [{"model": model, "engines": [{"url": url, "kind": kind} for url in urls]}],
    }


def _environment(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The demo has its own store and engines, whatever a shell has set for another gateway."""
    return {k: v for k, v in environ.items() if k.startswith(("ANDANTE_SERVER__", "ANDANTE_AUTH__"))}


def _port(origin: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ConfigError(f"{origin}: {text!r} is not a port number")
    return int(text)
