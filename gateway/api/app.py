"""The FastAPI application: everything it needs is passed in, nothing happens at import."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from gateway import __version__
from gateway.api import errors, openapi, page
from gateway.api.auth import Caller
from gateway.api.completions import BODIES, completions_router
from gateway.api.context import REQUEST_ID, RequestContext
from gateway.api.cors import SdkCors
from gateway.api.health import health_router
from gateway.api.models import models_router
from gateway.api.streams import OPT_IN, RESUME, STREAM_ID, WINDOW, streams_router
from gateway.clock import Clock
from gateway.config import Server
from gateway.runtime.admission import Admission
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.readers import Desk
from gateway.stores.base import ApiKey, KeyStore

EXPOSED: Final = (
    REQUEST_ID,
    "retry-after",
    "retry-after-ms",
    "x-queue-ms",
    "x-should-retry",
    STREAM_ID,
    RESUME,
    WINDOW,
    *(f"x-ratelimit-{what}-{unit}" for what in ("limit", "remaining", "reset") for unit in ("requests", "tokens")),
)
ALLOWED: Final = ("authorization", "content-type", "last-event-id", "x-api-key", OPT_IN, REQUEST_ID)


@dataclass(frozen=True, slots=True)
class Services:
    """What the application serves. `keys_known`: no key that another gateway made is missing. `anonymous` is who a
    caller without a key is; None: keys are required. `background` runs beside the application, each for ever, from
    before the first request."""

    dispatcher: Dispatcher
    desk: Desk
    admission: Admission
    keys: KeyStore
    clock: Clock
    render_metrics: Callable[[], bytes]
    logger: logging.Logger
    keys_known: Callable[[], bool] = lambda: True
    anonymous: ApiKey | None = None
    extra_routers: Sequence[APIRouter] = ()
    background: Sequence[Callable[[], Coroutine[None, None, None]]] = ()


def create_app(settings: Server, services: Services, web_root: Path) -> FastAPI:
    """Build the application; its lifespan starts and stops the dispatcher."""

    app = FastAPI(
        title="Andante",
        version=__version__,
        summary="A fair, reader-aware streaming gateway in front of LLM engines.",
        lifespan=lambda _app: _running(services),
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the runtime's instruments see more
        docs_url="/docs" if settings.docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs else None,
        redirect_slashes=False,  # a redirected POST loses its body or its key in some clients
        middleware=_middleware(settings, services.logger),
    )
    errors.install(app)
    openapi.install(app, BODIES)
    _include(app, settings, services)
    page.install(app, web_root)
    return app


def _include(app: FastAPI, settings: Server, services: Services) -> None:
    caller = Caller(services.keys, services.clock, services.anonymous)
    dispatcher, desk = services.dispatcher, services.desk
    generation = completions_router(
        services.admission, dispatcher, desk, caller, head_timeout_s=settings.head_timeout_s
    )
    models = models_router(dispatcher, caller, started=int(services.clock.wall()))
    health = health_router(dispatcher, services.render_metrics, services.keys_known)
    for router in (generation, streams_router(desk, caller), models, health, *services.extra_routers):
        app.include_router(router)


@asynccontextmanager
async def _running(services: Services) -> AsyncIterator[None]:
    def begin(run: Callable[[], Coroutine[None, None, None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(run())
        task.add_done_callback(lambda done: _tell_of_end(done, services))
        return task

    beside = [begin(run) for run in services.background]
    await services.dispatcher.start()
    beside.append(begin(services.desk.run))
    yield
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    await services.dispatcher.stop()


def _tell_of_end(task: "asyncio.Task[None]", services: Services) -> None:
    """What runs beside the application never ends by itself: it has met a bug. New work should go elsewhere."""
    if not task.cancelled() and (error := task.exception()) is not None:
        services.dispatcher.crippled = True
        services.logger.critical("background_ended", exc_info=error)


def _middleware(settings: Server, logger: logging.Logger) -> list[Middleware]:
    context = Middleware(RequestContext, max_body_bytes=settings.max_body_bytes, logger=logger)
    if settings.cors_origins:
        cors = Middleware(
            SdkCors,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "DELETE", "PATCH"),
            allow_headers=("*",) if "*" in settings.cors_origins else ALLOWED,
            expose_headers=EXPOSED,
        )
        return [cors, context]
    return [context]
