"""One request's answers on their way out: tokens become frames or a whole body, unless a fault is due."""

from collections.abc import Callable

from gateway.emulator.answer import Answer, Piece
from gateway.emulator.asked import Asked
from gateway.emulator.faults import Faults
from gateway.emulator.logprobs import chat_entry, text_entry
from gateway.emulator.outbox import End, Outbox
from gateway.emulator.runner import Job, Runner
from gateway.emulator.text import Language
from gateway.emulator.wire import (
    DONE,
    GARBAGE,
    Frames,
    Reply,
    Usage,
    Whole,
    error_event,
    usage_event,
    whole_reply,
)

FAULT_TEXT = "EngineCore encountered an issue. See stack trace (above) for the root cause."


class Delivery:
    """Owns the jobs of one request; `outbox` is what the response's writer reads.

    `failed`: a whole answer was struck by an error and is to be sent as one. `over`: the last bytes are taken.
    """

    def __init__(self, runner: Runner, language: Language, asked: Asked, reply: Reply, faults: Faults) -> None:
        self.outbox = Outbox()
        self.asked = asked
        self.reply = reply
        self.failed = False
        self.over = False
        self.vocabulary = language.vocabulary
        self._runner = runner
        self._faults = faults
        self._faulty = faults != Faults()
        self._sent = 0
        self._choices: list[_Choice] = []
        if faults.slow_first_token_s:
            self.outbox.hold(faults.slow_first_token_s)
        for index in range(len(asked.prompts) * asked.n):
            ids, answer = asked.answer(language, index)
            choice = _Choice(self, index, answer)
            choice.job = runner.submit(
                ids, asked.limits.max_tokens, answer, choice.deliver, asked.salt, priority=asked.priority
            )
            self._choices.append(choice)
        if self._faulty:
            self._strike()

    def abort(self) -> None:
        """End all that still runs; harmless after the end."""
        for choice in self._choices:
            if choice.job is not None:
                self._runner.abort(choice.job)

    def reader_left(self) -> None:
        """The client closed the connection."""
        if not self.over:
            self._runner.aborted += 1
            self.abort()
            self.outbox.drop()

    def emit(self, frame: bytes) -> None:
        """Send what one token makes, or misbehave."""
        if not self._faulty:
            self.outbox.push(frame)
            return
        garbage = self._faults.garbage_after_tokens
        self.outbox.push(GARBAGE if garbage is not None and self._sent >= garbage else frame)
        self._sent += 1
        self._strike()

    def choice_done(self) -> None:
        """A choice has ended; the last one ends the reply."""
        if not all(choice.last is not None for choice in self._choices):
            return
        if self.asked.stream:
            if self.asked.include_usage:
                self.outbox.push(usage_event(self.reply, self._usage()))
            self.outbox.push(DONE)
        else:
            garbage = self._faults.garbage_after_tokens
            spoilt = garbage is not None and self._sent >= garbage
            wholes = [choice.whole() for choice in self._choices]
            self.outbox.push(GARBAGE if spoilt else whole_reply(self.reply, wholes, self._usage()))
        self.outbox.close(End.DONE)

    def _usage(self) -> Usage:
        """Prompts count once each, whatever `n` is."""
        prompts = self.asked.prompts
        cached = [choice.usage().cached for choice in self._choices[:: self.asked.n]]
        produced = sum(choice.usage().completion for choice in self._choices)
        return Usage(sum(len(prompt) for prompt in prompts), produced, sum(cached))

    def _strike(self) -> None:
        sent, faults = self._sent, self._faults
        if sent == faults.stall_after_tokens:
            self.outbox.hold(faults.stall_s)
        if sent == faults.exit_after_tokens:
            self._end(End.EXIT)
        if sent == faults.die_after_tokens:
            self._end(End.CUT)
        if sent == faults.error_after_tokens:
            self.failed = True
            if self.asked.stream:
                self.outbox.push(error_event(FAULT_TEXT) + DONE)
            self._end(End.DONE)

    def _end(self, end: End) -> None:
        self.outbox.close(end)
        self.abort()


class _Choice:
    """One of a request's answers."""

    def __init__(self, delivery: Delivery, index: int, answer: Answer) -> None:
        asked = delivery.asked
        self.index = index
        self.job: Job | None = None
        self.last: Piece | None = None
        self._answer = answer
        self._delivery = delivery
        self._prompt = asked.prompts[index // asked.n]
        self._frames = Frames(delivery.reply, index, show_ids=asked.show_ids, tool=asked.tool)
        self._pieces: list[Piece] = []
        self._offset = 0
        self._started = False
        self.deliver: Callable[[Piece], None] = self._stream if asked.stream else self._collect

    def usage(self) -> Usage:
        """Counts of this choice so far."""
        cached = self.job.sequence.cached if self.job is not None else None
        return Usage(len(self._prompt), self._answer.produced, cached or 0)

    def whole(self) -> Whole:
        """The finished choice of a reply that is not streamed."""
        asked, pieces = self._delivery.asked, self._pieces
        return Whole(
            self.index,
            self._echo() + "".join(piece.text for piece in pieces),
            pieces[-1],
            self._logprobs(pieces, len(self._prompt), len(self._echo())),
            asked.tool,
            [piece.token for piece in pieces] if asked.show_ids else None,
            self._prompt if asked.show_ids else None,
        )

    def _collect(self, piece: Piece) -> None:
        self._pieces.append(piece)
        self._delivery.emit(b"")
        self._finish(piece)

    def _stream(self, piece: Piece) -> None:
        asked, delivery = self._delivery.asked, self._delivery
        usage = self.usage() if asked.continuous_usage else None
        start, prompt = b"", None
        if not self._started:
            self._started = True
            start = self._frames.start(self._prompt, usage)
            prompt = self._prompt
            piece = piece._replace(text=self._echo() + piece.text)
        logprobs = None
        if asked.logprobs is not None:
            logprobs = self._logprobs([piece], len(self._prompt) + self._answer.produced - 1, self._offset)
            self._offset += len(piece.text)
        delivery.emit(start + self._frames.token(piece, usage, logprobs, prompt))
        self._finish(piece)

    def _finish(self, piece: Piece) -> None:
        if piece.finish is not None:
            self.last = piece
            self._delivery.choice_done()

    def _echo(self) -> str:
        return self._delivery.vocabulary.decode(self._prompt) if self._delivery.asked.echo else ""

    def _logprobs(self, pieces: list[Piece], position: int, offset: int) -> object:
        top, vocabulary = self._delivery.asked.logprobs, self._delivery.vocabulary
        if top is None:
            return None
        if not self._delivery.reply.chat:
            return text_entry(vocabulary, pieces, position, offset, top)
        content = [chat_entry(vocabulary, piece, position + at, top) for at, piece in enumerate(pieces)]
        return {"content": content}
