"""The kinds of numbers on command lines, as types of argparse: for what is none it ends with status 2 and a reason."""

import argparse
import math
from typing import Final

LARGEST: Final = 1e9
"""No number that anybody means is larger: in seconds it is thirty years."""


def count(text: str) -> int:
    """A whole number from 1."""
    return _whole(text, 1)


def natural(text: str) -> int:
    """A whole number from 0."""
    return _whole(text, 0)


def counts(text: str) -> list[int]:
    """Whole numbers from 0, with commas between."""
    return [_whole(part, 0) for part in text.split(",")]


def whole(text: str) -> int:
    """Any whole number."""
    return _whole(text, None)


def positive(text: str) -> float:
    """A number above 0."""
    value = _number(text)
    if not 0 < value <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to {LARGEST:g}")
    return value


def not_negative(text: str) -> float:
    """A number from 0."""
    value = _number(text)
    if not 0 <= value <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {LARGEST:g}")
    return value


def not_negative_or_inf(text: str) -> float:
    """A number from 0, or `inf`."""
    return math.inf if text == "inf" else not_negative(text)


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _whole(text: str, low: int | None) -> int:
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or (low is not None and value < low) or abs(value) > LARGEST:
        least = f"from {low} " if low is not None else ""
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {least}up to {LARGEST:g}")
    return value


def _number(text: str) -> float:
    """NaN for what is none: no comparison holds for it."""
    try:
        return float(text)
    except ValueError:
        return math.nan
