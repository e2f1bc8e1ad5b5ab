"""The one place that names concrete adapters and joins them."""

import errno
import gc
import logging
import os
import resource
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from gateway.api.admin import admin_routers
from gateway.api.admin_compare import Burst
from gateway.api.app import Services, create_app
from gateway.api.server import Server, TokenProtocol
from gateway.clock import Clock, SystemClock
from gateway.config import Config, EngineConfig, Streams
from gateway.config import Pool as PoolConfig
from gateway.core.limits import RateLimiter
from gateway.core.pace import pace_from_spec
from gateway.core.policies import find_policy
from gateway.core.scheduler import Scheduler
from gateway.core.tuning import Tuning
from gateway.core.waiting_room import QueueLimits
from gateway.engines.base import Engine, EngineSettings
from gateway.engines.llamacpp import LlamaCppEngine
from gateway.engines.openai import OpenAIEngine
from gateway.engines.sglang import SglangEngine
from gateway.engines.tgi import TgiEngine
from gateway.engines.vllm import VllmEngine
from gateway.errors import GatewayError
from gateway.observability.logs import LogInstrument, set_up_logging
from gateway.observability.metrics import MetricsInstrument
from gateway.runtime.admission import Admission
from gateway.runtime.caretaker import SWEEP_S, ClientTimeouts
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.instrument import Instrument, Instruments
from gateway.runtime.neighbours import Neighbours
from gateway.runtime.pool import Pool, PoolSettings
from gateway.runtime.readers import Desk
from gateway.stores.base import ApiKey, KeyStore, LimitStore
from gateway.stores.key_records import RecordStore
from gateway.stores.memory import MemoryKeyStore, MemoryLimitStore
from gateway.stores.memory_streams import MemoryStreamLog
from gateway.stores.sqlite_keys import SqliteKeyStore
from gateway.stores.sqlite_streams import SqliteStreamLog
from gateway.stores.stream_log import LogLimits, StreamLog
from gateway.wiring_redis import Seen, Shared, share
from gateway.wiring_share import SharedEngines, share_engines

ENGINES: Final[Mapping[str, Callable[[EngineSettings], Engine]]] = MappingProxyType(
    {
        "vllm": VllmEngine,
        "openai": OpenAIEngine,
        "sglang": SglangEngine,
        "tgi": TgiEngine,
        "llamacpp": LlamaCppEngine,
    }
)
WEB_ROOT: Final = Path(__file__).parent / "web"
ENOUGH_FILES: Final = 4096
BACKLOG: Final = 4096


class CannotListen(GatewayError):
    """The address is taken, not ours, or not to be found; the message names host and port."""

    code = "cannot_listen"


def open_key_store(path: str) -> RecordStore:
    """The embedded key store; ":memory:" keeps nothing."""
    return MemoryKeyStore() if path == ":memory:" else SqliteKeyStore(Path(path))


def log_limits(config: Streams) -> LogLimits:
    """The bounds of logs."""
    return LogLimits(max_bytes=config.max_bytes, max_streams=config.max_streams, ttl_s=config.window_s)


def open_stream_log(config: Streams) -> StreamLog:
    """Where resumable streams are kept; ":memory:" ends with the process."""
    limits = log_limits(config)
    return MemoryStreamLog(limits) if config.path == ":memory:" else SqliteStreamLog(Path(config.path), limits)


async def serve(
    config: Config,
    announce: Callable[[str, int], None],
    inherited: Sequence[socket.socket] = (),
    burst: Burst | None = None,
) -> None:
    """Run the gateway until it is told to stop; `announce` gets host and port once it serves. CannotListen.

    Listens on `inherited` sockets if there are any, else where the configuration says. `burst` is what `/admin/compare`
    begins, if there is such a thing.
    """
    logger = set_up_logging(config.server.log_level)
    raise_file_limit(logger)
    with ExitStack() as stack:
        sockets = list(inherited) or bind(config.server.host, config.server.port)
        for each in sockets:
            stack.callback(each.close)
        try:
            await _serve_on(sockets, config, logger, announce, burst)
        finally:
            if burst is not None:
                await burst.close()


async def _serve_on(
    sockets: list[socket.socket],
    config: Config,
    logger: logging.Logger,
    announce: Callable[[str, int], None],
    burst: Burst | None,
) -> None:
    seen = Seen(SystemClock(), logger, MetricsInstrument())
    instrument = Instruments(seen.metrics, LogInstrument(logger))
    dispatcher = build_dispatcher(config, seen.clock, instrument)
    services, engines = build_services(config, dispatcher, seen, instrument, burst)
    app = create_app(config.server, services, WEB_ROOT)
    drain = partial(_drain, dispatcher, engines, config.server.drain_s, logger)
    # What exists now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    try:
        await Server(_uvicorn_config(app, config), drain, announce).serve(sockets)
    finally:
        services.keys.close()
        services.desk.log.close()


