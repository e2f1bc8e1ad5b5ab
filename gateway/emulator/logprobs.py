"""Plausible log probabilities: there is no distribution behind the emulator's tokens, so these only look like one.

They depend on the token and its position alone, so that a repeated request shows the same figures. Pure.
"""

from math import log

from gateway.emulator.answer import Piece
from gateway.emulator.text import mix
from gateway.emulator.vocabulary import Vocabulary


def alternatives(vocabulary: Vocabulary, piece: Piece, position: int, count: int) -> list[tuple[int, float]]:
    """The chosen token first, then `count - 1` others; natural logarithms that fall from one to the next."""
    drawn = mix(position << 32 | piece.token)
    share = 0.35 + 0.6 * (drawn % 1000) / 1000
    chosen = [(piece.token, round(log(share), 4))]
    left = 1.0 - share
    for rank in range(1, count):
        left *= 0.5
        token = mix(drawn + rank) % len(vocabulary)
        chosen.append((token, round(log(left), 4)))
    return chosen


def chat_entry(vocabulary: Vocabulary, piece: Piece, position: int, top: int) -> dict[str, object]:
    """One element of a chat choice's `logprobs.content`."""
    ranked = [
        {**_named(vocabulary, token), "logprob": logprob}
        for token, logprob in alternatives(vocabulary, piece, position, max(1, top))
    ]
    return {**ranked[0], "top_logprobs": ranked[:top]}


def text_entry(vocabulary: Vocabulary, pieces: list[Piece], position: int, offset: int, top: int) -> dict[str, object]:
    """The `logprobs` of a completion for these tokens; `offset` is where their text begins, in characters."""
    tokens, values, tops, offsets = [], [], [], []
    for piece in pieces:
        ranked = alternatives(vocabulary, piece, position, max(1, top))
        tokens.append(vocabulary.decode([piece.token]))
        values.append(ranked[0][1])
        tops.append({vocabulary.decode([token]): logprob for token, logprob in reversed(ranked)})
        offsets.append(offset)
        offset += len(piece.text)
        position += 1
    return {"text_offset": offsets, "token_logprobs": values, "tokens": tokens, "top_logprobs": tops}


def _named(vocabulary: Vocabulary, token: int) -> dict[str, object]:
    return {"token": vocabulary.decode([token]), "bytes": list(vocabulary.spelling[token])}
