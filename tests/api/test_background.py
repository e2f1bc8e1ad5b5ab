"""What runs beside the application: its end is a bug, and seen; its first steps wait for what they need."""

import asyncio
import logging
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway import wiring_share
from gateway.api.app import Services, _running
from gateway.runtime.peers import Peers
from gateway.wiring_redis import Shared
from gateway.wiring_share import SharedEngines, own_address
from tests.runtime.house import house
from tests.support.waiting import eventually


async def test_a_task_that_ends_by_a_bug_makes_the_gateway_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    """Also the desk's own."""
    async with house() as made:

        async def bug() -> None:
            raise ValueError("a bug")

        desk = SimpleNamespace(run=bug)
        services = cast(
            "Services",
            SimpleNamespace(
                background=(), dispatcher=made.dispatcher, desk=desk, logger=logging.getLogger("andante.test")
            ),
        )
        assert made.dispatcher.ready
        async with _running(services):
            await eventually(lambda: not made.dispatcher.ready)
            assert "background_ended" in caplog.text


async def test_a_name_that_is_not_known_yet_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never is the loopback told to others in its place."""
    monkeypatch.setattr(wiring_share, "RETRY_S", 0.01)
    answers: list[Any] = [OSError("no server"), OSError("no server")]
    real = socket.getaddrinfo

    def look_up(host: str, *args: Any, **kwargs: Any) -> Any:
        if answers:
            raise answers.pop()
        return real("127.0.0.2", *args, **kwargs)

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    with pytest.raises(OSError, match="no server"):
        own_address("redis://redis.internal:6379")
    stores = cast("Shared", SimpleNamespace(link=None, exchange=None))
    engines = SharedEngines((), cast("Peers", None), stores, "redis://redis.internal:6379")
    address = await asyncio.wait_for(engines._own_address(), 5.0)
    assert address.startswith("127.")
    assert answers == []
