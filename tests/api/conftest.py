"""One gateway for the tests of this folder that need a real server, before one emulated engine."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx2
import pytest

from gateway.stores.base import NewKey
from tests.support.servers import Emulators, Engine, Gateway, Gateways, create_key

ORIGIN = "https://chat.example"
BODY_BYTES = 60_000
MESSAGES = 8
CONTEXT = 2048


@dataclass(frozen=True)
class House:
    """The gateway and what stands behind it."""

    gateway: Gateway
    engine: Engine

    def key(self, new: NewKey) -> str:
        """One more key's secret."""
        return create_key(self.gateway.config.with_name("andante.db"), new)


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Bounds that a test can reach, and a gateway that soon speaks into a silence."""
    with ExitStack() as stack:
        engine = Emulators(stack)("--max-model-len", str(CONTEXT), "--seed", "1")
        server = {
            "cors_origins": [ORIGIN],
            "max_body_bytes": BODY_BYTES,
            "max_messages": MESSAGES,
            "keepalive_s": 0.1,
            "head_timeout_s": 0.1,
        }
        gateways = Gateways(stack, tmp_path_factory.mktemp("api"))
        yield House(gateways([engine], server=server), engine)


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    """Signed in."""
    async with house.gateway.client() as client:
        yield client


@pytest.fixture
async def client_of(house: House) -> AsyncIterator[Callable[[NewKey], httpx2.AsyncClient]]:
    """`client_of(NewKey(...))` is signed in with a key of its own."""
    made: list[httpx2.AsyncClient] = []

    def make(new: NewKey) -> httpx2.AsyncClient:
        headers = {"authorization": f"Bearer {house.key(new)}"}
        made.append(httpx2.AsyncClient(base_url=house.gateway.url, headers=headers, timeout=30.0, trust_env=False))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()
