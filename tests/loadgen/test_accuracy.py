"""The generator's times are those of the server, told by the server itself."""

import statistics

from loadgen.accuracy import measured


def test_times_are_the_servers() -> None:
    """A hundred streams on a schedule: none is lost, and half of the errors are below 5 ms, also on a busy machine."""
    (first, between), outcome = measured(streams=100, rate=20.0, seconds=1.0)

    assert {record.outcome for record in outcome.records} == {"finished"}
    assert (len(first), len(between)) == (100, 1900)
    assert statistics.median(first) < 0.005
    assert statistics.median(between) < 0.005
