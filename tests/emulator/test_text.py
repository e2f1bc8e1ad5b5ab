"""Tokens and the text they make: exact round trips, exact continuations."""

import itertools
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.emulator.text import Language, Sampler, corpus
from gateway.emulator.vocabulary import BYTES, IM_END, IM_START, Vocabulary

LANGUAGE = Language()
VOCABULARY = LANGUAGE.vocabulary

FRAGMENTS = st.lists(
    st.one_of(
        st.text(), st.sampled_from([IM_START, IM_END, "\n\n", " ", "👨‍👩‍👧‍👦", "川", "ύδωρ", "é", "Andante", "ﬁ"])
    )
).map("".join)

CHAT = [*VOCABULARY.encode(f"{IM_START}user\n"), 0, *VOCABULARY.encode(f"{IM_END}\n{IM_START}assistant\n")]


def chat(number: int) -> list[int]:
    """Prompt number so and so."""
    return [*CHAT[:-5], *VOCABULARY.encode(f"Tell me story {number}"), *CHAT[-5:]]


def draw(ids: list[int], count: int, seed: int = 0, *, may_end: bool = False) -> list[int]:
    """The tokens that follow `ids`, at most `count`, the end included."""
    sampler = Sampler(LANGUAGE, ids, seed)
    drawn: list[int] = []
    while len(drawn) < count and (not drawn or drawn[-1] != LANGUAGE.eos):
        drawn.append(sampler.next(may_end=may_end))
    return drawn


@given(FRAGMENTS)
def test_any_text_survives_the_way_there_and_back(text: str) -> None:
    """Special tokens' names, halves of emoji and spaces included."""
    assert text == VOCABULARY.decode(VOCABULARY.encode(text))
    assert text == VOCABULARY.decode(VOCABULARY.encode(text, special=False))


@given(st.lists(st.integers(0, len(VOCABULARY) - 1)))
def test_any_ids_have_a_text(ids: list[int]) -> None:
    """Decoding never fails, whatever was cut in the middle of what."""
    assert isinstance(VOCABULARY.decode(ids).encode(), bytes)


def test_special_tokens_are_one_token_unless_they_are_just_text() -> None:
    """As in the tokenizers of chat models."""
    assert [VOCABULARY.special[IM_END]] == VOCABULARY.encode(IM_END)
    assert len(VOCABULARY.encode(IM_END, special=False)) > 1
    assert VOCABULARY.decode(VOCABULARY.encode(f"a{IM_END}"), skip_special=True) == "a"


def test_the_vocabulary_is_like_a_real_one() -> None:
    """Words of the corpus in about 1.3 tokens, other words in pieces, an emoji in several tokens."""
    text = corpus()
    assert 1.1 < len(VOCABULARY.encode(text)) / len(text.split()) < 1.5
    assert 3.5 < len(text) / len(VOCABULARY.encode(text)) < 4.5
    assert len(VOCABULARY.encode(" Kubernetes")) < 8
    assert len(VOCABULARY.encode("🎵")) == 4
    assert list("川".encode()) == VOCABULARY.encode("川")
    assert Vocabulary(text).spelling == VOCABULARY.spelling


@pytest.mark.parametrize("text", ["a", "é", "川", "👨‍👩‍👧‍👦"])
def test_an_open_character_is_seen_wherever_it_is_cut(text: str) -> None:
    """The bytes at the end that wait for more, and none at a character's end."""
    raw = text.encode()
    for cut in range(len(raw) + 1):
        whole = raw[:cut].decode(errors="ignore").encode()
        assert raw[len(whole) : cut] == bytes(VOCABULARY.open_character([65, *raw[:cut]]))


@given(st.lists(st.integers(0, len(VOCABULARY) - 1), max_size=12), st.sampled_from([0, 1, -7, 2**70]))
@settings(deadline=None)
def test_whoever_continues_from_ids_gets_the_same_tokens(prompt: list[int], seed: int) -> None:
    """For any prompt and any seed, cut anywhere."""
    whole = draw(prompt, 40, seed)

    for cut in range(0, 40, 3):
        assert whole[cut:] == draw(prompt + whole[:cut], 40 - cut, seed)


def test_every_cut_of_a_long_answer_continues_exactly() -> None:
    """Every k, the natural end at the same place, with characters of several tokens in between."""
    several_bytes = 0
    for number in range(4):
        prompt = chat(number)
        whole = draw(prompt, 2000, may_end=True)
        several_bytes += sum(0x80 <= token < BYTES for token in whole)

        assert LANGUAGE.eos == whole[-1]
        for cut in range(len(whole)):
            assert whole[cut:] == draw(prompt + whole[:cut], 2000, may_end=True)
    assert several_bytes > 0


@pytest.mark.parametrize("number", range(5))
def test_text_leads_back_to_the_ids_it_was_made_of(number: int) -> None:
    """At every whole character, so continuing from text is as exact as continuing from ids."""
    answer = draw(chat(number), 300)

    for cut in range(len(answer) + 1):
        text = VOCABULARY.decode(answer[:cut])
        if not VOCABULARY.open_character(answer[:cut]):
            assert answer[:cut] == VOCABULARY.encode(text)
            assert "\ufffd" not in text


def test_answers_have_natural_lengths() -> None:
    """About 200 tokens, never none at all, and as different as prompts are."""
    lengths = [len(draw(chat(number), 3000, may_end=True)) for number in range(120)]

    assert 120 < statistics.mean(lengths) < 280
    assert min(lengths) > 5
    assert max(lengths) < 3000
    assert len(set(lengths)) > 60


def test_seeds_tell_answers_apart() -> None:
    """Same seed, same answer; another seed or prompt, another answer."""
    assert draw(chat(1), 50, 5) == draw(chat(1), 50, 5)
    assert draw(chat(1), 50, 5) != draw(chat(1), 50, 6)
    assert draw(chat(1), 50) != draw(chat(2), 50)


def test_it_reads_like_the_corpus() -> None:
    """All pairs of neighbouring tokens are the corpus' own, but for joints inside a character."""
    answer = draw(chat(1), 500)
    strange = [pair for pair in itertools.pairwise(answer) if pair not in LANGUAGE.after_pair and min(pair) >= BYTES]

    assert strange == []


@pytest.mark.parametrize("lead", [0xC3, 0xE0, 0xE3, 0xED, 0xF0, 0xF1, 0xF4])
def test_a_character_that_the_corpus_does_not_know_is_completed(lead: int) -> None:
    """A prompt may end after any first byte."""
    prompt = [65, lead]
    drawn = draw(prompt, 4)

    assert VOCABULARY.decode(prompt + drawn)[1] != "\ufffd"
