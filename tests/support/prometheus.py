"""Read the Prometheus text format as numbers that a test can compare."""

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Sample:
    """One line: labels and value of a series."""

    labels: dict[str, str]
    value: float


class Metrics(dict[str, list[Sample]]):
    """Series by sample name, as it stands in the text (`x_total`, `x_bucket`)."""

    def matching(self, name: str, **labels: str) -> list[Sample]:
        """The series of `name` that carry at least these labels."""
        wanted = labels.items()
        return [sample for sample in self.get(name, []) if wanted <= sample.labels.items()]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the matching series; KeyError when there is none."""
        samples = self.matching(name, **labels)
        if not samples:
            raise KeyError(f"no series {name} {labels or ''}; there are {sorted(self)}")
        return sum(sample.value for sample in samples)


def parse(text: str) -> Metrics:
    """Every sample of an exposition; ValueError when it is malformed."""
    metrics = Metrics()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            metrics.setdefault(sample.name, []).append(Sample(dict(sample.labels), sample.value))
    return metrics
