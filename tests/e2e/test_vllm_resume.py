"""A real vLLM under a gateway that cuts its streams: greedy answers come out as unbroken ones."""

import asyncio
import json
from typing import Any

from tests.e2e.test_coming_back import begin, come_back
from tests.support.raw import CHAT
from tests.support.servers import Engine, Gateways

STREAMS = 4
ROUNDS = 4
BODY: dict[str, Any] = {"max_tokens": 1500, "temperature": 0, "stream": True, "return_token_ids": True}


async def test_readers_who_come_back_to_vllm(gateway: Gateways, vllm_server: Engine) -> None:
    """Each leaves early, twice; its job is stopped there, goes on by token ids, and ends as one that was never cut.

    How many are cut before their end is a matter of cores. That some were is what makes the comparison mean something,
    so there are more rounds where none was.
    """
    served = await asyncio.to_thread(gateway, [vllm_server])
    async with served.client(timeout=120.0) as http:

        async def both(number: int) -> None:
            messages = [{"role": "user", "content": f"def walk{number}(self, path):"}]
            body = {**BODY, "model": vllm_server.model, "messages": messages}
            whole = [json.loads(line[6:]) async for line in _lines(http, body)]
            heard = await begin(http, body, 20)
            await come_back(http, heard, 400)
            await come_back(http, heard)
            assert heard.done
            ids = [token for chunk in whole for choice in chunk["choices"] for token in choice.get("token_ids") or ()]
            assert heard.ids == ids
            assert len(ids) == BODY["max_tokens"]

        for _ in range(ROUNDS):
            await asyncio.gather(*(both(number) for number in range(STREAMS)))
            metrics = await asyncio.to_thread(served.metrics)
            if "andante_legs_resumed_total" in metrics:
                break
    assert metrics.value("andante_legs_resumed_total", level="replay") >= 1


async def _lines(http: Any, body: dict[str, Any]) -> Any:
    async with http.stream("POST", CHAT, json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                yield line
