"""Every key store that the contract is tried on; a new one is one more row in STORES."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from gateway.core.limits import Limits
from gateway.stores.base import KeyStore, NewKey
from gateway.stores.memory import MemoryKeyStore
from gateway.stores.sqlite_keys import SqliteKeyStore
from tests.support.pairs import key_pair
from tests.support.redis import RedisServer
from tests.support.relay import relayed

Make = Callable[[int], KeyStore]
StoreFactory = Callable[[pytest.FixtureRequest, Path, int], AbstractContextManager[KeyStore]]


@contextmanager
def alone(store: KeyStore) -> Iterator[KeyStore]:
    yield store
    store.close()


@contextmanager
def shared(request: pytest.FixtureRequest, folder: Path, max_keys: int, *, cut: bool) -> Iterator[KeyStore]:
    """Two gateways on one Redis, as one store; `cut`: their connections break at every change."""
    server: RedisServer = request.getfixturevalue("redis")
    with ExitStack() as stack:
        relay = stack.enter_context(relayed("127.0.0.1", server.port)) if cut else None
        pair = stack.enter_context(key_pair(server, folder, max_keys, relay))
        yield pair
        assert not cut or pair.tripwire is not None
        pair.close()


STORES: dict[str, StoreFactory] = {
    "memory": lambda _request, _path, max_keys: alone(MemoryKeyStore(max_keys=max_keys)),
    "sqlite": lambda _request, path, max_keys: alone(SqliteKeyStore(path / "keys.db", max_keys=max_keys)),
    "redis": partial(shared, cut=False),
    "redis, cut at every change": partial(shared, cut=True),
}
NOW = 1_700_000_000.0
FULL = NewKey(
    name="Zoë's laptop",
    tenant="lab",
    weight=2.5,
    models=("small", "org/large"),
    expires_at=NOW + 100,
    pace={"kind": "reading", "language": "de", "words_per_minute": 200},
    limits=Limits(requests_per_minute=60, tokens_per_minute=10_000, concurrent_streams=4),
)
