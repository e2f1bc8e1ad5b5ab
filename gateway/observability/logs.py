"""One JSON object a line on standard error. Keys, prompts and answers never come here."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from gateway.engines.base import EngineState
from gateway.runtime.instrument import JobEnd, Resumption, ShareState

LOGGER: Final = "andante"
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({})))


class JsonFormatter(logging.Formatter):
    """A record's message and its extra fields as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        entry |= {k: v for k, v in vars(record).items() if k not in _STANDARD and v is not None}
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry, enc_hook=str).decode()


def set_up_logging(level: str) -> logging.Logger:
    """Send our log, uvicorn's and asyncio's to standard error; the logger to use."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in (LOGGER, "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level.upper() if name == LOGGER else logging.WARNING)
    return logging.getLogger(LOGGER)


class LogInstrument:
    """Jobs that end, legs that fail, engines that come and go."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._gateways: dict[str, tuple[str, ...]] = {}

    def job_queued(self, model: str) -> None:
        pass

    def tokens(self, model: str, count: int) -> None:
        pass

    def job_ended(self, end: JobEnd) -> None:
        fields = {
            "job": end.job_id,
            "request_id": end.request_id,
            "tenant": end.tenant,
            "model": end.model,
            "outcome": end.outcome,
            "prompt_tokens": end.prompt_tokens,
            "completion_tokens": end.completion_tokens,
            "queue_s": _rounded(end.queue_s),
            "ttft_s": _rounded(end.ttft_s),
            "total_s": _rounded(end.total_s),
            "legs": end.legs,
        }
        self._logger.info("job_ended", extra=fields)

    def leg_failed(self, model: str, engine_id: str, code: str, detail: str) -> None:
        self._logger.warning("leg_failed", extra={"model": model, "engine": engine_id, "code": code, "detail": detail})

    def leg_paused(self, model: str, engine_id: str, reason: str) -> None:
        self._logger.info("leg_paused", extra={"model": model, "engine": engine_id, "reason": reason})

    def resumed(self, model: str, cost: Resumption) -> None:
        fields = {"engine": cost.engine_id, "level": cost.level, "ttft_s": _rounded(cost.ttft_s)}
        counts = {"resent_tokens": cost.resent_tokens, "cached_tokens": cost.cached_tokens}
        self._logger.info("resumed", extra={"model": model, **fields, **counts})

    def engine_changed(self, model: str, engine_id: str, state: EngineState, detail: str) -> None:
        fields = {"model": model, "engine": engine_id, "state": str(state), "detail": detail or None}
        self._logger.warning("engine_changed", extra=fields)

    def pool_load(self, model: str, waiting: int, running: int, *, overloaded: bool) -> None:
        pass

    def shared(self, model: str, state: ShareState) -> None:
        before, self._gateways[model] = self._gateways.get(model), state.others
        if before is not None and set(before) != set(state.others):
            self._logger.warning("gateways_changed", extra={"model": model, "others": sorted(state.others)})


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
