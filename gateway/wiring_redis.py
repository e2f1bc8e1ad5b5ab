"""What a gateway has when it shares through Redis: one link, a name of its own, and the stores over them."""

import logging
import uuid

from gateway.config import Redis
from gateway.observability.metrics import MetricsInstrument
from gateway.stores.redis_link import LinkSettings, RedisLink


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
    return link


def gateway_id() -> str:
    """A name for this process among the gateways: new at each start."""
    return uuid.uuid4().hex[:16]
