"""An adapter of its own for a test, and generations asked of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.engines.base import Endpoint, EngineSettings, Leg, LegRequest
from gateway.engines.openai import OpenAIEngine
from tests.engines.scripted import Sink
from tests.support.waiting import eventually


@asynccontextmanager
async def engine(url: str, **settings: object) -> AsyncIterator[OpenAIEngine]:
    made = OpenAIEngine(EngineSettings("e", url, "openai", "m", **settings))  # type: ignore[arg-type]
    yield made
    await made.close()


async def ask(made: OpenAIEngine, *, stream: bool = True, name: str = "leg") -> tuple[Leg, Sink]:
    sink = Sink()
    return await made.start(LegRequest(name, Endpoint.CHAT, {"x": 1}, stream=stream), sink), sink


async def idle(made: OpenAIEngine, count: int = 1) -> None:
    """Wait until that many connections are ready for the next request."""
    await eventually(lambda: len(made._channel._idle) == count)
