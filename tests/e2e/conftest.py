"""What the end-to-end tests share."""

from collections.abc import AsyncIterator

import pytest

from tests.support.raw import Clients


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    """`await clients(gateway, body)` sends a request on a socket of its own, as often as called."""
    clients = Clients()
    yield clients
    await clients.close()
