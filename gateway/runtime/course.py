"""A stream's way over its legs: what is kept for the next one, how often engines failed it, what going on cost."""

from dataclasses import replace
from typing import Final

from gateway.engines.base import Engine, LegRequest, Resumability, ResumeLevel, Usage
from gateway.engines.transcript import Transcript
from gateway.runtime.instrument import Resumption

PROGRESS_TOKENS: Final = 16  # a leg with fewer new tokens has not shown that the request itself is harmless
LEGS_OF_A_GATEWAY: Final = 1000


class Course:
    """One for each stream. `level` is how exactly it can go on, or has gone on where that was worse."""

    def __init__(self, request: LegRequest) -> None:
        self.transcript: Transcript | None = None
        self.level = ResumeLevel.NO
        self.why = ""
        self.failures = 0
        self.resumptions = 0
        self.left_at: float | None = None  # when it lost its engine, while it has none
        self._request = request
        self._number = 0
        self._engine: Engine | None = None  # the present one, or the last
        self._judged: tuple[object, ...] = ()  # what the last judgement of it went by
        self._goes_on = True
        self._tokens = 0
        self._begun_at = 0.0
        self._resumed = False
        self.ttft_s: float | None = None  # of the present leg, once it has spoken

    @property
    def begun(self) -> bool:
        """Whether there are tokens to go on from."""
        return self.transcript is not None and self.transcript.begun

    @property
    def open(self) -> bool:
        """Whether a next leg can go on where this one is.

        What a stream turns out to be (without ids, reasoning) decides it, not only what was asked; it is asked for ten
        times a second, so the engine judges only what has changed.
        """
        transcript, engine = self.transcript, self._engine
        if transcript is None or transcript.broken or self.level is ResumeLevel.NO:
            return False
        facts = (transcript.begun, transcript.by_ids, transcript.reasoned, transcript.part)
        if engine is not None and facts != self._judged:
            self._judged, self._goes_on = facts, bool(self.judge(engine))
        return self._goes_on

    @property
    def finished(self) -> bool:
        """Whether the finish reason is there."""
        return self.transcript is not None and self.transcript.finished

    def judge(self, engine: Engine) -> Resumability:
        """How this engine would go on."""
        return engine.can_resume(replace(self._request, transcript=self.transcript))

    def begin(self, engine: Engine, produced: int, now: float, *, seen: bool) -> bool:
        """A leg at this engine begins; False when it cannot go on there. `seen`: the client has a chunk already."""
        found = self.judge(engine)
        if produced and not (self.begun and found):
            return False
        if not produced:
            self._start_over(found, seen=seen)
        self.level = max(self.level, found.level, key=lambda each: each.rank) if produced else found.level
        self.why = found.why
        self._number += 1
        self._engine, self._judged = engine, ()
        self._tokens, self._begun_at, self.ttft_s = produced, now, None
        self._resumed = produced > 0
        self.resumptions += self._resumed
        self.left_at = None
        return True

    def inherit(self, transcript: Transcript | None, epoch: int) -> None:
        """What another gateway had of it. Its legs' names were others, since an engine may still know them."""
        self.transcript = transcript
        if transcript is not None and transcript.begun:
            self.level = ResumeLevel.REPLAY  # until an engine says how it goes on
        self._number = epoch * LEGS_OF_A_GATEWAY

    def leg_request(self) -> LegRequest:
        """The present leg's request; ids are never used twice, since an engine may still know the old one."""
        first = self._request
        name = first.id if self._number == 1 else f"{first.id}-{self._number}"
        return replace(first, id=name, transcript=self.transcript)

    def spoke(self, now: float) -> None:
        """The leg's first token is here."""
        self.ttft_s = now - self._begun_at

    def failed(self, produced: int) -> int:
        """The engine broke the leg; how many have done so in a row."""
        self.failures = 1 if produced - self._tokens >= PROGRESS_TOKENS else self.failures + 1
        return self.failures

    def end_leg(self, usage: Usage | None, now: float) -> Resumption | None:
        """The leg is over: what going on has cost, None where it did not go on from anywhere."""
        self.left_at = now
        resumed, self._resumed = self._resumed, False
        if not resumed:
            return None
        prompt = self.transcript.prompt_tokens if self.transcript is not None else None
        told = usage is not None and usage.resent_tokens > 0
        return Resumption(
            engine_id="" if self._engine is None else self._engine.settings.id,
            level=self.level.value,
            ttft_s=self.ttft_s,
            resent_tokens=usage.resent_tokens if usage is not None and told else (prompt or 0) + self._tokens,
            cached_tokens=usage.cached_tokens if usage is not None and told else None,
        )

    def _start_over(self, found: Resumability, *, seen: bool) -> None:
        if not found:
            self.transcript = None
        elif self.transcript is None or not seen or self.transcript.broken:
            self.transcript = Transcript()
