"""Characters and seconds of media as a pace's unit."""

import pytest

from gateway.core.pace import LANGUAGES, MACHINE, Pace, pace_from_spec
from gateway.core.units import CHARACTERS_PER_TOKEN, ONE_QUALITY, Ladder, Rung, UnitRatio, in_characters, media_pace


def test_every_language_has_characters() -> None:
    """One table for each other."""
    assert CHARACTERS_PER_TOKEN.keys() == LANGUAGES.keys()


@pytest.mark.parametrize(("language", "rate"), [("en", 19.9), ("de", 19.4), ("zh", 4.43), ("fi", 21.5)])
def test_a_reading_pace_in_characters(language: str, rate: float) -> None:
    """Characters a second of silent reading: about the same in Latin script, few in Chinese."""
    pace = in_characters(pace_from_spec({"kind": "reading", "language": language}), language)

    assert (pace.unit, pace.kind, pace.ttft_s) == ("character", "reading", 1.0)
    assert pace.rate == pytest.approx(rate, rel=0.01)
    assert in_characters(pace, language) is pace
    assert in_characters(MACHINE) is MACHINE


def test_a_streams_own_ratio_takes_over() -> None:
    """From the prior to what the stream shows: code and rare languages make short tokens."""
    ratio = UnitRatio(expected=4.0, prior_tokens=20)
    pace = Pace("reading", 1.0, rate=20.0, unit="character", start_units=8.0)
    assert ratio.in_tokens(pace) == Pace("reading", 1.0, rate=5.0, start_units=2.0)

    ratio.observe(20, 40)
    assert ratio.units_per_token == 3.0
    ratio.observe(1e6, 2e6)
    assert ratio.in_tokens(pace).rate == pytest.approx(10.0, rel=1e-3)
    assert ratio.in_tokens(MACHINE) is MACHINE
    assert repr(ratio) == "<UnitRatio 2.000>"


@pytest.mark.parametrize(("expected", "prior"), [(0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_a_ratio_needs_something_to_start_from(expected: float, prior: float) -> None:
    """Both are positive."""
    with pytest.raises(ValueError, match="positive"):
        UnitRatio(expected, prior)


def test_media_play_one_second_a_second() -> None:
    """With what lies ready before they start; requests' paces count tokens as ever."""
    assert media_pace(ttft_s=2.0, start_buffer_s=3.0) == Pace("media", 2.0, 1.0, "second", 3.0)
    assert media_pace().paced
    assert pace_from_spec("reading").unit == "token"
    for bad in ({"ttft_s": -1.0}, {"start_buffer_s": float("inf")}, {"start_buffer_s": float("nan")}):
        with pytest.raises(ValueError, match="finite"):
            media_pace(**bad)


def test_a_ladder_gives_the_best_that_is_cheap_enough() -> None:
    """And the lowest when nothing is: a stream must go on."""
    rungs = [Rung("1080p", 1.0, 1.0), Rung("720p", 0.9, 0.5), Rung("360p", 0.6, 0.2)]
    ladder = Ladder(rungs)
    rungs.clear()

    assert [ladder.best_within(cost).name for cost in (2.0, 1.0, 0.7, 0.2, 0.0)] == [
        "1080p",
        "1080p",
        "720p",
        "360p",
        "360p",
    ]
    assert ONE_QUALITY.best_within(0.0).name == "full"


@pytest.mark.parametrize(
    "rungs",
    [
        [],
        [Rung("half", 0.5, 1.0)],
        [Rung("full", 1.0, 1.0), Rung("worse and dearer", 0.5, 1.0)],
        [Rung("full", 1.0, 1.0), Rung("as good and cheaper", 1.0, 0.5)],
        [Rung("full", 1.0, 1.0), Rung("free", 0.5, 0.0)],
    ],
)
def test_a_ladder_falls_in_value_and_cost(rungs: list[Rung]) -> None:
    """From full quality at full cost."""
    with pytest.raises(ValueError, match="rung"):
        Ladder(rungs)
