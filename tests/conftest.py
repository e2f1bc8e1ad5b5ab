"""Fixtures for all tests live in tests/support/fixtures.py, lanes in tests/support/lanes.py."""

from pathlib import Path

import pytest

from tests.support.fixtures import (
    emulator,
    free_port,
    gateway,
    llama_server,
    redis,
    redis_session,
    vllm_server,
)
from tests.support.lanes import lane

__all__ = ["emulator", "free_port", "gateway", "llama_server", "redis", "redis_session", "vllm_server"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put each test into its lane."""
    for item in items:
        fixtures = frozenset(getattr(item, "fixturenames", ()))
        item.add_marker(pytest.mark.xdist_group(lane(item.path.relative_to(Path(__file__).parent), fixtures)))
