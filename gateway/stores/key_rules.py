"""What a key may look like: bounds of its fields, checked by every store before anything is kept.

The HTTP schema and the command line state the same bounds; these here hold whoever calls.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from gateway.core.limits import Limits
from gateway.core.pace import PaceSpec, pace_from_spec
from gateway.errors import InvalidRequest
from gateway.stores.base import MAX_GRACE_S, KeyChanges, NewKey

MAX_NAME: Final = 100
MAX_MODELS: Final = 100
MAX_MODEL_NAME: Final = 200
MIN_WEIGHT: Final = 0.001
MAX_WEIGHT: Final = 1000.0
MAX_LIMIT: Final = 1_000_000_000
MAX_TIME: Final = 253_402_300_799.0  # the end of the year 9999: the last that a calendar can show
TEXT_PATTERN: Final = r"^[^\x00-\x1f\x7f-\x9f]+$"

# Control characters would reach terminals and logs; half a surrogate pair cannot be stored.
_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


def check_new(new: NewKey) -> None:
    """Raise InvalidRequest for the first bad field, which `param` names."""
    if new.tenant is not None:
        _check_text("tenant", new.tenant, MAX_NAME)
    check_changes(
        KeyChanges(
            name=new.name,
            weight=new.weight,
            models=new.models,
            expires_at=new.expires_at,
            pace=new.pace,
            limits=new.limits,
        )
    )


def check_changes(changes: KeyChanges) -> None:
    """Raise InvalidRequest for the first bad field, which `param` names."""
    for field, value in changes.items():
        check = _CHECKS.get(field)
        if check is None:
            _refuse(field, "cannot be changed")
        check(value)


def check_grace(grace_s: float) -> None:
    """Raise InvalidRequest unless the time in seconds is within 0 and MAX_GRACE_S."""
    _check_number("grace_s", grace_s, 0.0, MAX_GRACE_S)


def _check_name(value: object) -> None:
    _check_text("name", value, MAX_NAME)


def _check_weight(value: object) -> None:
    _check_number("weight", value, MIN_WEIGHT, MAX_WEIGHT)


def _check_models(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, tuple) or not 1 <= len(value) <= MAX_MODELS:
        _refuse("models", f"must hold 1 to {MAX_MODELS} names, or be absent to allow every model")
    for model in value:
        _check_text("models", model, MAX_MODEL_NAME)


def _check_expiry(value: object) -> None:
    if value is not None:
        _check_number("expires_at", value, 0.0, MAX_TIME)


def _check_pace(value: PaceSpec | None) -> None:
    if value is not None:
        pace_from_spec(value)


def _check_limits(value: Limits) -> None:
    for field in ("requests_per_minute", "tokens_per_minute", "concurrent_streams"):
        limit = getattr(value, field)
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit > MAX_LIMIT):
            _refuse(f"limits.{field}", f"must be a whole number from 1 to {MAX_LIMIT}")


_CHECKS: Final[Mapping[str, Callable[..., None]]] = {
    "name": _check_name,
    "weight": _check_weight,
    "models": _check_models,
    "expires_at": _check_expiry,
    "pace": _check_pace,
    "limits": _check_limits,
}


def _check_text(field: str, value: object, longest: int) -> None:
    if not isinstance(value, str) or len(value) > longest or not _TEXT.fullmatch(value):
        _refuse(field, f"must be a text of 1 to {longest} characters without control characters")


def _check_number(field: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        _refuse(field, f"must be a number from {low:.15g} to {high:.15g}")


def _refuse(field: str, problem: str) -> NoReturn:
    raise InvalidRequest(f"'{field}' {problem}.", param=field)
