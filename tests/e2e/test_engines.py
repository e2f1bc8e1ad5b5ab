"""Engines that come and go while the gateway runs: drained without a stream noticing, removed, added."""

import asyncio
import json
import subprocess
from typing import Any

from gateway.cli_engines import KEY_VARIABLE
from tests.support.processes import ROOT, python
from tests.support.raw import Clients, Sse
from tests.support.servers import MODEL, Emulators, Gateway, Gateways
from tests.support.waiting import eventually

ADMIN = "administrator-of-the-tests"
ASK: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell me about the river 川."}],
    "temperature": 0,
    "ignore_eos": True,
    "max_tokens": 1000,
    "stream": True,
    "return_token_ids": True,
}


def engines(served: Gateway, *arguments: str) -> tuple[int, str]:
    """`andante engines ...`: its status and what it printed."""
    command = [*python("gateway", "engines"), *arguments, "--url", served.url, "--json"]
    env = {"PATH": "", KEY_VARIABLE: ADMIN}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20, cwd=ROOT, env=env)
    return done.returncode, done.stdout + done.stderr


async def test_an_engine_is_drained_replaced_and_removed(
    emulator: Emulators, gateway: Gateways, clients: Clients
) -> None:
    """Its streams go on elsewhere, exact; what cannot go on ends there; then it leaves, and a new one takes work."""
    slow, fast = 0.02, 0.2
    first, second = [await asyncio.to_thread(emulator, speed=speed) for speed in (slow, fast)]
    served = await asyncio.to_thread(gateway, [first], env={KEY_VARIABLE: ADMIN})
    requests = [await clients(served, ASK) for _ in range(3)]
    stuck = await clients(served, {**ASK, "presence_penalty": 0.5, "max_tokens": 250})
    seen = [await request.until(5) for request in requests]
    await stuck.until(2)
    add = ["add", "--id", "new", "--model", MODEL, "--engine-url", second.url]
    assert (await asyncio.to_thread(engines, served, *add))[0] == 0
    await eventually(lambda: served.metrics().value("andante_engine_ready", engine="new") == 1)
    status, said = await asyncio.to_thread(engines, served, "drain", "engine-1")
    assert (status, json.loads(said)) == (0, {"moved": 3, "staying": 1})
    assert (await asyncio.to_thread(engines, served, "remove", "engine-1"))[0] == 1
    await eventually(lambda: second.running() == 3)
    whole = [Sse.read(begun + await request.body()) for begun, request in zip(seen, requests, strict=True)]
    unbroken = await (await clients(served, ASK)).sse()
    assert {(len(sse.ids), sse.text, sse.done) for sse in whole} == {(1000, unbroken.text, True)}
    assert (await stuck.sse()).done

    async def removed() -> bool:
        return (await asyncio.to_thread(engines, served, "remove", "engine-1"))[0] == 0

    await eventually(removed)
    status, said = await asyncio.to_thread(engines, served, *add)
    assert (status, "There is an engine 'new'" in said) == (1, True)
    _, said = await asyncio.to_thread(engines, served, "list")
    assert [engine["state"] for engine in json.loads(said)["data"]] == ["ready"]
    again = await (await clients(served, {**ASK, "max_tokens": 5})).sse()
    assert len(again.ids) == 5
    status, said = await asyncio.to_thread(engines, served, "drain", "nobody")
    assert (status, "There is no engine" in said) == (1, True)


async def test_a_drained_engine_gets_work_again(emulator: Emulators, gateway: Gateways, clients: Clients) -> None:
    """Without it nobody is ready; with it somebody is."""
    only = await asyncio.to_thread(emulator)
    served = await asyncio.to_thread(gateway, [only], env={KEY_VARIABLE: ADMIN})
    assert (await asyncio.to_thread(engines, served, "drain", "engine-1"))[0] == 0
    refused = await clients(served, {**ASK, "max_tokens": 5})
    assert (await refused.json())["error"]["code"] == "no_engine_ready"
    assert (await asyncio.to_thread(engines, served, "undrain", "engine-1"))[0] == 0
    assert (await (await clients(served, {**ASK, "max_tokens": 5})).sse()).done
