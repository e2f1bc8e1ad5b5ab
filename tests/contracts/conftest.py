"""The key store that a contract test is given: each of STORES in turn."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.stores.base import KeyStore
from tests.contracts.key_stores import STORES, Make


@pytest.fixture(params=STORES)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(max_keys: int = 1000) -> KeyStore:
            return stack.enter_context(STORES[request.param](request, tmp_path, max_keys))

        yield make


@pytest.fixture
def store(make_store: Callable[..., KeyStore]) -> KeyStore:
    return make_store()
