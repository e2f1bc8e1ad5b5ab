"""Attacks on servers whose schedule the test writes."""

from typing import Any

from gateway.core.pace import Pace
from loadgen.connections import clock
from loadgen.live_job import Asking
from loadgen.loops import run_loop
from loadgen.records import JobRecord
from loadgen.sender import Attack, Outcome, Sender
from loadgen.workload import Request
from tests.loadgen.scripted_server import Handler, serving

READING = Pace("reading", 1.0, 5.0)


def request(index: int = 0, arrived_s: float = 0.0, client: str = "a", tokens: int = 3, **more: Any) -> Request:
    return Request(index, arrived_s, client, 20, tokens, more.pop("pace", READING), **more)


async def attacked(handler: Handler, *requests: Request, start_in_s: float = 0.0, **more: Any) -> Outcome:
    """What comes of these requests at such a server."""
    async with serving(handler) as url:
        asking = more.pop("asking", Asking("m"))
        attack = Attack(url, asking, requests, more.pop("keys", {}), **more)
        return await run_loop(Sender(attack, clock() + start_in_s))


async def one(handler: Handler, **more: Any) -> JobRecord:
    return (await attacked(handler, request(**more))).records[0]
