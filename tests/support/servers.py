"""The project's own servers as processes: the engine emulator and the gateway."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx2

from gateway.stores.base import NewKey
from gateway.stores.sqlite_keys import SqliteKeyStore
from tests.support.processes import Process, python, running
from tests.support.prometheus import Metrics, parse

MODEL = "andante-emulated"


@dataclass(frozen=True)
class Server:
    """A server that is ready."""

    url: str
    process: Process

    def metrics(self) -> Metrics:
        """What it says of itself now."""
        # verify=False: no certificates to load, which would take longer than all the rest
        answer = httpx2.get(f"{self.url}/metrics", timeout=30.0, trust_env=False, verify=False)
        answer.raise_for_status()
        return parse(answer.text)


@dataclass(frozen=True)
class Engine(Server):
    """An engine that is ready: emulated, or vLLM itself."""

    model: str

    def running(self) -> float:
        """How many requests it works on."""
        return self.metrics().value("vllm:num_requests_running")

    def waiting(self) -> float:
        """How many requests stand in its own queue."""
        return self.metrics().value("vllm:num_requests_waiting")

    def generated(self) -> float:
        """How many tokens it has produced since it started."""
        return self.metrics().value("vllm:generation_tokens_total")


@dataclass(frozen=True)
class Gateway(Server):
    """A gateway that is ready, with a key for it ("" where keys are not asked for)."""

    key: str
    config: Path

    @property
    def headers(self) -> dict[str, str]:
        """What a client sends with each request."""
        return {"authorization": f"Bearer {self.key}"} if self.key else {}

    def client(self, timeout: float = 30.0) -> httpx2.AsyncClient:
        """An HTTP client that is signed in."""
        return httpx2.AsyncClient(base_url=self.url, headers=self.headers, timeout=timeout, trust_env=False)


class Emulators:
    """Starts emulated engines; the fixture `emulator` ends them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __call__(self, *flags: str, profile: str = "fast", speed: float = 1.0, port: int = 0) -> Engine:
        """One more engine, on a port of its own. `flags` go to `andante emulate` as they are."""
        command = python("gateway.emulator", "--port", str(port), "--profile", profile, "--speed", str(speed))
        process = self._stack.enter_context(running([*command, *flags]))
        _, url, _, model = process.wait_line("ready ").split()
        return Engine(url=url, process=process, model=model)


class Gateways:
    """Starts gateways; the fixture `gateway` ends them."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._numbers = count(1)

    def __call__(
        self,
        engines: Sequence[Engine],
        *,
        auth: bool = True,
        new_key: NewKey | None = None,
        pool: Mapping[str, object] | None = None,
        engine: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
        **sections: Mapping[str, object],
    ) -> Gateway:
        """A gateway with one pool of these engines.

        `pool` adds to the pool's table, `engine` to each engine's, `sections` to the file's (`server={...}`), `env`
        overrides them; `new_key` describes the key.
        """
        folder = self._folder / f"gateway-{next(self._numbers)}"
        folder.mkdir()
        config = folder / "andante.toml"
        tables: dict[str, dict[str, object]] = {
            "server": {"host": "127.0.0.1", "port": 0},
            "store": {"path": str(folder / "andante.db")},
            "auth": {"required": auth},
        }
        for name, values in sections.items():
            tables[name] = {**tables.get(name, {}), **values}
        config.write_text(toml(tables, [pool_of(engines, pool or {}, engine or {})]), encoding="utf-8")
        key = create_key(folder / "andante.db", new_key) if auth else ""
        command = python("gateway", "serve", "--config", str(config), "--port", "0")
        process = self._stack.enter_context(running(command, env=env))
        url = process.wait_line("ready ").split()[1]
        return Gateway(url=url, process=process, key=key, config=config)


def pool_of(
    engines: Sequence[Engine], extra: Mapping[str, object], of_engines: Mapping[str, object]
) -> dict[str, object]:
    """The configuration's table for one pool."""
    members = [{"url": engine.url, "kind": "vllm", **of_engines} for engine in engines]
    return {"model": engines[0].model if engines else MODEL, **extra, "engines": members}


def create_key(database: Path, new: NewKey | None = None) -> str:
    """Make a key in a gateway's store and return its secret; a running gateway knows it at once."""
    with closing(SqliteKeyStore(database)) as store:
        return store.create(new or NewKey(name="test"), now=time.time()).secret


def secret_in(text: str) -> str:
    """The key that a command printed (`sk-...` with dots is a key's public part)."""
    secret = next((word for word in text.split() if word.startswith("sk-") and not word.endswith(".")), None)
    assert secret is not None, text
    return secret


def toml(tables: Mapping[str, Mapping[str, object]], pools: Sequence[Mapping[str, object]]) -> str:
    """The configuration file: plain tables, then pools. Inline tables keep this to what JSON can spell."""
    lines: list[str] = []
    for name, values in tables.items():
        lines += [f"[{name}]", *(f"{key} = {inline(value)}" for key, value in values.items())]
    for pool in pools:
        lines += ["[[pools]]", *(f"{key} = {inline(value)}" for key, value in pool.items())]
    return "\n".join(lines) + "\n"


def inline(value: object) -> str:
    """A value in one line of TOML."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    return json.dumps(value)
