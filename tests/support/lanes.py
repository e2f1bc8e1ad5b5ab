"""Which tests run one after the other where pytest-xdist runs two at a time (`scripts/test` without arguments).

A test that follows a clock, in a browser or in processes that stream, is disturbed by another one like it, and hardly
by one that computes: all of the first kind share a lane, and those of vLLM, which starts once and takes all cores that
it finds. The tests of any other file share its fixtures.
"""

from pathlib import Path
from typing import Final

CLOCKED: Final = frozenset(
    f"test_{name}"
    for name in (
        "chaos_gateways",
        "coming_back",
        "drain",
        "failover",
        "frozen",
        "gateways",
        "leaving",
        "live_study",
        "many_streams",
        "paced_sdks",
        "pausing",
        "preemption",
        "redis_cost",
        "slow_readers",
        "two_gateways",
    )
)
"""Files of tests/e2e that follow a clock."""


def lane(path: Path, fixtures: frozenset[str]) -> str:
    """The lane of a test in this file, relative to tests/, that asks for these fixtures."""
    of_clocks = path.parts[0] == "browser" or (path.parts[0] == "e2e" and path.stem in CLOCKED)
    if of_clocks or "vllm_server" in fixtures:
        return "clocked"
    return path.as_posix()
