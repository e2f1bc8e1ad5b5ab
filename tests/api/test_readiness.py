"""`/readyz` of a gateway that has yet to learn the keys of the others."""

import httpx2
from fastapi import FastAPI

from gateway.api.health import health_router
from tests.runtime.fakes import FakeEngine
from tests.runtime.house import house
from tests.support.waiting import eventually


async def test_a_gateway_that_does_not_know_all_keys_is_not_ready() -> None:
    """It would refuse good ones; the answer says why."""
    known: list[bool] = []
    async with house(FakeEngine("a")) as made:
        app = FastAPI()
        app.include_router(health_router(made.dispatcher, lambda: b"", lambda: bool(known)))
        await eventually(lambda: made.dispatcher.ready)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://gateway") as http:
            before = await http.get("/readyz")
            known.append(True)
            after = await http.get("/readyz")

    assert (before.status_code, before.json()["ready"], before.json()["keys"]) == (503, False, False)
    assert (after.status_code, after.json()["ready"], after.json()["keys"]) == (200, True, True)
