"""`/admin/compare`: a burst of simulated readers on two policies at once, begun and followed. Only the demo has one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from fastapi import APIRouter, Depends, status
from sse_starlette import EventSourceResponse, ServerSentEvent

from gateway.api.schemas import errors


class Burst(Protocol):
    """Whoever sends the burst, and what becomes of it."""

    def begin(self) -> None:
        """Send it; BurstRunning while one is on its way."""

    def follow(self) -> AsyncIterator[str]:
        """The last burst from its beginning, line by line of JSON, then what comes, for ever."""

    async def close(self) -> None:
        """End what is on its way."""


def compare_router(burst: Burst, admin_only: Callable[..., Awaitable[None]]) -> APIRouter:
    """Both calls need the administrator's key."""
    router = APIRouter(tags=["admin"], dependencies=[Depends(admin_only)], responses=errors(401))

    @router.post("/admin/compare", status_code=status.HTTP_202_ACCEPTED, responses=errors(429))
    async def begin() -> None:
        """Send the burst to both pools at once; one at a time."""
        burst.begin()

    @router.get("/admin/compare", include_in_schema=False)
    async def follow() -> EventSourceResponse:
        return EventSourceResponse(_events(burst), headers={"x-accel-buffering": "no"})

    return router


async def _events(burst: Burst) -> AsyncIterator[ServerSentEvent]:
    async for line in burst.follow():
        yield ServerSentEvent(data=line)
