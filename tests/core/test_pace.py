"""Reading a pace: conversions, shorthands, and what is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.pace import LANGUAGES, MACHINE, RATE, TTFT_S, Pace, PaceSpec, pace_from_spec
from gateway.errors import InvalidRequest

ENGLISH = 4.46


@pytest.mark.parametrize(
    ("spec", "kind", "rate"),
    [
        ("reading", "reading", ENGLISH),
        ({"kind": "reading"}, "reading", ENGLISH),
        ({"kind": "reading", "language": "en"}, "reading", ENGLISH),
        ({"kind": "reading", "language": "fi"}, "reading", 7.19),
        ({"kind": "reading", "language": "zh"}, "reading", 3.87),
        # 238 words a minute at 1.12 tokens each is the table's own English speed, to its rounding.
        ({"kind": "reading", "language": "en", "words_per_minute": 238}, "reading", 4.4427),
        ({"kind": "reading", "words_per_minute": 300}, "reading", 5.6),
        # In Chinese a word is a character.
        ({"kind": "reading", "language": "zh", "words_per_minute": 600}, "reading", 8.7),
        ("listening", "listening", 2.9046),
        ({"kind": "listening", "language": "de"}, "listening", 3.1065),
        ({"kind": "listening", "words_per_minute": 270}, "listening", 5.04),
        ({"kind": "custom", "ttft": 1, "rate": 4.8}, "custom", 4.8),
        ({"ttft": 1, "rate": 4.8}, "custom", 4.8),
        ({"rate": 30}, "custom", 30.0),
    ],
)
def test_a_pace_is_converted_to_tokens_per_second(spec: PaceSpec, kind: str, rate: float) -> None:
    """Every spelling gives its kind, its rate and one second to the first token; all of these are paced."""
    pace = pace_from_spec(spec)

    assert (pace.kind, pace.ttft_s, pace.paced) == (kind, 1.0, True)
    assert pace.rate == pytest.approx(rate, abs=1e-3)


@pytest.mark.parametrize("spec", ["machine", "off", {"kind": "machine"}])
def test_a_machine_is_never_paced(spec: PaceSpec) -> None:
    """All spellings of a machine are the same pace, which expects and holds nothing back."""
    assert pace_from_spec(spec) is MACHINE
    assert Pace("machine", ttft_s=1.0, rate=10.0) == MACHINE
    assert not MACHINE.paced


@pytest.mark.parametrize("tag", ["pt", "PT", "pt-BR", "pt_br", "pt-Latn-BR"])
def test_only_the_language_of_a_tag_counts(tag: str) -> None:
    """Region, script and letter case do not matter."""
    assert pace_from_spec({"kind": "reading", "language": tag}).rate == 4.09


def test_the_time_to_first_token_can_be_set() -> None:
    """ttft goes with every kind of reader."""
    assert pace_from_spec({"kind": "reading", "ttft": 2.5}).ttft_s == 2.5
    assert pace_from_spec({"kind": "listening", "ttft": 0}).ttft_s == 0.0
    assert pace_from_spec({"ttft": 3600, "rate": 1}).ttft_s == 3600.0


@pytest.mark.parametrize(
    ("spec", "param"),
    [
        ("fast", "pace"),
        ("", "pace"),
        ("Reading", "pace"),
        (None, "pace"),
        (4.8, "pace"),
        ([["kind", "reading"]], "pace"),
        ({"kind": "skimming"}, "pace.kind"),
        ({"kind": "off"}, "pace.kind"),
        ({"kind": None}, "pace.kind"),
        ({"kind": ["reading"]}, "pace.kind"),
        ({"kind": "machine", "rate": 5}, "pace.rate"),
        ({"kind": "reading", "rate": 5}, "pace.rate"),
        ({"kind": "reading", "speed": 5}, "pace.speed"),
        ({"kind": "reading", "x" * 1000: 5}, "pace." + "x" * 40),
        ({"kind": "reading", "language": "xx"}, "pace.language"),
        ({"kind": "reading", "language": ""}, "pace.language"),
        ({"kind": "reading", "language": 7}, "pace.language"),
        ({"kind": "reading", "words_per_minute": 0}, "pace.words_per_minute"),
        ({"kind": "reading", "words_per_minute": 2001}, "pace.words_per_minute"),
        ({"kind": "reading", "words_per_minute": True}, "pace.words_per_minute"),
        ({"kind": "reading", "words_per_minute": "238"}, "pace.words_per_minute"),
        ({"kind": "reading", "words_per_minute": None}, "pace.words_per_minute"),
        ({}, "pace.rate"),
        ({"ttft": 1}, "pace.rate"),
        ({"rate": 0}, "pace.rate"),
        ({"rate": -1}, "pace.rate"),
        ({"rate": math.nan}, "pace.rate"),
        ({"rate": math.inf}, "pace.rate"),
        ({"rate": 10**400}, "pace.rate"),
        ({"rate": 5, "ttft": -0.1}, "pace.ttft"),
        ({"rate": 5, "ttft": math.nan}, "pace.ttft"),
        ({"rate": 5, "ttft": 3601}, "pace.ttft"),
    ],
)
def test_a_bad_pace_is_refused_by_name(spec: PaceSpec, param: str) -> None:
    """What is not a pace raises InvalidRequest and says where."""
    with pytest.raises(InvalidRequest) as refused:
        pace_from_spec(spec)

    assert refused.value.param == param
    assert len(refused.value.message) < 300


def test_the_table_agrees_with_itself() -> None:
    """Every row is a plausible reading speed: 60 to 400 words (or characters) a minute."""
    for language in LANGUAGES.values():
        assert 60 < language.silent_rate / language.tokens_per_word * 60 < 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
likely_fields = st.sampled_from(["kind", "ttft", "rate", "language", "words_per_minute", "other"])
likely_values = st.sampled_from(["reading", "listening", "machine", "custom", "en", 1, 238, 4.8])


@given(st.dictionaries(likely_fields, likely_values | json_values) | json_values)
def test_any_value_is_a_sane_pace_or_refused(spec: PaceSpec) -> None:
    """No input gives anything but a finite positive pace or InvalidRequest under `pace`."""
    try:
        pace = pace_from_spec(spec)
    except InvalidRequest as error:
        param = error.param
        pace = MACHINE
    else:
        param = "pace"

    assert param is not None
    assert param.partition(".")[0] == "pace"
    assert TTFT_S[0] <= pace.ttft_s <= TTFT_S[1]
    assert 0 < pace.rate <= RATE[1]
