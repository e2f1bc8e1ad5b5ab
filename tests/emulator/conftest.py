"""What the emulator's tests share: one language, and one quick engine in a process of its own."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import httpx2
import pytest

from gateway.emulator.text import Language
from tests.support.servers import Emulators, Engine


@pytest.fixture(scope="session")
def language() -> Language:
    return Language()


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """For tests that leave it as they found it; 1 ms a token."""
    with ExitStack() as stack:
        yield Emulators(stack)("--seed", "1")


@pytest.fixture
async def http(engine: Engine) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of that engine."""
    async with httpx2.AsyncClient(base_url=engine.url, timeout=10.0, trust_env=False) as client:
        yield client
