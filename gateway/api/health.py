"""For orchestrators and Prometheus: `/healthz`, `/readyz`, `/metrics`. They need no key and tell nothing of tenants."""

from collections.abc import Callable

from fastapi import APIRouter, Response

from gateway.api.schemas import Health, Readiness
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.pool import engine_states

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def health_router(
    dispatcher: Dispatcher, render_metrics: Callable[[], bytes], keys_known: Callable[[], bool]
) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/healthz")
    async def healthz() -> Health:
        """The process lives."""
        return Health()

    @router.get("/readyz", responses={503: {"model": Readiness}})
    async def readyz(response: Response) -> Readiness:
        """Requests can be served: not draining, at least one engine is ready, the keys of all gateways have been known
        here since the start, and no background task has met a bug."""
        keys = keys_known()
        ready = dispatcher.ready and keys
        if not ready:
            response.status_code = 503
        states = engine_states(dispatcher.pools)
        return Readiness(
            ready=ready,
            draining=dispatcher.draining,
            keys=keys,
            engines={model: dict(engines) for model, engines in states.items()},
        )

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Prometheus text format 0.0.4."""
        return Response(render_metrics(), media_type=METRICS_TYPE)

    return router
