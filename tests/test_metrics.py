"""What the Prometheus metrics say before anything has happened."""

from gateway.engines.base import EngineState
from gateway.observability.metrics import MetricsInstrument
from tests.support.prometheus import parse


def test_counters_of_a_pool_are_0_from_the_start() -> None:
    """A rate needs two values: a series that begins with the first job has none for it."""
    subject = MetricsInstrument()
    subject.engine_changed("m", "e", EngineState.UNKNOWN, "")
    seen = parse(subject.render().decode())

    for name in ("andante_jobs_queued_total", "andante_tokens_produced_total", "andante_prompt_tokens_total"):
        assert seen.value(name, model="m") == 0
