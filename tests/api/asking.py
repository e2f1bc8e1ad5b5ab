"""Requests as the tests of this folder write them."""

import json
from typing import Any

import httpx2

from tests.support.servers import MODEL

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


def chat(**fields: Any) -> dict[str, Any]:
    """A short conversation."""
    return {"model": MODEL, "messages": [{"role": "user", "content": "The river"}], "max_tokens": 8, **fields}


def error_of(response: httpx2.Response) -> dict[str, Any]:
    """OpenAI's error object, whole and alone in its body."""
    assert response.headers["content-type"] == "application/json"
    (error,) = response.json().values()
    assert set(response.json()) == {"error"}
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert isinstance(error["message"], str)
    found: dict[str, Any] = error
    return found


async def lines_of(client: httpx2.AsyncClient, body: dict[str, Any]) -> list[str]:
    """A stream as it came, line by line, blank ones too."""
    async with client.stream("POST", CHAT, json={**body, "stream": True}) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        return "".join([part async for part in response.aiter_text()]).split("\n")


def events_of(lines: list[str]) -> list[Any]:
    """The data of the events; [DONE] as it is."""
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [each if each == "[DONE]" else json.loads(each) for each in data]
