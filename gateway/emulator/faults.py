"""How the emulator misbehaves when told to, for the tests of whoever stands in front of it."""

from random import Random
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Tokens = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class Faults(BaseModel):
    """What goes wrong with a request. "After n tokens" counts all tokens of the answer; 0 is in place of the first.

    Settable by flags, by `POST /emulator/faults`, and for one request by its field `emulator_faults`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    slow_first_token_s: Seconds = Field(0.0, description="hold back everything but the headers for so long")
    stall_after_tokens: Tokens | None = Field(None, description="fall silent, the connection stays open")
    stall_s: Seconds | None = Field(None, description="how long a stall lasts; without it, for ever")
    die_after_tokens: Tokens | None = Field(None, description="close the connection in the middle of the body")
    exit_after_tokens: Tokens | None = Field(None, description="end the whole process with status 70, no clean-up")
    garbage_after_tokens: Tokens | None = Field(None, description="from then on data lines that are not JSON")
    error_after_tokens: Tokens | None = Field(None, description="an error as data, then [DONE], as vLLM does it")
    status: int | None = Field(None, ge=400, le=599, description="refuse with this HTTP status")
    health_status: int | None = Field(None, ge=200, le=599, description="what GET /health answers")
    share: float = Field(1.0, ge=0.0, le=1.0, description="the probability that a request is hit")
    count: int | None = Field(None, ge=0, description="hit only so many requests")
    seed: int = Field(0, description="of the draws by share")


class FaultBook:
    """The fault that is set for the whole server, and whom it hits."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.set(faults)

    def set(self, faults: Faults | None) -> None:
        """Replace what was set; count and draws begin anew."""
        self._faults = faults or Faults()
        self._random = Random(self._faults.seed)  # noqa: S311 - chance for tests, not for secrets
        self._left = self._faults.count

    @property
    def faults(self) -> Faults:
        return self._faults

    @property
    def left(self) -> int | None:
        """How many requests will still be hit; None: no limit."""
        return self._left

    def draw(self, own: Faults | None = None) -> Faults:
        """What goes wrong with the request that has just come; `own` is what it asked for itself."""
        if own is not None:
            return own
        if self._left == 0 or self._random.random() >= self._faults.share:
            return Faults()
        if self._left is not None:
            self._left -= 1
        return self._faults
