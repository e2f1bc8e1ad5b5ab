"""Wait for a condition, never for a length of time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    predicate: Callable[[], Awaitable[T]], timeout: float = ..., *, interval: float = ..., what: str = ...
) -> T: ...


@overload
async def eventually(
    predicate: Callable[[], T], timeout: float = ..., *, interval: float = ..., what: str = ...
) -> T: ...


async def eventually(
    predicate: Callable[[], object], timeout: float = 5.0, *, interval: float = 0.01, what: str = ""
) -> object:
    """Ask `predicate` (plain or async) until it answers something true, and return that.

    AssertionError after `timeout` seconds says what was awaited and what the last answer was. A predicate
    that raises AssertionError counts as "not yet", so a block of asserts can be awaited as it stands.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            answer = predicate()
            value = await answer if inspect.isawaitable(answer) else answer
        except AssertionError:
            if time.monotonic() >= deadline:
                raise
        else:
            if value:
                return value
            if time.monotonic() >= deadline:
                raise AssertionError(f"{what or _name(predicate)} not within {timeout} s; last answer: {value!r}")
        await asyncio.sleep(interval)


def wait_until(predicate: Callable[[], T], timeout: float = 5.0, *, interval: float = 0.01, what: str = "") -> T:
    """`eventually` for tests without an event loop."""

    async def ask() -> T:
        return predicate()

    return asyncio.run(eventually(ask, timeout, interval=interval, what=what or _name(predicate)))


def _name(predicate: Callable[[], object]) -> str:
    return getattr(predicate, "__qualname__", repr(predicate))
