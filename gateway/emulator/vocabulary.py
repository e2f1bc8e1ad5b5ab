"""The emulator's tokenizer: word pieces as BPE makes them, and bytes for everything else.

Ids 0..255 are the bytes, then come the special tokens, then the pieces. A text is cut by one local rule: a run of
letters, with the space before it, is cut into pieces of at most six letters; everything else is single characters.
What is no piece is spelled in shorter pieces or in the bytes of its UTF-8 form, so any text survives the way there and
back, and a character outside the pieces (an emoji, a Chinese character) is several tokens. Because the rule is local,
text that follows the corpus' pairs of tokens is cut where it was made: continuing from text equals continuing from ids.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

BYTES = 256
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
END_OF_TEXT = "<|endoftext|>"
SPECIALS = (IM_START, IM_END, END_OF_TEXT)

PIECE_LETTERS = 6
SUBPIECES = 3000
"""How many frequent parts of words are kept to spell unknown words with."""

_LETTER = "[0-9A-Za-zÀ-ÖØ-öø-ɏͰ-Ͻἀ-῿]"
_UNIT = re.compile(rf"\n\n| ?{_LETTER}{{1,{PIECE_LETTERS}}}|.", re.DOTALL)
_WORD = re.compile(rf"( ?)({_LETTER}+)")
_CONTINUED = re.compile(rf"{_LETTER}{{1,{PIECE_LETTERS}}}")
_SPECIAL = re.compile("|".join(re.escape(name) for name in SPECIALS))
_PUNCTUATION = ("\n\n", "—", "“", "”", "\u2019", "…")


def char_bytes(lead: int) -> int:
    """How many bytes the UTF-8 character has that begins with this byte; 1 for a byte that begins none."""
    if lead < 0xC2:
        return 1
    if lead < 0xE0:
        return 2
    if lead < 0xF0:
        return 3
    return 4 if lead < 0xF5 else 1


class Vocabulary:
    """Token ids and their bytes, learnt from one text; the same text gives the same ids."""

    def __init__(self, corpus: str) -> None:
        """`spelling` has the bytes of each id, `whole` its text where it is one by itself."""
        pieces = sorted({unit for unit in _units(corpus) if _CONTINUED.fullmatch(unit.lstrip(" "))})
        self._ids: dict[str, int] = {}
        self.spelling: list[bytes] = [bytes((i,)) for i in range(BYTES)]
        self.special: dict[str, int] = {}
        for name in SPECIALS:
            self.special[name] = len(self.spelling)
            self.spelling.append(name.encode())
        for piece in (*_PUNCTUATION, *pieces, *_frequent_parts(corpus)):
            if piece not in self._ids and len(piece.encode()) > 1:
                self._ids[piece] = len(self.spelling)
                self.spelling.append(piece.encode())
        self.eos = self.special[IM_END]
        self._special_ids = frozenset(self.special.values())
        self.whole = [self._whole(token) for token in range(len(self.spelling))]

    def __len__(self) -> int:
        return len(self.spelling)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The ids of a text; `special`: names of special tokens become these tokens. A lone surrogate becomes `?`."""
        if not special:
            return list(self._encode_plain(text))
        ids: list[int] = []
        start = 0
        for match in _SPECIAL.finditer(text):
            ids.extend(self._encode_plain(text[start : match.start()]))
            ids.append(self.special[match.group()])
            start = match.end()
        ids.extend(self._encode_plain(text[start:]))
        return ids

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """The text of ids; bytes that form no character become U+FFFD. IndexError for an id that does not exist."""
        hidden = self._special_ids if skip_special else frozenset()
        return b"".join(self.spelling[i] for i in ids if i not in hidden).decode("utf-8", "replace")

    def is_special(self, token: int) -> bool:
        return token in self._special_ids

    def open_character(self, ids: list[int]) -> tuple[int, ...]:
        """The bytes at the end of `ids` that begin a character and do not finish it."""
        for back in range(1, min(3, len(ids)) + 1):
            token = ids[-back]
            if not 0x80 <= token < BYTES:
                break
            if token >= 0xC2:
                return tuple(ids[-back:]) if char_bytes(token) > back else ()
        return ()

    def _whole(self, token: int) -> str | None:
        """The text of a token that begins and ends between characters; special tokens have none to show."""
        if token in self._special_ids:
            return ""
        return None if 0x80 <= token < BYTES else self.spelling[token].decode()

    def _encode_plain(self, text: str) -> Iterator[int]:
        for unit in _units(text):
            known = self._ids.get(unit)
            if known is not None:
                yield known
            else:
                yield from self._spell(unit)

    def _spell(self, unit: str) -> Iterator[int]:
        while unit:
            for end in range(len(unit), 1, -1):
                known = self._ids.get(unit[:end])
                if known is not None:
                    yield known
                    unit = unit[end:]
                    break
            else:
                yield from self._ids_of_character(unit[0])
                unit = unit[1:]

    def _ids_of_character(self, char: str) -> Iterable[int]:
        known = self._ids.get(char)
        return char.encode("utf-8", "replace") if known is None else (known,)


def _units(text: str) -> list[str]:
    return _UNIT.findall(text)


def _frequent_parts(corpus: str) -> Iterator[str]:
    counts: Counter[str] = Counter()
    for space, word in _WORD.findall(corpus):
        for length in range(1, min(5, len(word)) + 1):
            counts[space + word[:length]] += 1
            counts.update(word[start : start + length] for start in range(1, len(word) - length + 1))
    ranked = sorted(counts.items(), key=lambda item: (-item[1] * len(item[0]), item[0]))
    return islice((part for part, _ in ranked), SUBPIECES)
