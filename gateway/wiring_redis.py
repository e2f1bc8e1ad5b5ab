"""What a gateway has when it shares through Redis: one link, a name of its own, and the stores over them."""

import logging
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Final

from gateway.clock import Clock
from gateway.config import Config, Redis
from gateway.observability.metrics import MetricsInstrument
from gateway.stores.key_records import RecordStore
from gateway.stores.redis_exchange import RedisStreamExchange
from gateway.stores.redis_heartbeat import Heartbeat
from gateway.stores.redis_keys import RedisKeyStore
from gateway.stores.redis_limits import RedisLimitStore
from gateway.stores.redis_link import LinkSettings, RedisLink
from gateway.stores.redis_streams import RedisStreamLog
from gateway.stores.stream_log import LogLimits

HOLD_S: Final = 30.0  # a dead gateway's streams count for so long: six times the time between two reports of one
BEATS_OF_A_HOLD: Final = 10  # or so many times `redis.ttl_s`, where that is more


class LinkLog:
    """Logs when Redis goes and comes back."""

    def __init__(self, link: RedisLink, logger: logging.Logger) -> None:
        self._link = link
        self._logger = logger

    def changed(self, available: bool) -> None:
        level = logging.INFO if available else logging.WARNING
        self._logger.log(level, "redis_changed", extra={"available": available, "detail": self._link.detail})

    def emptied(self) -> None:
        self._logger.warning("redis_empty")


def open_link(config: Redis, logger: logging.Logger, metrics: MetricsInstrument) -> RedisLink | None:
    """The link, None for a gateway that is alone. Its `run` belongs in the application's background."""
    if config.url is None:
        return None
    settings = LinkSettings(config.url, config.prefix, config.timeout_s, config.connections)
    link = RedisLink(settings)
    link.listen(LinkLog(link, logger))
    metrics.sample("andante_redis_available", "1: Redis answers.", lambda: float(link.available))
    metrics.sample("andante_redis_beat_seconds", "How long Redis took for the last beat.", lambda: link.beat_s)
    metrics.sample("andante_redis_operations", "Commands sent to Redis.", lambda: link.operations, counter=True)
    metrics.sample("andante_redis_lost", "Times that Redis went away.", lambda: link.failures, counter=True)
    rejected = "andante_redis_messages_rejected"
    metrics.sample(rejected, "Messages that were dropped.", lambda: link.rejected, counter=True)
    return link


@dataclass(frozen=True, slots=True)
class Seen:
    """What every part of a gateway has at hand: time, and where to say things."""

    clock: Clock
    logger: logging.Logger
    metrics: MetricsInstrument


@dataclass(frozen=True, slots=True)
class Shared:
    """The stores of a gateway that shares, and what runs beside them (`background`, each for ever)."""

    link: RedisLink
    heartbeat: Heartbeat
    keys: RedisKeyStore
    limits: RedisLimitStore
    streams: RedisStreamLog
    exchange: RedisStreamExchange
    background: tuple[Callable[[], Coroutine[None, None, None]], ...]


def share(config: Config, local_keys: RecordStore, logs: LogLimits, seen: Seen) -> Shared | None:
    """The stores over a link; None for a gateway that is alone."""
    link = open_link(config.redis, seen.logger, seen.metrics)
    if link is None:
        return None
    heartbeat = Heartbeat(link, uuid.uuid4().hex[:16], ttl_s=config.redis.ttl_s)
    keys = RedisKeyStore(local_keys, link)
    hold_s = max(HOLD_S, BEATS_OF_A_HOLD * config.redis.ttl_s)
    limits = RedisLimitStore(link, ttl_s=hold_s, gateways=lambda: len(heartbeat.alive))
    streams = RedisStreamLog(link, heartbeat.id, logs)
    exchange = RedisStreamExchange(link, heartbeat, streams, seen.clock.wall)
    sample = seen.metrics.sample
    sample("andante_gateways", "Gateways alive, as far as known.", lambda: len(heartbeat.alive))
    sample("andante_limits_alone", "Requests admitted without Redis.", lambda: limits.alone, counter=True)
    sample("andante_keys_unsent", "Changes of keys that Redis does not have.", lambda: keys.unsent)
    sample("andante_streams_unsent", "Streams with events that Redis does not have.", lambda: streams.behind)
    sample("andante_streams_taken_over", "Streams of dead gateways.", lambda: exchange.taken_over, counter=True)
    sample("andante_streams_lost", "Streams that another gateway took.", lambda: exchange.lost, counter=True)
    runs = (link.run, heartbeat.run, keys.run, partial(limits.run, seen.clock.now), streams.run, exchange.run)
    return Shared(link, heartbeat, keys, limits, streams, exchange, runs)
