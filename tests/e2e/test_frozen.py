"""Trouble that no closed socket tells of: an engine that is stopped, not killed, and a gateway short of sockets."""

import asyncio
import resource
import signal
from pathlib import Path

from tests.support.prometheus import parse
from tests.support.raw import CHAT, Clients, Json
from tests.support.servers import Emulators, Gateways

ASK: Json = {"messages": [{"role": "user", "content": "Tell me about the river."}], "max_tokens": 8, "stream": True}


async def test_what_had_not_begun_goes_elsewhere(emulator: Emulators, gateway: Gateways, clients: Clients) -> None:
    """Requests sent to the frozen engine are answered by the other one, within seconds and not minutes."""
    frozen, well = emulator(), emulator()
    served = gateway([frozen, well], pool={"probe_interval_s": 0.2})
    frozen.process.signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(30):
            requests = await asyncio.gather(*(clients(served, ASK) for _ in range(6)))
            answers = await asyncio.gather(*(request.sse() for request in requests))
    finally:
        frozen.process.signal(signal.SIGCONT)

    assert all(answer.done and answer.error is None for answer in answers)


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_a_shortage_of_sockets_is_not_the_engines_fault(emulator: Emulators, gateway: Gateways) -> None:
    """With too few file descriptors jobs wait for one; no engine is given up and nobody gets a 502."""
    engine = emulator("--slow-first-token-s", "1")
    served = gateway([engine], pool={"probe_interval_s": 0.2})
    async with served.client() as http:
        # Every client has its connection before there is a shortage: what is short is sockets to the engine.
        await asyncio.gather(*(http.get("/healthz") for _ in range(16)))
        limit = open_files(served.process.pid) + 6
        resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        answers = await asyncio.gather(*(http.post(CHAT, json={**ASK, "model": engine.model}) for _ in range(16)))
        ready = (await http.get("/readyz")).json()
        told = parse((await http.get("/metrics")).text)

    assert {answer.status_code for answer in answers} == {200}
    assert told.value("andante_legs_failed_total") > 0  # there was a shortage
    assert ready["engines"][engine.model] == {"engine-1": "ready"}
