"""What sharing costs: operations of Redis for each token, and the gateway's CPU.

TEST_REDIS_COST_STREAMS=100 TEST_REDIS_COST_TOKENS=1000 is the full size; CI runs a smaller one.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.test_coming_back import ask, begin
from tests.support.redis import RedisServer
from tests.support.servers import Emulators, Gateway, Gateways

STREAMS = int(os.environ.get("TEST_REDIS_COST_STREAMS", "20"))
TOKENS = int(os.environ.get("TEST_REDIS_COST_TOKENS", "200"))
ROUNDS = 2
SPEED = 0.05  # 20 ms for each token of each stream
MOST_OPERATIONS = float(os.environ.get("TEST_REDIS_COST_OPERATIONS", "0.25"))  # for each token; 0.1 at full size
MOST_CPU = float(
    os.environ.get("TEST_REDIS_COST_CPU", "2.5")
)  # of a lone gateway's; the aim is 1.15, on a quiet machine


def cpu_s(house: Gateway) -> float:
    """CPU seconds of the gateway's process."""
    fields = Path(f"/proc/{house.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(house: Gateway) -> tuple[float, float]:
    """All streams at once; CPU seconds and the streams' own tokens a second."""
    before = cpu_s(house)
    limits = httpx2.Limits(max_connections=STREAMS)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with httpx2.AsyncClient(
        base_url=house.url, headers=house.headers, timeout=120.0, trust_env=False, limits=limits
    ) as http:
        bodies: list[dict[str, Any]] = [ask(number, max_tokens=TOKENS) for number in range(STREAMS)]
        heard = await asyncio.gather(*(begin(http, body) for body in bodies))
    assert all(one.done for one in heard)
    return cpu_s(house) - before, TOKENS / (loop.time() - begun)


async def test_what_sharing_costs(emulator: Emulators, gateway: Gateways, redis: RedisServer) -> None:
    """Few operations for each token of resumable streams at 50 tokens a second: at full size at most 0.1."""
    pool = {"queue": {"max_jobs_per_tenant": 1000}}
    engines = [await asyncio.to_thread(emulator, "--max-num-seqs", "128", speed=SPEED) for _ in range(1)]
    lone = await asyncio.to_thread(gateway, engines, pool=pool)
    sharing = await asyncio.to_thread(gateway, engines, pool=pool, redis={"url": redis.url})
    before, seen = sharing.metrics().value("andante_redis_operations_total"), redis.commands()
    rounds = [(await load(lone), await load(sharing)) for _ in range(ROUNDS)]  # by turns: both have a warm one
    alone_s, shared_s = (min(each[side][0] for each in rounds) for side in (0, 1))
    rate = rounds[-1][1][1]
    tokens = sharing.metrics().value("andante_tokens_produced_total")
    sent = (sharing.metrics().value("andante_redis_operations_total") - before) / tokens
    counted = (redis.commands() - seen) / tokens
    print(
        f"{STREAMS} streams, {rate:.0f} tokens/s each: {sent:.4f} operations sent for each token,"
        f" {counted:.4f} by Redis' own count; CPU {shared_s:.2f} s, alone {alone_s:.2f} s ({shared_s / alone_s:.3f})"
    )
    assert sent <= MOST_OPERATIONS
    assert shared_s <= MOST_CPU * alone_s
