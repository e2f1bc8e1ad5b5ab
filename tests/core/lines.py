"""Lines of gateways at one engine, for the tests of leases and shares."""

from typing import Final

from gateway.core.shares import Amount, Line

WHOLE: Final = Amount(16, 16_000)


def line(
    want: int = 0, *, held: int = 0, used: int = 0, whole: Amount = WHOLE, weight: float = 1.0, gone: bool = False
) -> Line:
    """A line with 1000 tokens for each sequence."""
    given, legs, wish = (Amount(n, 1000 * n) for n in (held, used, want))
    return Line(given, legs, wish, whole, weight=weight, gone=gone)