def build_services(
    config: Config, dispatcher: Dispatcher, seen: Seen, instrument: Instrument, burst: Burst | None
) -> tuple[Services, SharedEngines | None]:
    """What the application serves, with stores and engines of its own or shared ones."""
    clock = seen.clock
    local_keys = open_key_store(config.store.path)
    shared = share(config, local_keys, log_limits(config.streams), seen)
    keys: KeyStore = local_keys if shared is None else shared.keys
    admission = build_admission(config, dispatcher, shared, clock)
    log = open_stream_log(config.streams) if shared is None else shared.streams
    neighbours = None if shared is None else Neighbours(shared.exchange, dispatcher, admission)
    engines = (
        None if shared is None else share_engines(shared, config.redis, dispatcher, clock, instrument, make_engine)
    )
    services = Services(
        dispatcher=dispatcher,
        desk=Desk(log, dispatcher, clock, window_s=config.streams.window_s, neighbours=neighbours),
        admission=admission,
        keys=keys,
        clock=clock,
        render_metrics=seen.metrics.render,
        logger=seen.logger,
        keys_known=lambda: shared is None or shared.keys.met,
        anonymous=None if config.auth.required else ApiKey("anonymous", "anonymous", "anonymous", created_at=0.0),
        extra_routers=admin_routers(config.auth.admin_key, keys, clock, dispatcher, make_engine, burst),
        background=() if shared is None or engines is None else (*shared.background, engines.run),
    )
    return services, engines


async def _drain(dispatcher: Dispatcher, engines: SharedEngines | None, drain_s: float, logger: logging.Logger) -> None:
    logger.warning("draining", extra={"jobs": len(dispatcher.streams)})
    try:
        if engines is not None:
            await engines.hand_over(dispatcher)
        await dispatcher.drain(drain_s)
    finally:  # also when it is hurried: every stream gets its last event
        await dispatcher.stop()
        if engines is not None:
            await engines.leave()


def bind(host: str, port: int) -> list[socket.socket]:
    """A listening socket for each address of the host; who calls early waits until a server accepts. CannotListen."""
    with ExitStack() as stack:
        bound = []
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, address in dict.fromkeys(found):
                try:
                    each = stack.enter_context(socket.socket(family, kind, protocol))
                except OSError:
                    continue  # a name may have addresses of a family that this system lacks
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                each.bind(address)
                # Here, as two may bind one address, and uvloop hides which of them could not listen.
                each.listen(BACKLOG)
                bound.append(each)
            if not bound:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        except (OSError, ValueError) as error:  # ValueError: no look-up can be made for such a name
            raise _cannot_listen(host, port, error) from error
        stack.pop_all()
    return bound


def _cannot_listen(host: str, port: int, error: Exception) -> CannotListen:
    shown = f"[{host}]" if ":" in host else host
    why = (error.strerror if isinstance(error, OSError) else None) or error
    return CannotListen(f"cannot listen on {shown}:{port}: {why}")


def raise_file_limit(logger: logging.Logger) -> None:
    """Take as many file descriptors as the system lets us have; a warning where that is few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:  # macOS has hard limits that it does not grant
            logger.debug("file_limit_kept", extra={"limit": soft, "detail": str(error)})
        else:
            soft = hard
    if soft != resource.RLIM_INFINITY and soft < ENOUGH_FILES:
        logger.warning("few_file_descriptors", extra={"limit": soft, "enough": ENOUGH_FILES})


def build_admission(config: Config, dispatcher: Dispatcher, shared: Shared | None, clock: Clock) -> Admission:
    """The door to the pools, with limits that hold in this process, or in all gateways."""
    limits: LimitStore = MemoryLimitStore(RateLimiter()) if shared is None else shared.limits
    return Admission(
        dispatcher,
        limits,
        clock,
        default_paces={pool.model: pace_from_spec(pool.pace) for pool in config.pools},
        max_messages=config.server.max_messages,
    )


def _uvicorn_config(app: ASGIApp, config: Config) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=partial(TokenProtocol, unread_s=config.server.stalled_client_s + 2 * SWEEP_S),  # type: ignore[arg-type]
        loop="uvloop",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        backlog=BACKLOG,
    )


def build_dispatcher(config: Config, clock: Clock, instrument: Instrument) -> Dispatcher:
    """Pools, their schedulers and engines. Needs a running event loop."""
    pools = [_pool(pool, instrument, clock) for pool in config.pools]
    timeouts = ClientTimeouts(config.server.keepalive_s, config.server.stalled_client_s)
    return Dispatcher(pools, clock, instrument, timeouts)


def _pool(config: PoolConfig, instrument: Instrument, clock: Clock) -> Pool:
    limits = QueueLimits(config.queue.max_jobs, config.queue.max_jobs_per_tenant, config.queue.timeout_s)
    tuning = Tuning(slack_s=config.slack_s, assumed_output_tokens=config.assumed_output_tokens)
    scheduler = Scheduler(find_policy(config.policy), limits, tuning)
    settings = PoolSettings(
        model=config.model,
        policy=config.policy,
        attempts=config.attempts,
        first_token_timeout_s=config.first_token_timeout_s,
        stall_timeout_s=config.stall_timeout_s,
        answer_timeout_s=config.answer_timeout_s,
        failover_wait_s=config.failover_wait_s,
        probe_interval_s=config.probe_interval_s,
        context_tokens=config.context_tokens,
        assumed_output_tokens=config.assumed_output_tokens,
    )
    engines = [_engine(config.model, number, engine) for number, engine in enumerate(config.engines, start=1)]
    return Pool(settings, engines, scheduler, instrument, clock)


def _engine(model: str, number: int, config: EngineConfig) -> Engine:
    given = {**config.model_dump(), "id": config.id or f"engine-{number}"}
    return make_engine(EngineSettings(model=model, **given))


def make_engine(settings: EngineSettings) -> Engine:
    """The adapter of an engine's kind. Needs a running event loop."""
    return ENGINES[settings.kind](settings)
