"""Which token follows: a pure function of every token before it, that reads as plausible text.

The candidates come from a small Markov model of the corpus (two tokens of context, sometimes one); the choice among
them comes from a hash of the whole history and the seed. So whoever continues from prompt + generated ids gets the
continuation of an unbroken run, token for token. The natural end is drawn the same way: at the end of a sentence,
with a fixed chance. Every pair of tokens that is generated occurs in the corpus, except where a prompt leaves no other
way, so that generated text is also tokenised back to the ids it was made of.
"""

from collections.abc import Iterable
from importlib.resources import files
from itertools import pairwise

from gateway.emulator.vocabulary import BYTES, Vocabulary, char_bytes

MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB

SENTENCES = 8
"""One sentence in so many is the last: about 200 tokens an answer."""

OWN_TOKENS = 6
"""An answer ends only after so many tokens that follow the corpus, so that a prompt's full stop does not end it."""

Candidates = tuple[int, ...]


def mix(value: int) -> int:
    """A 64-bit hash of a 64-bit number (the finaliser of splitmix64)."""
    value = ((value ^ (value >> 30)) * _MIX_1) & MASK
    value = ((value ^ (value >> 27)) * _MIX_2) & MASK
    return value ^ (value >> 31)


def corpus() -> str:
    """The text that the project ships."""
    return files("gateway.emulator").joinpath("corpus.txt").read_text(encoding="utf-8").strip()


class Language:
    """The vocabulary and what follows what; immutable once made, shared by all answers."""

    def __init__(self, text: str | None = None) -> None:
        source = corpus() if text is None else text
        self.vocabulary = Vocabulary(source)
        ids = self.vocabulary.encode(source, special=False)
        chars = _characters(ids)
        self.after_pair = _table(zip(pairwise(ids), ids[2:], strict=False))
        self.after_one = _table(pairwise(ids))
        self.inside = _table((char[:cut], char[cut]) for char in chars for cut in range(1, len(char)))
        spelling = self.vocabulary.spelling
        self.starts = tuple(ids[:1]) + tuple(b for a, b in pairwise(ids) if spelling[a] == b"\n\n" and b >= BYTES)
        self.words = tuple(sorted({i for i in ids if spelling[i].startswith(b" ") and len(spelling[i]) > 2}))
        self.sentence_ends = frozenset(b".!?")
        self.eos = self.vocabulary.eos


class Sampler:
    """One answer's source of tokens; `ids` is its history, prompt first."""

    __slots__ = ("_hash", "_language", "_open", "_own", "_pair", "_seed")

    def __init__(self, language: Language, ids: list[int], seed: int = 0) -> None:
        self._language = language
        self._seed = mix(seed & MASK) if seed else 0
        self._hash = 0
        for token in ids:
            self._hash = (self._hash * _STEP + token + 1) & MASK
        tail = ids[-OWN_TOKENS - 1 :]
        self._own = 0
        for pair in pairwise(tail):
            self._own = self._own + 1 if pair in language.after_pair else 0
        self._pair = (ids[-2] if len(ids) > 1 else -1, ids[-1] if ids else -1)
        self._open = language.vocabulary.open_character(ids)

    def next(self, *, may_end: bool) -> int:
        """The next token, which is part of the history from then on; `may_end`: it may be the end of the answer."""
        language = self._language
        drawn = mix(self._hash ^ self._seed)
        last = self._pair[1]
        if may_end and last in language.sentence_ends and self._own >= OWN_TOKENS and (drawn >> 40) % SENTENCES == 0:
            token = language.eos
        else:
            candidates = self._candidates(drawn)
            token = candidates[(drawn & 0xFFFFFFFF) % len(candidates)]
        self._push(token)
        return token

    def _candidates(self, drawn: int) -> Candidates:
        language, last = self._language, self._pair[1]
        if self._open:
            return language.inside.get(self._open) or _any_continuation(self._open)
        if (drawn >> 32) & 3 or last < BYTES:
            after = language.after_pair.get(self._pair)
            if after is not None:
                return after
        after = language.after_one.get(last) if last < 0x80 or last >= BYTES else None
        if after is not None:
            return after
        spelled = language.vocabulary.spelling[last : last + 1] if last >= 0 else []
        is_break = not spelled or spelled[0].endswith(b"\n") or language.vocabulary.is_special(last)
        return language.starts if is_break else language.words

    def _push(self, token: int) -> None:
        pair = (self._pair[1], token)
        self._own = min(self._own + 1, OWN_TOKENS) if pair in self._language.after_pair else 0
        self._pair = pair
        self._hash = (self._hash * _STEP + token + 1) & MASK
        if token < 0x80 or token >= BYTES:
            self._open = ()
        elif token >= 0xC2:
            self._open = (token,) if char_bytes(token) > 1 else ()
        elif self._open:
            grown = (*self._open, token)
            self._open = grown if len(grown) < char_bytes(grown[0]) else ()


def _table(pairs: Iterable[tuple[object, int]]) -> dict[object, Candidates]:
    lists: dict[object, list[int]] = {}
    for context, token in pairs:
        lists.setdefault(context, []).append(token)
    return {context: tuple(tokens) for context, tokens in lists.items()}


def _characters(ids: list[int]) -> list[tuple[int, ...]]:
    chars: list[tuple[int, ...]] = []
    for at, token in enumerate(ids):
        if 0xC2 <= token < BYTES:
            chars.append(tuple(ids[at : at + char_bytes(token)]))
    return chars


def _any_continuation(opened: tuple[int, ...]) -> Candidates:
    """A byte that keeps the character valid, for beginnings that the corpus does not know."""
    if len(opened) == 1:
        return ({0xE0: 0xA0, 0xF0: 0x90}.get(opened[0], 0x80),)
    return (0x80,)
