"""When an answer ends and when its text leaves."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.emulator.answer import Answer, Limits, Piece, Script
from gateway.emulator.text import Language, Sampler

LANGUAGE = Language()
VOCABULARY = LANGUAGE.vocabulary


def pieces(text: str, limits: Limits, opened: tuple[int, ...] = ()) -> list[Piece]:
    """The answer that says `text`, to its end."""
    ids = list(text.encode())
    answer = Answer(VOCABULARY, Script(ids, VOCABULARY.eos), limits, opened)
    got = [answer.next()]
    while got[-1].finish is None:
        got.append(answer.next())
    assert len(got) == answer.produced
    return got


def said(got: list[Piece]) -> str:
    return "".join(piece.text for piece in got)


def test_text_leaves_at_whole_characters() -> None:
    """A token inside a character comes with its id and no text."""
    got = pieces("a川🎵", Limits(max_tokens=100))

    assert [piece.text for piece in got] == ["a", "", "", "川", "", "", "", "🎵", ""]
    assert [*"a川🎵".encode(), VOCABULARY.eos] == [piece.token for piece in got]
    assert (got[-1].finish, got[-1].stop_reason) == ("stop", None)


def test_a_prompt_that_ends_inside_a_character_is_completed_by_the_answer() -> None:
    """The first text is the whole character."""
    answer = Answer(VOCABULARY, Script(list("川".encode()[1:]), 0), Limits(max_tokens=2), tuple("川".encode()[:1]))

    assert [answer.next().text, answer.next().text] == ["", "川"]


def test_what_is_cut_inside_a_character_is_not_shown() -> None:
    """max_tokens may end in the middle of one."""
    got = pieces("a川", Limits(max_tokens=3))

    assert said(got) == "a"
    assert got[-1].finish == "length"


@given(
    st.text(alphabet="abc川", max_size=30),
    st.lists(st.text(alphabet="abc川", min_size=1, max_size=5), min_size=1, max_size=3),
    st.booleans(),
)
def test_stop_strings_cut_the_text_where_the_first_one_is_met(text: str, stops: list[str], include: bool) -> None:
    """As searching in the growing text after each token would; nothing that follows has left before."""
    got = pieces(text, Limits(max_tokens=1000, stop=tuple(stops), include_stop=include))

    expected, reason = text, None
    for cut in range(len(text) + 1):
        met = [(text[:cut].find(stop), stop) for stop in stops if stop in text[:cut]]
        if met:
            at, reason = min(met, key=lambda found: found[0])
            expected = text[: at + len(reason)] if include else text[:at]
            break
    assert expected == said(got)
    assert reason == got[-1].stop_reason
    assert got[-1].finish == "stop"


def test_min_tokens_comes_before_stops() -> None:
    """A stop string or token within the first tokens does not count."""
    limits = Limits(max_tokens=50, min_tokens=4, stop=("a",), stop_token_ids=frozenset(b"b"))

    assert said(pieces("abxxxbxa", limits)) == "abxxx"


def test_stop_tokens_end_the_answer_and_are_shown_on_request() -> None:
    """stop_reason is the token."""
    got = pieces("xyz", Limits(max_tokens=50, stop_token_ids=frozenset(b"y")))
    shown = pieces("xyz", Limits(max_tokens=50, stop_token_ids=frozenset(b"y"), include_stop=True))

    assert ("x", "stop", ord("y")) == (said(got), got[-1].finish, got[-1].stop_reason)
    assert said(shown) == "xy"


def test_ignore_eos_runs_to_max_tokens() -> None:
    """The way to force a length."""
    sampler = Sampler(LANGUAGE, VOCABULARY.encode("Sing."))
    answer = Answer(VOCABULARY, sampler, Limits(max_tokens=3000, ignore_eos=True))
    got = [answer.next() for _ in range(3000)]

    assert {None} == {piece.finish for piece in got[:-1]}
    assert got[-1].finish == "length"


def test_min_tokens_holds_the_natural_end_back() -> None:
    """Every prompt gives at least so many."""
    for number in range(20):
        sampler = Sampler(LANGUAGE, VOCABULARY.encode(f"{number}\n"))
        answer = Answer(VOCABULARY, sampler, Limits(max_tokens=5000, min_tokens=400))
        while answer.next().finish is None:
            pass
        assert answer.produced > 400
