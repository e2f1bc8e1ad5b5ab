"""The OpenAI SDK for Node and the Vercel AI SDK through the gateway, with the browser library's pacer behind them."""

import json

import pytest

from tests.support.node import SDKS, built_client, installed, node, run
from tests.support.servers import Emulators, Gateways

RATE = 400.0
"""Characters a second: some 0.7 s for the answer, which the engine gives much faster."""
SLACK_MS = 5.0
"""The clock of `shown` starts when the first piece has come through the SDK, the pacer's a little before."""


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    """The SDKs, and the library as it is now."""
    installed(SDKS)
    built_client()


def test_both_sdks_show_the_same_text_at_the_readers_pace(emulator: Emulators, gateway: Gateways) -> None:
    """Nothing is changed or lost, nothing is shown before its time, and nothing much later."""
    engine = emulator()
    served = gateway([engine])

    done = run(node(), "paced.mjs", served.url, served.key, engine.model, str(RATE), folder=SDKS, timeout=60)

    assert done.returncode == 0, f"{done.stderr}\n{served.process.output()}"
    seen = json.loads(done.stdout)
    text = seen["plain"]["text"]
    assert len(text) > 150
    for name in ("openai", "ai"):
        assert seen[name]["text"] == text, name
        shown = seen[name]["shown"]
        assert all(characters <= 1 + RATE * (ms + SLACK_MS) / 1000 for ms, characters in shown), name
        assert shown[-1][0] / 1000 < (len(text) / RATE) * 1.5 + 1, name
        assert len(shown) > len(text) / 40, f"{name} was shown in lumps"
