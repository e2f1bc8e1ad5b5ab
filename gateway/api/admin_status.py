"""`/admin/status` and `/admin/events`: what the pools are doing now, once or as a live feed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent

from gateway.api.schemas import ErrorBody
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.pool import Pool
from gateway.runtime.slot import EngineSlot

PERIOD_S: Final = 1.0


class EngineStatus(BaseModel):
    """One engine: its health, our legs there, its bounds (sequences, tokens), its own queue, why it gets no work."""

    id: str
    state: str
    legs: int
    max_running: int
    kv_tokens: int | None
    running: int | None
    waiting: int | None
    draining: bool
    resting: bool


class PoolStatus(BaseModel):
    """One model's queue and engines; `gateways`: what each runs at each engine, empty for a gateway that is alone."""

    model: str
    policy: str
    waiting: int
    jobs: int
    context_tokens: int | None
    engines: list[EngineStatus]
    gateways: dict[str, dict[str, int]]


class Status(BaseModel):
    """The whole gateway."""

    draining: bool
    pools: list[PoolStatus]


def status_router(dispatcher: Dispatcher, admin_only: Callable[..., Awaitable[None]]) -> APIRouter:
    """Both calls need the administrator's key."""
    router = APIRouter(tags=["admin"], dependencies=[Depends(admin_only)], responses={401: {"model": ErrorBody}})

    @router.get("/admin/status")
    async def status() -> Status:
        """Queues, legs and engines at this moment."""
        return _status(dispatcher)

    @router.get("/admin/events", include_in_schema=False)
    async def events(seconds: Annotated[int, Query(ge=1, le=86_400)] = 3600) -> EventSourceResponse:
        return EventSourceResponse(_feed(dispatcher, seconds), headers={"x-accel-buffering": "no"})

    return router


async def _feed(dispatcher: Dispatcher, seconds: int) -> AsyncIterator[ServerSentEvent]:
    """A status whenever it differs from the last one."""
    last = ""
    for _ in range(int(seconds / PERIOD_S)):
        now = _status(dispatcher).model_dump_json()
        if now != last:
            last = now
            yield ServerSentEvent(data=now, event="status")
        await asyncio.sleep(PERIOD_S)


def _status(dispatcher: Dispatcher) -> Status:
    return Status(draining=dispatcher.draining, pools=[_pool(pool) for pool in dispatcher.pools])


def _pool(pool: Pool) -> PoolStatus:
    return PoolStatus(
        model=pool.settings.model,
        policy=pool.settings.policy,
        waiting=pool.scheduler.waiting,
        jobs=len(pool.scheduler),
        context_tokens=pool.context_tokens,
        engines=_engines(pool, pool.slots),
        gateways={name: dict(runs) for name, runs in pool.neighbours.everybody().items()},
    )


def _engines(pool: Pool, slots: Sequence[EngineSlot]) -> list[EngineStatus]:
    return [engine_status(pool, slot) for slot in slots]


def engine_status(pool: Pool, slot: EngineSlot) -> EngineStatus:
    """One engine as it is now."""
    return EngineStatus(
        id=slot.id,
        state=slot.state,
        legs=pool.scheduler.running(slot.id),
        max_running=slot.max_running,
        kv_tokens=slot.capacity().kv_tokens,
        running=slot.facts.running,
        waiting=slot.facts.waiting,
        draining=slot.draining,
        resting=slot.rest > 0,
    )
