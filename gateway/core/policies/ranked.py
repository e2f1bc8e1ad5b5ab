"""What the policies that pause share: rank everybody, fill the engines from the top, and swap where it pays.

The steps of one decision (Andes, arXiv 2404.16283, section 4, carried from one engine to a pool):

1. Engines whose memory is overrun pause their lowest-ranked stream.
2. Selective triggering: while everybody who waits fits, everybody starts and nothing is ranked.
3. Everybody who waits or runs is ranked by the subclass. From the top, who runs keeps its place and who waits is given
   one, until batch and memory of every engine are full; one that fits nowhere is passed over, a few times, or holds
   what becomes free at the engine where it will fit first.
4. Who was given a place that is free begins. For the others the worst streams without a place are paused, if the gain
   exceeds what the new prefill costs those who read on (the overhead-aware refiner) and the average number of pauses
   allows it. Nobody is paused without somebody who takes the place.

A place that a stopping leg still holds counts as given, so that no decision pauses twice for the same need.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from operator import attrgetter
from typing import ClassVar, Final

from gateway.core.capacity import EngineLoad
from gateway.core.job import Job, JobSpec, JobState
from gateway.core.plan import Reason
from gateway.core.policies.base import ForRoom
from gateway.core.policies.places import Bid, PauseCap, Places, room_for_all
from gateway.core.roster import Roster

_REFUSALS: Final = 16  # after so many pauses that were not allowed, no more are asked for in this plan
_MISFITS: Final = 16  # how many may be passed over in one plan
_HOT: Final = 32
_PAUSES: Final = 32  # how many who wait may be given a taken place in one plan
_by_rank: Final = attrgetter("rank")
_RANK_ALL_S: Final = 2e-4  # for each job that waits, until all are ranked again


class Ranked(ForRoom):
    """Base of the policies that pause; a subclass ranks."""

    ticks: ClassVar[bool] = True

    def __init__(self, roster: Roster, *, refines: bool = True, capped: bool = True) -> None:
        self.overloaded = False
        self._roster = roster
        self._refines = refines
        self._cap = PauseCap(roster.tuning.cap if capped else float("inf"))
        self._hot: dict[int, Job] = {}  # those waiting who may get a place before everybody is ranked again
        self._rank_all_at = float("-inf")
        self._leads: dict[str, list[tuple[float, int, Job]]] = {}  # of who reads on, shortest first, as this plan asks

    def admit(self, _spec: JobSpec, now: float) -> None:
        """Everybody may come in."""
        self._cap.arrived(now)

    def push(self, job: Job) -> None:
        """Who begins to wait is ranked in the next decision."""
        self._hot[job.order] = job

    def discard(self, job: Job) -> None:
        """It is ranked no more."""
        self._hot.pop(job.order, None)

    def forget(self) -> None:
        """Nobody waits: what was remembered of jobs is of no use."""
        self._hot.clear()

    def survey(self, jobs: Sequence[Job], now: float) -> None:
        """All jobs that wait or run; a hook, called whenever all are ranked."""

    def rank(self, jobs: Sequence[Job], now: float) -> list[Bid]:
        """A bid for each job, in any order."""
        raise NotImplementedError

    def order_of_start(self) -> list[Job]:
        """Those who wait, while there is room for all: by arrival."""
        return sorted(self._roster.waiting.values(), key=lambda job: job.order)

    def decide(self, now: float) -> None:
        waiting, fleet = self._roster.waiting, self._roster.fleet
        self._leads.clear()
        enough = _HOT + sum(load.capacity.max_running for load in fleet) // 8
        everybody = len(waiting) <= enough or now >= self._rank_all_at
        if everybody:
            self._roster.reconsider(now)
        started = self._start_all(now)
        if not waiting:
            self.forget()
        if started and not self._overrun():
            return
        bids = self._bids(now, enough if everybody else None)
        for load in self._overrun():
            self._relieve(load, bids, now)
        if not started:  # else who has just begun would be a victim in the same plan
            self._swap(bids, now)

    def _bids(self, now: float, keep: int | None) -> list[Bid]:
        """Bids, best first: of all who run and wait, the first `keep` of whom are remembered; None: of those alone.

        Ranking takes some microseconds a job, and the order of a long queue changes slowly: all of it is ranked after
        a time that grows with its length, so that this costs a bounded share of one core.
        """
        waiting = self._roster.waiting
        runs = JobState.RUNNING
        legs = (load.legs.values() for load in self._roster.fleet)
        running = [job for there in legs for job in there if job.state is runs and job.resumable]
        if keep is None:
            jobs = [*(job for job in self._hot.values() if job.spec.id in waiting), *running]
        else:
            jobs = [*waiting.values(), *running]
            self.survey(jobs, now)
            self._rank_all_at = now + _RANK_ALL_S * len(waiting)
        bids = self.rank(jobs, now)
        bids.sort(key=_by_rank, reverse=True)
        if keep is not None:
            self._hot = {bid.job.order: bid.job for bid in islice((b for b in bids if b.job.engine_id is None), keep)}
        return bids

    def _start_all(self, now: float) -> bool:
        """Start everybody if there is room for all; whether anybody was started, or nobody waits."""
        roster = self._roster
        if len(roster.waiting) > sum(load.free_seats for load in roster.fleet):
            return False
        places = (Places.of(load) for load in roster.fleet if load.capacity.ready)
        if not room_for_all(roster.waiting.values(), roster.need, places):
            return False
        for job in self.order_of_start():
            load = roster.fleet.place(job, roster.need(job))
            if load is None:
                break  # there is room for all together, but for this one at no engine: ranking says who goes first
            roster.begin(job, load, Reason.ROOM, now)
        return bool(roster.starts or roster.resumes)

    def _overrun(self) -> list[EngineLoad]:
        """Engines that hold more tokens than they have memory for."""
        return [load for load in self._roster.fleet if load.excess]

    def _relieve(self, load: EngineLoad, bids: list[Bid], now: float) -> None:
        over = load.excess
        for bid in reversed(bids):
            if over <= 0 or len(load.legs) - len(load.stopping) <= 1:
                break
            if bid.job.engine_id == load.id and bid.job.state is JobState.RUNNING:
                over -= bid.job.reserved
                self._pause(bid.job, Reason.MEMORY, now)

    def _swap(self, bids: list[Bid], now: float) -> None:
        places = {load.id: Places.of(load) for load in self._roster.fleet}
        kept, admitted = self._fill(bids, places)
        if not admitted:
            return
        victims: dict[str, deque[Bid]] = {name: deque() for name in places}
        runs = JobState.RUNNING
        for bid in reversed(bids):
            if bid.job.order not in kept and bid.job.state is runs and not bid.firm:
                victims[bid.job.engine_id or ""].append(bid)
        refused = 0
        ready = [place for place in places.values() if place.load.capacity.ready]
        for bid, place in admitted:
            need = self._roster.need(bid.job)
            if place.free_now(need):
                self._begin(bid, place, need, now)
            elif place.free_soon(need):
                place.use(need)
            elif refused >= _REFUSALS and not any(other.free_seats > 0 for other in ready):
                break
            elif refused >= _REFUSALS or not self._make_room(bid, place, need, victims[place.load.id], now):
                refused += 1
                elsewhere = next((other for other in self._allowed(bid.job, ready) if other.free_now(need)), None)
                if elsewhere is not None:
                    self._begin(bid, elsewhere, need, now)
                elif bid.holds:
                    place.use(need)

    def _begin(self, bid: Bid, place: Places, need: int, now: float) -> None:
        place.use(need)
        self._leads.pop(place.load.id, None)
        self.began(bid)
        self._roster.begin(bid.job, place.load, bid.begins, now)

    def _fill(self, bids: list[Bid], places: dict[str, Places]) -> tuple[set[int], list[tuple[Bid, Places]]]:
        """Who keeps a place (by order of arrival), and who is given one on which engine."""
        kept: set[int] = set()
        admitted: list[tuple[Bid, Places]] = []
        misfits, holding = 0, False
        ready = [place for place in places.values() if place.load.capacity.ready]
        seats = sum(max(0, place.seats) for place in places.values())
        most = _PAUSES + sum(max(0, place.free_seats + place.soon_seats) for place in ready)
        runs = JobState.RUNNING
        for bid in bids:
            if seats <= 0:
                break
            job = bid.job
            if job.engine_id is not None:
                place = places[job.engine_id]
                if job.state is runs and place.take(job.reserved):
                    kept.add(job.order)
                    seats -= 1
            elif misfits < _MISFITS and len(admitted) < most:
                need = self._roster.need(job)
                found = self._choose(job, need, ready)
                if found is None and bid.holds and not holding:
                    found, holding = self._later(job, need, ready), True
                if found is None:
                    misfits += 1
                    continue
                seats -= found.seats > 0
                found.claim(need)
                admitted.append((bid, found))
        return kept, admitted

    def _choose(self, job: Job, need: int, ready: list[Places]) -> Places | None:
        """Where the prefix lies if there is room, else the engine with most memory to give."""
        best = None
        for place in self._allowed(job, ready):
            if place.has(need):
                if place.load.id == job.home:
                    return place
                better = best is None or (place.memory, place.seats) > (best.memory, best.seats)
                best = place if better else best
        return best

    def _later(self, job: Job, need: int, ready: list[Places]) -> Places | None:
        """Where it will fit when those have ended that cannot be paused; nobody who ranks below it begins there."""
        able = [p for p in self._allowed(job, ready) if need <= p.most and p.load.capacity.max_running > 0]
        return max(able, key=lambda place: (place.seats > 0, place.memory, place.seats), default=None)

    @staticmethod
    def _allowed(job: Job, ready: list[Places]) -> list[Places]:
        """The engines that may take the job: one that has failed it only when no other one is ready."""
        if not job.avoid:
            return ready
        return [place for place in ready if place.load.id not in job.avoid] or ready

    def _make_room(self, bid: Bid, place: Places, need: int, victims: deque[Bid], now: float) -> bool:
        """Pause the worst streams of this engine until the job fits; False when that does not pay or must not be."""
        chosen: list[Bid] = []
        seats = place.free_seats + place.soon_seats
        memory, least = place.free_memory + place.soon_memory, place.least(need)
        while len(chosen) < len(victims) and not (seats > 0 and memory >= least):
            victim = victims[len(chosen)]
            if not self.may_stop(victim.job, now):
                del victims[len(chosen)]
                continue
            chosen.append(victim)
            seats += 1
            memory += victim.job.reserved
        if seats <= 0 or memory < least or not self.may_pause(bid, chosen, now):
            return False
        for victim in chosen:
            place.soon_seats += 1
            place.soon_memory += victim.job.reserved
            self._pause(victim.job, victim.stops, now)
            victims.popleft()
        place.use(need)
        return True

    def may_stop(self, _job: Job, _now: float, /) -> bool:
        """Whether this one may be paused for anybody; a hook."""
        return True

    def may_pause(self, bid: Bid, victims: Sequence[Bid], now: float) -> bool:
        """Whether these may be paused for this bid: within the average, and only where it pays."""
        return self._cap.allows(len(victims), now) and (not self._refines or self.pays(bid, victims, now))

    def pays(self, bid: Bid, victims: Sequence[Bid], now: float) -> bool:
        """Whether the bid gains more than the readers of the victims' engine lose (all victims are of one engine)."""
        engine_id = victims[0].job.engine_id if victims else None
        return engine_id is None or (
            bid.gain > 0 and self._costs_less(bid.gain, bid.job, self._roster.fleet[engine_id], now)
        )

    def _costs_less(self, gain: float, job: Job, load: EngineLoad, now: float) -> bool:
        """Whether the readers of this engine lose less QoE than that while it computes the job's prompt (Andes v2,
        section 4.3)."""
        stall_s = load.first_token_s(job.context_tokens) if job.fresh else load.resume_s(job.context_tokens)
        speed = load.model.speed(len(load.legs), load.tokens)
        left = gain * (load.capacity.fraction or 1.0)  # the readers of other gateways wait there as well
        for lead, _, other in self._leads_at(load, now):
            if lead >= stall_s:
                break
            if other.state is JobState.RUNNING:  # a victim of this plan waits for nothing
                left -= other.tracker.gain(speed * other.spec.units_per_token, 0.0, stall_s, now)
                if left <= 0:
                    return False
        return True

    def _leads_at(self, load: EngineLoad, now: float) -> list[tuple[float, int, Job]]:
        if (leads := self._leads.get(load.id)) is None:
            leads = sorted((job.tracker.lead(now), job.order, job) for job in load.legs.values())
            self._leads[load.id] = leads
        return leads

    def began(self, bid: Bid) -> None:
        """A bid is about to begin; a hook for subclasses that share out starts."""

    def _pause(self, job: Job, reason: Reason, now: float) -> None:
        self._cap.paused(now)
        self._roster.pause(job, reason)
