"""The one place that names concrete adapters and joins them."""

import gc
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from gateway.api.admin import admin_routers
from gateway.api.app import Services, create_app
from gateway.api.server import Server, TokenProtocol
from gateway.clock import Clock, SystemClock
from gateway.config import Config, EngineConfig
from gateway.config import Pool as PoolConfig
from gateway.core.limits import RateLimiter
from gateway.core.pace import pace_from_spec
from gateway.core.policies import POLICIES
from gateway.core.scheduler import QueueLimits, Scheduler
from gateway.engines.base import Engine, EngineSettings
from gateway.engines.openai import OpenAIEngine
from gateway.engines.vllm import VllmEngine
from gateway.observability.logs import LogInstrument, set_up_logging
from gateway.observability.metrics import MetricsInstrument
from gateway.runtime.admission import Admission
from gateway.runtime.caretaker import SWEEP_S, ClientTimeouts
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.instrument import Instrument, Instruments
from gateway.runtime.pool import Pool, PoolSettings
from gateway.stores.base import ApiKey, KeyStore
from gateway.stores.memory import MemoryKeyStore, MemoryLimitStore
from gateway.stores.sqlite_keys import SqliteKeyStore

ENGINES: Final[Mapping[str, Callable[[EngineSettings], Engine]]] = MappingProxyType(
    {"vllm": VllmEngine, "openai": OpenAIEngine}
)
WEB_ROOT: Final = Path(__file__).parent / "web"


def open_key_store(path: str) -> KeyStore:
    """The embedded key store; ":memory:" keeps nothing."""
    return MemoryKeyStore() if path == ":memory:" else SqliteKeyStore(Path(path))


async def serve(config: Config, announce: Callable[[str, int], None]) -> None:
    """Run the gateway until it is told to stop; `announce` gets host and port once it serves."""
    logger = set_up_logging(config.server.log_level)
    clock = SystemClock()
    metrics = MetricsInstrument()
    dispatcher = build_dispatcher(config, clock, Instruments(metrics, LogInstrument(logger)))
    keys = open_key_store(config.store.path)
    services = Services(
        dispatcher=dispatcher,
        admission=build_admission(config, dispatcher, clock),
        keys=keys,
        clock=clock,
        render_metrics=metrics.render,
        logger=logger,
        anonymous=None if config.auth.required else ApiKey("anonymous", "anonymous", "anonymous", created_at=0.0),
        extra_routers=admin_routers(config.auth.admin_key, keys, clock, dispatcher),
    )
    app = create_app(config.server, services, WEB_ROOT)

    async def drain() -> None:
        logger.warning("draining", extra={"jobs": len(dispatcher.streams)})
        try:
            await dispatcher.drain(config.server.drain_s)
        finally:  # also when it is hurried: every stream gets its last event
            await dispatcher.stop()

    # What exists now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    await Server(_uvicorn_config(app, config), drain, announce).serve()
    keys.close()


def build_admission(config: Config, dispatcher: Dispatcher, clock: Clock) -> Admission:
    """The door to the pools, with limits kept in this process."""
    return Admission(
        dispatcher,
        MemoryLimitStore(RateLimiter()),
        clock,
        default_paces={pool.model: pace_from_spec(pool.pace) for pool in config.pools},
        max_messages=config.server.max_messages,
    )


def _uvicorn_config(app: ASGIApp, config: Config) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=config.server.host,
        port=config.server.port,
        http=partial(TokenProtocol, unread_s=config.server.stalled_client_s + 2 * SWEEP_S),  # type: ignore[arg-type]
        loop="uvloop",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        backlog=4096,
    )


def build_dispatcher(config: Config, clock: Clock, instrument: Instrument) -> Dispatcher:
    """Pools, their schedulers and engines. Needs a running event loop."""
    pools = [_pool(pool, instrument) for pool in config.pools]
    timeouts = ClientTimeouts(config.server.keepalive_s, config.server.stalled_client_s)
    return Dispatcher(pools, clock, instrument, timeouts)


def _pool(config: PoolConfig, instrument: Instrument) -> Pool:
    limits = QueueLimits(config.queue.max_jobs, config.queue.max_jobs_per_tenant, config.queue.timeout_s)
    scheduler = Scheduler(POLICIES[config.policy](), limits, assumed_output_tokens=config.assumed_output_tokens)
    settings = PoolSettings(
        model=config.model,
        policy=config.policy,
        attempts=config.attempts,
        first_token_timeout_s=config.first_token_timeout_s,
        stall_timeout_s=config.stall_timeout_s,
        answer_timeout_s=config.answer_timeout_s,
        probe_interval_s=config.probe_interval_s,
        context_tokens=config.context_tokens,
        assumed_output_tokens=config.assumed_output_tokens,
    )
    engines = [_engine(config.model, number, engine) for number, engine in enumerate(config.engines, start=1)]
    return Pool(settings, engines, scheduler, instrument)


def _engine(model: str, number: int, config: EngineConfig) -> Engine:
    settings = EngineSettings(
        id=config.id or f"engine-{number}",
        url=config.url,
        kind=config.kind,
        model=model,
        served_model=config.served_model,
        api_key=config.api_key,
        max_running=config.max_running,
        kv_tokens=config.kv_tokens,
    )
    return ENGINES[config.kind](settings)
