"""`GET /v1/models` and `/v1/models/{id}`: what this key may use."""

from typing import Annotated

from fastapi import APIRouter, Depends

from gateway.api.auth import Caller
from gateway.api.schemas import ModelCard, ModelList, errors
from gateway.errors import ModelNotFound
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.pool import Pool
from gateway.stores.base import ApiKey


def models_router(dispatcher: Dispatcher, caller: Caller, *, started: int) -> APIRouter:
    """Models by pool; `started` (Unix seconds) stands for their creation, which engines do not tell."""
    router = APIRouter(tags=["models"])
    Key = Annotated[ApiKey, Depends(caller)]  # noqa: N806 - a type

    def card(pool: Pool) -> ModelCard:
        return ModelCard(id=pool.settings.model, created=started, max_model_len=pool.context_tokens)

    @router.get("/v1/models", responses=errors(401, 503), openapi_extra=caller.described)
    async def models(key: Key) -> ModelList:
        """The models that the key may use."""
        return ModelList(data=[card(pool) for pool in dispatcher.pools if key.allows(pool.settings.model)])

    @router.get("/v1/models/{model:path}", responses=errors(401, 404, 503), openapi_extra=caller.described)
    async def model(model: str, key: Key) -> ModelCard:
        """One model."""
        pool = dispatcher.pool(model)
        if not key.allows(model):
            raise ModelNotFound(f"The model {model[:100]!r} does not exist.", param="model")
        return card(pool)

    return router
