"""What a scenario file may say: its fields, their bounds, and nothing else.

The files beside this module, in `scenarios/`, are examples of every field; docs/load.md is the reference.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Tokens = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """A field that nobody knows is an error, not silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Phase(Strict):
    """A stretch of time. `rate` is in requests per second for each client of the tenant.

    `end_rate` makes a ramp; `on_s` and `off_s` switch the rate; `period_s`, `share` and `intensity` make Andes' cyclic
    burst, whose mean is `rate`.
    """

    length_s: Positive
    rate: NotNegative
    end_rate: NotNegative | None = None
    on_s: Positive | None = None
    off_s: Positive | None = None
    period_s: Positive | None = None
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    intensity: NotNegative | None = None

    @model_validator(mode="after")
    def one_shape(self) -> "Phase":
        """A ramp, on and off, or a burst, and each of them whole."""
        parts = [(self.end_rate,), (self.on_s, self.off_s), (self.period_s, self.share, self.intensity)]
        given = [part for part in parts if any(value is not None for value in part)]
        if len(given) > 1 or any(value is None for part in given for value in part):
            raise ValueError("a phase is flat, or has end_rate, or on_s and off_s, or period_s, share and intensity")
        if self.share is not None and self.intensity is not None and self.share * self.intensity > 1:
            raise ValueError("share * intensity is at most 1: the burst cannot hold more than there is")
        return self


class Uniform(Strict):
    """Whole numbers from `low` to `high`."""

    low: Tokens
    high: Tokens

    @model_validator(mode="after")
    def ascending(self) -> "Uniform":
        """There is a number between the bounds."""
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class LogNormal(Strict):
    """Lengths as people write them: log-normal with this mean and coefficient of variation, from 1 to `high`."""

    mean: Positive
    cv: Positive
    high: Tokens = 100_000


Length = Tokens | Uniform | LogNormal


class Readers(Strict):
    """What readers do, drawn for each request.

    A share of them hides the page again and again: in sight for `visible_s` on average, then away for `hidden_s`.
    Another share leaves for good, after `leaves_after_s` on average. A share has a `lossy` network, through which
    nothing comes for `outage_s` every `outage_every_s`, and a share a `slow` one of `bytes_per_s`. A share is
    `returning`: connected for `stays_s` on average, then gone for `gone_s`, then back to read on. All times are
    exponential.
    """

    hiding: Share = 0.0
    visible_s: Positive = 20.0
    hidden_s: Positive = 20.0
    leaving: Share = 0.0
    leaves_after_s: Positive = 20.0
    lossy: Share = 0.0
    outage_every_s: Positive = 10.0
    outage_s: Positive = 1.0
    slow: Share = 0.0
    bytes_per_s: Positive = 2000.0
    returning: Share = 0.0
    stays_s: Positive = 15.0
    gone_s: Positive = 10.0


class Tenant(Strict):
    """`count` clients alike (`name1`, `name2`, ...). With `each_new` every request comes from a client of its own."""

    client: Annotated[str, Field(min_length=1)]
    count: Annotated[int, Field(ge=1, le=10_000)] = 1
    each_new: bool = False
    weight: Positive = 1.0
    gaps: Literal["constant", "poisson", "gamma"] = "poisson"
    cv: Positive = 2.0
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    input_tokens: Length | None = None
    output_tokens: Length | None = None
    lengths: str | None = None
    max_total: Tokens | None = None
    pace: str | None = None
    readers: Readers = Readers()

    @model_validator(mode="after")
    def lengths_once(self) -> "Tenant":
        """Both lengths, or a table of pairs."""
        own = (self.input_tokens is not None, self.output_tokens is not None)
        if own != ((self.lengths is None),) * 2:
            raise ValueError("a tenant has input_tokens and output_tokens, or else lengths")
        return self


class TracePiece(Strict):
    """A trace, or a piece of it; the fields are those of `traces.load_trace`."""

    file: str
    start_s: NotNegative = 0.0
    duration_s: Positive | None = None
    clients_every: Annotated[int, Field(ge=1)] = 1


class ScenarioFile(Strict):
    """One scenario: tenants, or a trace."""

    title: str
    source: str
    seed: int = 0
    pace: str = "reading"
    tenants: tuple[Tenant, ...] = ()
    trace: TracePiece | None = None

    @model_validator(mode="after")
    def one_kind(self) -> "ScenarioFile":
        """Not both, not neither."""
        if bool(self.tenants) == (self.trace is not None):
            raise ValueError("a scenario has tenants or a trace")
        return self
