"""Clients that leave before they have said all: a line in the log, and no noise."""

import asyncio
import json
import time
from typing import Any

import pytest

from tests.api.asking import CHAT
from tests.api.conftest import House
from tests.support.servers import Gateway

WAIT_S = 5.0


def head(gateway: Gateway, request_id: str, *lines: str) -> bytes:
    """Of a generation."""
    own = ["host: x", "content-type: application/json", f"x-request-id: {request_id}"]
    key = [f"authorization: {gateway.headers['authorization']}"]
    return "\r\n".join([f"POST {CHAT} HTTP/1.1", *own, *key, *lines, "", ""]).encode()


async def connect(gateway: Gateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = gateway.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def logged(gateway: Gateway, request_id: str) -> list[dict[str, Any]]:
    """The lines about a request, once there is one; every line of the log must be JSON."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        lines = [line for line in gateway.process.output().splitlines() if not line.startswith("ready ")]
        entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
        if found := [entry for entry in entries if entry.get("request_id") == request_id]:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"nothing about {request_id}")


@pytest.mark.parametrize("half_close", [False, True])
async def test_leaving_in_the_middle_of_the_body(house: House, half_close: bool) -> None:
    """The ordinary line, with a status of its own. Closing one half is leaving too."""
    request_id = f"left-{half_close}"
    reader, writer = await connect(house.gateway)
    writer.write(head(house.gateway, request_id, "content-length: 100") + b'{"model":')
    await writer.drain()
    await asyncio.sleep(0.1)
    if half_close:
        writer.write_eof()
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    (entry,) = await logged(house.gateway, request_id)

    assert (entry["level"], entry["event"], entry["status"]) == ("info", "request", 499)
