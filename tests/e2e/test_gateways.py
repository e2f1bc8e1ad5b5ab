"""Several real gateways in front of the same engines, and several workers behind one port."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx2
import pytest

from loadgen.gateway_stage import free_run
from tests.support.processes import Process, python
from tests.support.redis import RedisServer, redis_server
from tests.support.servers import Emulators, Engine, Gateway, Gateways, pool_of, toml
from tests.support.waiting import eventually, wait_until

ADMIN = "an-admin-key-for-tests"
SEATS = 8


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server for the test."""
    with redis_server(tmp_path / "redis") as server:
        yield server


def leases(gateway: Gateway) -> float:
    """How many sequences the gateway may run, at all engines."""
    return sum(sample.value for sample in gateway.metrics().matching("andante_lease_seats"))


def start(gateway: Gateways, engines: list[Engine], redis: RedisServer) -> Gateway:
    return gateway(
        engines,
        auth=False,
        engine={"max_running": SEATS},
        redis={"url": redis.url, "ttl_s": 1.0, "timeout_s": 0.5},
        env={**os.environ, "ANDANTE_AUTH__ADMIN_KEY": ADMIN},
    )


async def ask(url: str, model: str, count: int, tokens: int = 40) -> list[int]:
    """So many answers at once; their statuses."""
    body = {"model": model, "messages": [{"role": "user", "content": "Go on"}], "max_tokens": tokens}
    async with httpx2.AsyncClient(timeout=60.0, trust_env=False, limits=httpx2.Limits(max_connections=None)) as http:
        replies = await asyncio.gather(*(http.post(f"{url}/v1/chat/completions", json=body) for _ in range(count)))
    return [reply.status_code for reply in replies]


async def worst_queue(engine: Engine, until: asyncio.Event) -> float:
    """The longest queue that the engine itself had."""
    worst = 0.0
    while not until.is_set():
        worst = max(worst, await asyncio.to_thread(engine.waiting))
        await asyncio.sleep(0.02)
    return worst


async def test_two_gateways_never_give_an_engine_more_than_it_has(
    gateway: Gateways, emulator: Emulators, redis: RedisServer
) -> None:
    """All load comes to one gateway, then to the other: it gets the places, and the engine never queues."""
    engine = emulator("--max-num-seqs", str(SEATS), profile="h100-8b")
    two = [start(gateway, [engine], redis) for _ in range(2)]
    await eventually(lambda: sum(map(leases, two)) == SEATS, 20.0, what="leases")
    done = asyncio.Event()
    watch = asyncio.create_task(worst_queue(engine, done))
    for each in two:
        assert set(await ask(each.url, engine.model, 30)) == {200}
        assert leases(each) > SEATS / 2
    await asyncio.gather(*(ask(each.url, engine.model, 20) for each in two))
    done.set()
    assert await watch == 0.0


def test_a_killed_gateway_s_places_go_to_the_other(gateway: Gateways, emulator: Emulators, redis: RedisServer) -> None:
    engine = emulator(profile="fast")
    one, two = (start(gateway, [engine], redis) for _ in range(2))
    wait_until(lambda: leases(one) + leases(two) == SEATS, 20.0, what="leases")
    one.process.kill()
    wait_until(lambda: leases(two) == SEATS, 10.0, what="the places of the dead")


def test_an_engine_drained_at_one_gateway_is_drained_at_all(
    gateway: Gateways, emulator: Emulators, redis: RedisServer
) -> None:
    """Also for one that starts later; an engine that was added comes everywhere."""
    first, second = emulator(profile="fast"), emulator(profile="fast")
    one, two = (start(gateway, [first], redis) for _ in range(2))
    headers = {"authorization": f"Bearer {ADMIN}"}
    with httpx2.Client(headers=headers, trust_env=False) as http:

        def seen(at: Gateway) -> dict[str, bool]:
            listed = http.get(f"{at.url}/admin/engines").json()["data"]
            return {each["id"]: each["draining"] for each in listed}

        added = {"model": first.model, "id": "more", "url": second.url}
        assert http.post(f"{one.url}/admin/engines", json=added).status_code == 201
        assert http.post(f"{one.url}/admin/engines/engine-1/drain").status_code == 200
        expected = {"engine-1": True, "more": False}
        wait_until(lambda: seen(two) == expected, 10.0, what="the other gateway knows")
        late = start(gateway, [first], redis)
        wait_until(lambda: seen(late) == expected, 10.0, what="a late one knows")


# ---- workers


@pytest.fixture
def workers(tmp_path: Path, emulator: Emulators, redis: RedisServer) -> Iterator[tuple[Process, Engine, int]]:
    """Two workers behind one port, each on a port of its own as well (the first of them is given)."""
    engine = emulator(profile="fast")
    config = tmp_path / "workers.toml"
    tables: dict[str, dict[str, object]] = {"server": {"port": 0}, "auth": {"required": False}}
    tables |= {"store": {"path": str(tmp_path / "keys.db")}}
    tables["redis"] = {"url": redis.url, "ttl_s": 1.0, "timeout_s": 0.5}
    config.write_text(toml(tables, [pool_of([engine], {}, {})]), encoding="utf-8")
    own = free_run(2)
    with ExitStack() as stack:
        process = Process(
            python("gateway", "serve", "--config", str(config), "--workers", "2", "--worker-port", str(own))
        )
        stack.callback(process.stop)
        yield process, engine, own


def children(process: Process) -> set[int]:
    """The workers' processes."""
    return {int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()}


def answering(own: int) -> int:
    """How many workers are well, on their own ports."""
    found = 0
    for port in (own, own + 1):
        with suppress(httpx2.HTTPError):
            found += httpx2.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
    return found


async def test_workers_serve_one_port_and_a_dead_one_starts_again(workers: tuple[Process, Engine, int]) -> None:
    process, engine, own = workers
    url = process.wait_line("ready ").split()[1]
    await eventually(lambda: answering(own) == 2, 20.0, what="two workers")
    assert set(await ask(url, engine.model, 20, tokens=5)) == {200}
    before = children(process)
    os.kill(min(before), signal.SIGKILL)
    await eventually(lambda: len(children(process) - before) == 1, 20.0, what="a new worker")
    await eventually(lambda: answering(own) == 2, 20.0, what="two workers again")
    assert set(await ask(url, engine.model, 20, tokens=5)) == {200}
    assert process.stop() == 0


def test_workers_without_redis_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "alone.toml"
    config.write_text('[[pools]]\nmodel = "m"\nengines = [{ url = "http://127.0.0.1:9" }]\n', encoding="utf-8")
    process = Process(python("gateway", "serve", "--config", str(config), "--workers", "2"))
    assert process.wait() == 2
    assert "through Redis" in process.output()
