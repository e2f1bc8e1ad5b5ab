"""Each client is one reader: seeded, from the population that the paper used."""

import pytest

from loadgen.paces import MEDIA, PaceError, pace_of


def test_a_client_keeps_its_speed() -> None:
    """For all of its requests, in each run of the same seed; the time to the first token goes by the prompt."""
    pace, again, other = pace_of("reading", 1), pace_of("reading", 1), pace_of("reading", 2)
    people = [f"c{k}" for k in range(50)]

    assert pace("a", 100).rate == pace("a", 9000).rate == again("a", 1).rate
    assert (pace("a", 100).ttft_s, pace("a", 9000).ttft_s) == (1.0, 1.8)
    assert [pace(c, 1).rate for c in people] != [other(c, 1).rate for c in people]


@pytest.mark.parametrize(("spec", "mean"), [("reading", 4.50), ("listening", 3.87)])
def test_the_population_is_andes(spec: str, mean: float) -> None:
    """Mean speed of many people, in tokens per second."""
    pace = pace_of(spec, 7)
    rates = [pace(f"c{k}", 1).rate for k in range(5000)]

    assert sum(rates) / len(rates) == pytest.approx(mean, rel=0.02)
    assert pace("c1", 1).kind == spec


def test_fixed_paces() -> None:
    """A time to the first token of one's own, a custom pace, programs and players."""
    assert pace_of("reading:1", 0)("a", 20_000).ttft_s == 1.0
    assert (pace_of("5", 0)("a", 1).ttft_s, pace_of("5", 0)("a", 1).rate) == (1.0, 5.0)
    assert (pace_of("0.5:8", 0)("a", 1).ttft_s, pace_of("0.5:8", 0)("a", 1).rate) == (0.5, 8.0)
    assert not pace_of("machine", 0)("a", 1).paced
    assert pace_of("media", 0)("a", 1) == MEDIA


def test_a_mixture_has_everybody() -> None:
    """Half of the clients read; each client stays what it is."""
    pace = pace_of("mixed", 5)
    kinds = [pace(f"c{k}", 1).kind for k in range(2000)]

    assert kinds.count("reading") / 2000 == pytest.approx(0.5, abs=0.05)
    assert set(kinds) == {"reading", "listening", "machine", "media"}
    assert kinds == [pace(f"c{k}", 1).kind for k in range(2000)]


@pytest.mark.parametrize("spec", ["", "slow", "1:2:3", "reading:x", "machine:2", "0", "nan", "1:"])
def test_a_pace_that_makes_no_sense_is_refused(spec: str) -> None:
    """With what would."""
    with pytest.raises(PaceError, match="a pace is reading"):
        pace_of(spec, 0)
