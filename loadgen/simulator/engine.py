"""One emulated engine on a virtual clock: which leg got how many tokens, and when.

A leg that decodes gets a token at the end of every iteration, so nothing is stored per token: the engine keeps the
times of its iterations' ends, and a leg the number of the iteration that gave it its first token.
"""

from array import array
from dataclasses import dataclass, field

from gateway.emulator.model import EngineModel
from gateway.emulator.profiles import Profile
from loadgen.simulator.job import SimJob


@dataclass(slots=True, eq=False)
class Leg:
    """One run of a job at one engine; `first` is the iteration that gave the first token of the present run."""

    job: SimJob
    engine: "SimEngine"
    seq_id: str
    number: int
    base: int  # what the job had produced before
    first: int | None = None
    before: int = 0  # tokens of this leg's earlier runs: the engine itself preempted it in between
    stopped: bool = False
    job_free_s: float = 0.0  # when the gateway counts the room as free again

    def made(self) -> int:
        """Tokens of this leg whose iterations have ended."""
        return self.before + (0 if self.first is None else len(self.engine.ends) - self.first)


@dataclass(slots=True, eq=False)
class SimEngine:
    """An engine's model and its past."""

    id: str
    profile: Profile
    model: EngineModel = field(init=False)
    ends: array = field(default_factory=lambda: array("d"))  # type: ignore[type-arg]
    legs: dict[str, Leg] = field(default_factory=dict)
    dying: list[Leg] = field(default_factory=list)  # to be taken out when the present iteration ends
    busy_until: float | None = None
    removed: bool = False
    born_s: float = 0.0

    def __post_init__(self) -> None:
        self.model = EngineModel(self.profile)

    def begin(self, leg: Leg) -> None:
        """Queue the leg at the engine: prompt and what was produced are its prompt."""
        job = leg.job
        length = job.request.input_tokens + job.produced
        sequence = self.model.add(leg.seq_id, length, job.request.output_tokens - job.produced, key=job.request.index)
        job.sequence = sequence
        self.legs[leg.seq_id] = leg

    def drop(self, leg: Leg) -> None:
        """Take the leg out; only between iterations."""
        self.model.remove(leg.seq_id)
        self.legs.pop(leg.seq_id, None)

    def close_run(self, leg: Leg, until: int | None = None) -> None:
        """Write the tokens of the present run, up to iteration `until`, into the job's history."""
        if leg.first is None:
            return
        last = len(self.ends) if until is None else until
        leg.job.runs.append((self.ends[leg.first : last], leg.number))
        leg.before += last - leg.first
        leg.first = None
