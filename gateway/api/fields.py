"""What request schemas share."""

from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError, WrapValidator


def _whole(value: Any) -> Any:
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_whole(value: Any, check: Callable[[Any], Any]) -> Any:
    try:
        return check(value)
    except ValidationError:
        return check(_whole(value))


# JSON has one kind of number: 60.0 is the integer 60, which pydantic's strict mode would refuse. On an integer or on
# lists of them as a whole: the usual spelling costs nothing per number.
WHOLE: Final = WrapValidator(_check_whole)


class Strict(BaseModel):
    """No unknown field, no conversion of types, no number that JSON does not have."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
