"""The OpenAI SDK for Node, unchanged."""

import json

import pytest

from tests.e2e.sdk import check, engine, served
from tests.support.node import SDKS, installed, node, run
from tests.support.servers import Engine, Gateway

__all__ = ["engine", "served"]


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    """The SDK that package-lock.json pins beside the script."""
    installed(SDKS)


def test_the_node_sdk_is_served(served: Gateway, engine: Engine) -> None:
    """Streams, whole answers, models and errors are what the SDK expects, comments in a silence included."""
    done = run(node(), "client.mjs", served.url, served.key, engine.model, folder=SDKS, timeout=60)

    assert done.returncode == 0, f"{done.stderr}\n{served.process.output()}"
    check(json.loads(done.stdout), engine)
