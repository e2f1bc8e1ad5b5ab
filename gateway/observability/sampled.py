"""Metrics that are read where they are kept, when somebody asks."""

from collections.abc import Callable, Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector


class Sampled(Collector):
    """One metric without labels; a counter's name gets `_total` by itself."""

    def __init__(self, name: str, text: str, read: Callable[[], float], *, counter: bool) -> None:
        self._name = name
        self._text = text
        self._read = read
        self._family = CounterMetricFamily if counter else GaugeMetricFamily

    def collect(self) -> Iterator[Metric]:
        yield self._family(self._name, self._text, value=self._read())
