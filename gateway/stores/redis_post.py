"""Messages between gateways: each has a channel of its own, and one message carries all that waits to be said."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec

from gateway.errors import Unavailable
from gateway.stores.redis_link import RedisLink

MAX_UNSENT: Final = 10_000  # for each gateway; what is more is lost, as anything may be on its way


class RedisPost:
    """`receive` hears each thing that others say to `gateway_id`. What is sent may get lost; nothing is sent twice."""

    def __init__(self, link: RedisLink, gateway_id: str, receive: Callable[[list[Any]], None]) -> None:
        self.unreadable = 0
        self._link = link
        self._waiting: dict[str, list[Any]] = {}
        self._wake = asyncio.Event()
        self._receive = receive
        link.subscribe(self._channel(gateway_id), self._hear)

    def send(self, gateway_id: str, *message: Any) -> None:
        """Say something to another gateway, soon."""
        waiting = self._waiting.setdefault(gateway_id, [])
        if len(waiting) < MAX_UNSENT:
            waiting.append(message)
        self._wake.set()

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, {}
            encoded = [(self._channel(name), msgspec.msgpack.encode(messages)) for name, messages in waiting.items()]
            with suppress(Unavailable):
                await self._link.batch([("PUBLISH", channel, data) for channel, data in encoded])

    def _channel(self, gateway_id: str) -> str:
        return self._link.key("inbox", gateway_id)

    def _hear(self, data: bytes) -> None:
        try:
            for message in msgspec.msgpack.decode(data):
                self._receive(message)
        except (msgspec.MsgspecError, TypeError, ValueError):
            self.unreadable += 1  # from a gateway of another version; it must not cost us the link
