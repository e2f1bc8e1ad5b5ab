"""scripts/demo, as the README says it."""

import json
import re
import signal
from typing import Any

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


def test_the_demo_compares_two_policies() -> None:
    """The page is there; the burst is begun with the admin key, one at a time, and followed from its beginning."""
    with running([str(ROOT / "scripts" / "demo")], env={"PORT": "0"}) as demo:
        url, key = ready(demo)
        found = re.search(r"/compare#admin=(\S+)", demo.output())
        assert found is not None, demo.output()
        admin = {"authorization": f"Bearer {found.group(1)}"}
        with httpx2.Client(base_url=url, trust_env=False, timeout=30.0) as client:
            assert client.get("/compare").status_code == httpx2.codes.OK
            assert client.post("/admin/compare").status_code == httpx2.codes.UNAUTHORIZED
            models = client.get("/v1/models", headers={"authorization": f"Bearer {key}"}).json()["data"]
            assert [model["id"] for model in models] == ["andante-emulated"]
            assert client.post("/admin/compare", headers=admin).status_code == httpx2.codes.ACCEPTED
            refused = client.post("/admin/compare", headers=admin)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "burst_running")
            for _ in range(2):  # who comes later sees it from its beginning too
                plan, frame = read_to_readers(client, admin)
                assert plan["sides"] == ["compare-fcfs", "compare-fair_qoe"]
                assert all("r" in side["readers"] for side in frame["sides"])
        demo.signal(signal.SIGTERM)
        assert demo.wait(30.0) == 0, demo.output()
        assert wait_until(lambda: not members(demo.pid), 5.0)


def read_to_readers(client: httpx2.Client, admin: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plan, and the first frame in which both sides have readers."""
    plan: dict[str, Any] = {}
    with client.stream("GET", "/admin/compare", headers=admin) as answer:
        for line in answer.iter_lines():
            told = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            plan = told.get("plan", plan)
            frame = told.get("frame")
            if frame is not None and all("r" in side["readers"] for side in frame["sides"]):
                return plan, frame
    raise AssertionError("the stream ended")


def ready(demo: Process) -> tuple[str, str]:
    """URL and key from the line `ready URL key KEY`."""
    _, url, _, key = demo.wait_line("ready ", READY_S).split()
    return url, key
