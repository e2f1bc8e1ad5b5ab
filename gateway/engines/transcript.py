"""What a stream has said so far, kept so that its next leg goes on from there, here or at another engine.

A transcript grows only by what has been passed on to the stream: tokens whose text an engine still withholds (it ends
inside a character) are neither in it nor sent, so that a cut can neither lose nor double them.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.engines.stops import StopMatcher

MAX_TOKENS: Final = 1 << 20
MAX_TEXT: Final = 4 << 20


def _ids() -> "array[int]":
    return array("I")


@dataclass(slots=True)
class Transcript:
    """One stream's words over all of its legs; four bytes a token, or the text where the engine tells no token ids.

    `head` has the fields that every chunk of the stream repeats (id, object, created, model), as the first chunk had
    them. `tokens` counts what was passed on, `prompt_tokens` is the first leg's count. `part` names the field that the
    text goes to now: content, reasoning, reasoning_content, or the latter two with a space between.
    `broken` says why it cannot be continued, if so.
    """

    prompt_ids: "array[int]" = field(default_factory=_ids)
    token_ids: "array[int]" = field(default_factory=_ids)
    text: list[str] = field(default_factory=list)
    head: dict[str, Any] | None = None
    tokens: int = 0
    characters: int = 0
    prompt_tokens: int | None = None
    part: str = ""
    stops: StopMatcher | None = None
    unsplit: str = ""  # the end of reasoning that may be the beginning of the mark at which it ends
    finished: bool = False  # the finish reason was sent
    counted: bool = False  # so was the usage
    reasoned: bool = False  # some of it was reasoning
    broken: str = ""

    @property
    def begun(self) -> bool:
        """Whether a next leg has to go on from here, and not from the prompt."""
        return self.tokens > 0

    @property
    def by_ids(self) -> bool:
        """Whether every token so far is known by its id, the prompt's too."""
        return bool(self.prompt_ids) and len(self.token_ids) == self.tokens

    @property
    def said(self) -> str:
        """All text so far, where it was kept."""
        return "".join(self.text)

    def start_over(self) -> None:
        """Nothing of it has reached the client."""
        self.head = None
        self.part = ""
        del self.prompt_ids[:]

    def prompt(self, ids: Any) -> None:
        """The engine told the prompt's token ids."""
        if isinstance(ids, list) and not self.prompt_ids:
            self._extend(self.prompt_ids, ids)
            self.prompt_tokens = len(self.prompt_ids)

    def add_ids(self, ids: Iterable[int], count: int) -> None:
        """So many tokens, known by their ids, were passed on."""
        self.tokens += count
        self._extend(self.token_ids, ids)

    def add_text(self, text: str, count: int) -> None:
        """Text of so many tokens, whose ids nobody knows, was passed on."""
        self.tokens += count
        self.characters += len(text)
        if self.characters > MAX_TEXT:
            self._break("the answer is too long to be kept")
        else:
            self.text.append(text)

    def _extend(self, kept: "array[int]", ids: Iterable[int]) -> None:
        try:
            kept.extend(ids)
        except (TypeError, OverflowError):
            self._break("the engine's token ids are no numbers")
        if len(kept) > MAX_TOKENS:
            self._break("the answer is too long to be kept")

    def _break(self, why: str) -> None:
        self.broken = why
        del self.token_ids[:]
        self.text.clear()
