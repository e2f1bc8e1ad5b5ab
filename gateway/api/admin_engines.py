"""`/admin/engines`: engines are listed, added, drained and removed while the gateway runs.

What is changed here lasts until the process ends; the configuration file is the memory.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, status
from pydantic import BaseModel, Field, StringConstraints

from gateway.api.admin_status import EngineStatus, engine_status
from gateway.api.auth import AdminAuth, guarded
from gateway.api.fields import WHOLE, Strict
from gateway.api.schemas import ErrorBody, errors
from gateway.config import Kind
from gateway.engines.base import REASONING_END, Engine, EngineSettings
from gateway.errors import EngineNotFound, InvalidRequest
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.pool import Pool

EngineId = Annotated[str, Path(min_length=1, max_length=200, description="the engine's id in its pool")]
Model = Annotated[str | None, Query(max_length=256, description="the pool; needed when several have such an engine")]
_LABEL: Final = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PORT: Final = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_ADDRESS: Final = rf"^https?://{_LABEL}(\.{_LABEL}){{0,7}}(:{_PORT})?(/[A-Za-z0-9._~/-]{{0,200}})?$"
Address = Annotated[str, StringConstraints(pattern=_ADDRESS)]
MakeEngine = Callable[[EngineSettings], Engine]
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": ErrorBody, "description": "The admin key is missing or wrong."},
}


class EngineView(EngineStatus):
    """One engine and its pool."""

    model: str
    url: str
    kind: str


class EngineList(BaseModel):
    """All engines of all pools."""

    data: list[EngineView]


class EngineAdd(Strict):
    """A new engine of a pool, as in the configuration file."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    url: Address
    kind: Kind = "vllm"
    id: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9._:-]{1,200}$")]
    served_model: str | None = None
    api_key: Annotated[str, StringConstraints(pattern="^[!-~]{1,512}$")] | None = Field(None, repr=False)
    max_running: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] = 128
    kv_tokens: Annotated[int, Field(ge=1, le=2**53), WHOLE] | None = None
    priority: bool = False
    reasoning_end: Annotated[str, Field(min_length=1, max_length=200)] = REASONING_END


class Moved(BaseModel):
    """How many streams go on elsewhere, and how many end where they are."""

    moved: int
    staying: int


def engines_router(
    dispatcher: Dispatcher, admin: AdminAuth, admin_only: Callable[..., Awaitable[None]], make: MakeEngine
) -> APIRouter:
    """The routes over a dispatcher's pools; `make` builds an engine's adapter."""
    router = APIRouter(
        prefix="/admin/engines",
        tags=["engines"],
        dependencies=[Depends(admin_only)],
        responses=_RESPONSES,
        route_class=guarded(admin.check),
    )

    @router.get("")
    async def list_engines() -> EngineList:
        """All engines."""
        return EngineList(data=[_view(pool, slot.id) for pool in dispatcher.pools for slot in pool.slots])

    @router.post("", status_code=status.HTTP_201_CREATED, responses=errors(400, 404, 409, 413))
    async def add_engine(body: EngineAdd) -> EngineView:
        """Add an engine to a pool; it gets work once it is found to be well."""
        pool = dispatcher.pool(body.model)
        pool.add(make(EngineSettings(**body.model_dump())))
        return _view(pool, body.id)

    _add_draining(router, dispatcher)
    return router


def _add_draining(router: APIRouter, dispatcher: Dispatcher) -> None:
    @router.post("/{engine_id}/drain", responses=errors(400, 404))
    async def drain_engine(engine_id: EngineId, model: Model = None) -> Moved:
        """Give an engine no new work and move its streams where that loses nothing; the others end there."""
        pool = _pool_of(dispatcher, engine_id, model)
        moved = dispatcher.drain_engine(pool, engine_id)
        return Moved(moved=moved, staying=pool.scheduler.running(engine_id) - moved)

    @router.post("/{engine_id}/undrain", responses=errors(400, 404))
    async def undrain_engine(engine_id: EngineId, model: Model = None) -> EngineView:
        """Give a drained engine work again."""
        pool = _pool_of(dispatcher, engine_id, model)
        pool.drain(engine_id, draining=False)
        return _view(pool, engine_id)

    @router.delete("/{engine_id}", status_code=status.HTTP_204_NO_CONTENT, responses=errors(400, 404, 409))
    async def remove_engine(engine_id: EngineId, model: Model = None) -> None:
        """Forget an engine that was drained and is empty."""
        await _pool_of(dispatcher, engine_id, model).remove(engine_id)


def _pool_of(dispatcher: Dispatcher, engine_id: str, model: str | None) -> Pool:
    if model is not None:
        return dispatcher.pool(model)
    found = [pool for pool in dispatcher.pools if any(slot.id == engine_id for slot in pool.slots)]
    if not found:
        raise EngineNotFound(f"There is no engine {engine_id[:100]!r}.", param="engine_id")
    if len(found) > 1:
        raise InvalidRequest("Several pools have an engine of this name: say which model.", param="model")
    return found[0]


def _view(pool: Pool, engine_id: str) -> EngineView:
    slot = next(slot for slot in pool.slots if slot.id == engine_id)
    settings = slot.engine.settings
    fields = engine_status(pool, slot).model_dump()
    return EngineView(**fields, model=pool.settings.model, url=settings.url, kind=settings.kind)
