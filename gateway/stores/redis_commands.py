"""What is sent to Redis: plain commands, and scripts that go by their hash."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ResponseError

from gateway.errors import Unavailable

Argument = str | bytes | int | float


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script; it is known to Redis by its hash, and told again where it is not known."""

    text: str
    sha: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Call:
    """A script with its keys and arguments, as a command of a batch."""

    script: Script
    keys: Sequence[str]
    arguments: Sequence[Argument] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """What Redis says against one command of a batch; the others were done."""

    why: str


Command = Sequence[Argument] | Call


def known(command: Command) -> Sequence[Argument]:
    """A command as it is sent at first."""
    if isinstance(command, Call):
        return ("EVALSHA", command.script.sha, len(command.keys), *command.keys, *command.arguments)
    return command


def whole(command: Command) -> Sequence[Argument]:
    """A script's call for a Redis that does not know its hash."""
    assert isinstance(command, Call)  # only a script can be unknown
    return ("EVAL", command.script.text, len(command.keys), *command.keys, *command.arguments)


def accepted(answer: Any) -> Any:
    """An answer that is no refusal; Unavailable."""
    if isinstance(answer, Refused):
        raise Unavailable("The shared store cannot do this now.", retry_after_s=1.0) from ResponseError(answer.why)
    return answer


def away() -> Unavailable:
    """The error while Redis is not there."""
    return Unavailable("The shared store cannot be reached now.", retry_after_s=1.0)
