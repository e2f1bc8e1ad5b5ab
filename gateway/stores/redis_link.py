"""The one connection owner to Redis: whether it is there, commands that never wait for long, messages that come in.

Redis is there (`available`) while it answers a beat within the time limit and the subscription stands. One failure ends
that at once; then every command raises Unavailable without a try, until a beat is answered again, tried with growing,
jittered pauses. Whoever keeps something in Redis listens: `changed(True)` means that messages may have been missed,
`emptied()` that what was written is gone (flushed, restarted empty, another server). A command that failed may have
been done all the same: whatever is sent must bear to be sent twice.

Keys read `prefix:kind:{tag}:...`: the braces put all keys of a tag on one node of a cluster, so that a script may use
them together.
"""

import asyncio
import random
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Protocol

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from gateway.errors import Unavailable
from gateway.stores.redis_commands import Argument, Call, Command, Refused, Script, accepted, away, known, whole

BEAT_S: Final = 0.5
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0


class Listener(Protocol):
    """Who wants to know how Redis is. Neither call may block or raise."""

    def changed(self, available: bool) -> None:
        """It went away, or is back (and messages may have been missed)."""

    def emptied(self) -> None:
        """Nothing of what was written is there any more; called while it is available, also for a first start."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """`timeout_s` bounds each command in seconds, and the wait for one of the `connections`."""

    url: str = field(repr=False)
    prefix: str = "andante"
    timeout_s: float = 1.0
    connections: int = 16


class RedisLink:
    """Commands are sent by `do`, `run_script` and `batch`; all raise Unavailable. `run` keeps the link, for ever."""

    def __init__(self, settings: LinkSettings) -> None:
        self.available = False
        self.operations = 0  # commands sent, each of a batch counted
        self.rejected = 0  # messages that were dropped, since whoever they were for failed over them
        self.failures = 0  # times that it went away
        self.beat_s = 0.0  # how long the last beat took
        self.detail = "not asked yet"
        self._settings = settings
        self._client = _client(settings)
        self._listeners: list[Listener] = []
        self._channels: dict[str, Callable[[bytes], None]] = {}
        self._scripts: dict[str, Script] = {}  # that were sent, by their hashes
        self._broken = asyncio.Event()
        self._back = asyncio.Event()
        self._mark: bytes | None = None  # of the Redis that we know
        self._is_empty = False  # and nobody was told yet

    def __repr__(self) -> str:
        return f"<RedisLink {'available' if self.available else 'away'}, {self.operations} operations>"

    # ---- set up before `run`

    def listen(self, listener: Listener) -> None:
        """Tell this one whenever Redis comes and goes."""
        self._listeners.append(listener)

    def subscribe(self, channel: str, receive: Callable[[bytes], None]) -> None:
        """Call `receive` with what anyone sends to the channel (a name made by `key`). What it
        raises is logged, counted (`rejected`) and costs that message only."""
        self._channels[channel] = receive

    def key(self, kind: str, tag: str, *parts: str) -> str:
        """The name of a key or channel; all with the same tag are on one node."""
        return ":".join((self._settings.prefix, kind, f"{{{tag}}}", *parts))

    # ---- commands

    async def do(self, *command: Argument) -> Any:
        """One command; Unavailable, also when Redis refuses it."""
        (answer,) = await self.batch([command])
        return accepted(answer)

    async def run_script(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        """One script; Unavailable, also when it fails."""
        (answer,) = await self.batch([Call(script, keys, arguments)])
        return accepted(answer)

    async def batch(self, commands: Sequence[Command]) -> list[Any]:
        """Many commands in one round trip, in their order, not as a transaction; an answer or `Refused` for each."""
        if not self.available:
            raise away()
        return await self._batch(commands)

    async def wait(self) -> None:
        """Until it is available."""
        await self._back.wait()

    # ---- life

    async def run(self) -> None:
        """Keep the link until cancelled."""
        pause_s = FIRST_PAUSE_S
        try:
            while True:
                hearing = self._client.pubsub()
                try:
                    await self._connect(hearing)
                    pause_s = FIRST_PAUSE_S
                    await self._stay(hearing)
                except (RedisError, Unavailable, OSError) as error:
                    stay_cancelled()
                    self._fail(str(error))
                finally:
                    self._set(False)
                    await self._hang_up(hearing)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        finally:
            await self._client.aclose()

    async def _hang_up(self, hearing: PubSub) -> None:
        """Close what was open; a connection that broke may well break again by it."""
        try:
            await hearing.aclose()  # type: ignore[no-untyped-call]
            await self._client.connection_pool.disconnect(inuse_connections=False)
        except (RedisError, OSError) as error:
            stay_cancelled()
            self.detail = str(error)

    async def _connect(self, hearing: PubSub) -> None:
        """Ask whether Redis is there, and subscribe; it is available from here on."""
        self._broken.clear()
        await self._beat()
        if self._scripts:  # else a batch's script would run behind what follows it, the first time
            await self._send([("SCRIPT", "LOAD", script.text) for script in self._scripts.values()])
        channels = [self.key("mark", "all"), *self._channels]  # one at least, so that the connection is one that hears
        self.operations += len(channels)
        await hearing.subscribe(*channels)
        stay_cancelled()
        for _ in channels:
            if await hearing.get_message(timeout=self._settings.timeout_s) is None:
                raise away()
        self._set(True)
        self._tell_emptied()

    async def _stay(self, hearing: PubSub) -> None:
        """Beat and hear until something fails. Unavailable, RedisError."""
        listening = asyncio.create_task(self._hear(hearing))
        listening.add_done_callback(lambda _: self._broken.set())
        try:
            while not self._broken.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(BEAT_S):
                        await self._broken.wait()
                await self._beat()
                self._tell_emptied()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        if not listening.cancelled():
            listening.result()

    async def _beat(self) -> None:
        """Ask for the mark that says whether this is still the Redis that we wrote to."""
        begun = monotonic()
        fresh = secrets.token_hex(8).encode()
        (seen,) = await self._batch([("SET", self.key("mark", "all"), fresh, "NX", "GET")])
        if isinstance(seen, Refused):
            raise Unavailable(seen.why)
        self.beat_s = monotonic() - begun
        if seen is None or self._mark not in (None, seen):
            self._is_empty = True
        self._mark = seen if seen is not None else fresh

    async def _hear(self, hearing: PubSub) -> None:
        """Pass messages on; a silent connection is asked whether it lives."""
        while True:
            message = await hearing.get_message(timeout=BEAT_S)
            if message is None:
                self.operations += 1
                await hearing.ping()
                stay_cancelled()
                message = await hearing.get_message(timeout=self._settings.timeout_s)
                if message is None:
                    raise Unavailable("the subscription is silent")
            if message["type"] == "message":
                receive = self._channels.get(message["channel"].decode())
                if receive is not None:
                    self._pass_on(receive, message["data"])

    def _pass_on(self, receive: Callable[[bytes], None], data: bytes) -> None:
        try:
            receive(data)
        except Exception as error:  # noqa: BLE001 - the edge: a message that nobody understands must not end the link
            self.rejected += 1
            what = {"message": "a message from another gateway was dropped", "exception": error}
            asyncio.get_running_loop().call_exception_handler(what)

    async def _batch(self, commands: Sequence[Command]) -> list[Any]:
        self._scripts.update((each.script.sha, each.script) for each in commands if isinstance(each, Call))
        answers = await self._send([known(command) for command in commands])
        unknown = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            again = await self._send([whole(commands[number]) for number in unknown])
            for number, answer in zip(unknown, again, strict=True):
                answers[number] = answer
        for answer in answers:
            if isinstance(answer, ReadOnlyError):  # we talk to a replica: the other one is the master now
                self._fail(str(answer))
                raise away()
        return [Refused(str(answer)) if isinstance(answer, RedisError) else answer for answer in answers]

    async def _send(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        self.operations += len(commands)
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
        except RedisError as error:
            stay_cancelled()
            self._fail(str(error))
            raise away() from error
        stay_cancelled()
        return answers

    # ---- states

    def _fail(self, why: str) -> None:
        """Something went wrong: nothing more is tried until a beat is answered."""
        self.detail = why
        self._broken.set()
        self._set(False)

    def _set(self, available: bool) -> None:
        if available == self.available:
            return
        self.available = available
        if available:
            self.detail = ""
            self._back.set()
        else:
            self.failures += 1
            self._back.clear()
        for listener in self._listeners:
            listener.changed(available)

    def _tell_emptied(self) -> None:
        if self._is_empty and self.available:
            self._is_empty = False
            for listener in self._listeners:
                listener.emptied()


def stay_cancelled() -> None:
    """A cancellation gets lost in redis-py (in `asyncio.wait_for`, before Python 3.12) when an answer or a failure
    comes at the same moment."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _client(settings: LinkSettings) -> Redis:
    pool = BlockingConnectionPool.from_url(
        settings.url,
        max_connections=settings.connections,
        timeout=settings.timeout_s,
        protocol=3,
        socket_timeout=settings.timeout_s,
        socket_connect_timeout=settings.timeout_s,
        retry=Retry(NoBackoff(), 0),  # whoever sends decides; a second try by itself could do a thing twice
        driver_info=None,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    client = Redis.from_pool(pool)
    client.response_callbacks.clear()  # answers as they come: maps, lists, bytes
    return client
