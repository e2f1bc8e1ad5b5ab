"""scripts/demo, as the README says it."""

import signal

import httpx2
import openai

from tests.support.processes import ROOT, Process, members, running
from tests.support.waiting import wait_until

READY_S = 60.0


def test_the_demo_serves() -> None:
    """It prints the ready line; the key on it works in the SDK; the page is there."""
    with running([str(ROOT / "scripts" / "demo")], env={"PORT": "0"}) as demo:
        url, key = ready(demo)
        with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
            model = client.models.list().data[0].id
            stream = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "Hello"}], max_tokens=20, stream=True
            )
            text = "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
        page = httpx2.get(f"{url}/", trust_env=False)
        assert text
        assert page.status_code == httpx2.codes.OK
        assert "<html" in page.text.lower()
        assert key not in page.text


def test_the_demo_ends_with_all_that_it_started() -> None:
    """SIGTERM ends gateway and engines in order; nothing is left of the group."""
    with running([str(ROOT / "scripts" / "demo")], env={"PORT": "0"}) as demo:
        ready(demo)
        demo.signal(signal.SIGTERM)

        assert demo.wait(30.0) == 0, demo.output()
        assert wait_until(lambda: not members(demo.pid), 5.0)


def ready(demo: Process) -> tuple[str, str]:
    """URL and key from the line `ready URL key KEY`."""
    _, url, _, key = demo.wait_line("ready ", READY_S).split()
    return url, key
