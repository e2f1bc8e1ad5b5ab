"""The fixtures that every test can ask for; tests/conftest.py registers them."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import engines
from tests.support.ports import unused_port
from tests.support.redis import RedisServer, redis_server
from tests.support.servers import Emulators, Engine, Gateways


@pytest.fixture
def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing listens on."""
    return unused_port()


@pytest.fixture
def emulator() -> Iterator[Emulators]:
    """`emulator("--max-num-seqs", "4", speed=10)` starts an emulated engine, as often as it is called."""
    with ExitStack() as stack:
        yield Emulators(stack)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateways]:
    """`gateway([engine])` starts a gateway in front of engines, with a key, as often as called."""
    with ExitStack() as stack:
        yield Gateways(stack, tmp_path)


@pytest.fixture(scope="session")
def vllm_server() -> Iterator[Engine]:
    """One real vLLM for the whole session."""
    with engines.vllm() as engine:
        yield engine


@pytest.fixture(scope="session")
def llama_server() -> Iterator[Engine]:
    """One real llama.cpp server for the whole session."""
    with engines.llama() as engine:
        yield engine


@pytest.fixture(scope="session")
def redis_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One redis-server for the session."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(redis_session: RedisServer) -> RedisServer:
    """A redis-server that is well and empty."""
    redis_session.flush()
    return redis_session
