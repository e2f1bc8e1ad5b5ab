"""Fixtures for all tests live in tests/support/fixtures.py."""

from tests.support.fixtures import (
    emulator,
    free_port,
    gateway,
    llama_server,
    redis,
    redis_session,
    vllm_server,
)

__all__ = ["emulator", "free_port", "gateway", "llama_server", "redis", "redis_session", "vllm_server"]
