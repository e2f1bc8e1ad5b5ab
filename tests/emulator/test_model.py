"""The batch model: memory, order, cost, cache."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.emulator.blocks import BLOCK_TOKENS, BlockPool
from gateway.emulator.model import EngineModel
from gateway.emulator.profiles import PROFILES, Profile

SMALL = replace(PROFILES["fast"], kv_tokens=320, max_num_seqs=4, max_model_len=160, max_batched_tokens=48)


def drain(model: EngineModel, limit: int = 10_000) -> Counter[str]:
    """Run to the end; how many tokens each sequence produced."""
    produced: Counter[str] = Counter()
    for _ in range(limit):
        step = model.step()
        if step is None:
            return produced
        produced.update(step.started + step.decoded)
    raise AssertionError(f"{model!r} does not come to an end")


class Engine(RuleBasedStateMachine):
    """Random arrivals, departures and iterations against what must always hold."""

    def __init__(self) -> None:
        super().__init__()
        self.model = EngineModel(SMALL)
        self.wanted: dict[str, int] = {}
        self.produced: Counter[str] = Counter()
        self.histories: dict[str, list[int]] = {}
        self.admitted = -1

    @rule(
        length=st.integers(1, 120),
        max_tokens=st.integers(1, 40),
        kind=st.sampled_from(["plain", "keyed", "ids", "other ids"]),
    )
    def arrive(self, length: int, max_tokens: int, kind: str) -> None:
        name = str(len(self.wanted))
        self.wanted[name] = max_tokens
        if "ids" in kind:
            ids = list(range(length)) if kind == "ids" else [7] * length
            self.histories[name] = ids
            self.model.add(name, length, max_tokens, ids=ids)
        else:
            self.model.add(name, length, max_tokens, key="k" if kind == "keyed" else None)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.wanted)))
        known = name in self.model._running or name in self.model._waiting
        assert self.model.remove(name) is known
        assert self.model.remove(name) is False
        self.wanted[name] = self.produced[name]

    @rule(count=st.integers(1, 30))
    def iterate(self, count: int) -> None:
        for _ in range(count):
            self.step()

    def step(self) -> bool:
        step = self.model.step()
        if step is None:
            assert self.model.running == self.model.waiting == 0
            return False
        assert step.duration_s > 0
        batch = step.started + step.decoded
        assert len(set(batch)) == len(batch) <= SMALL.max_num_seqs
        assert not set(batch) & set(step.preempted)
        self.produced.update(batch)
        for name in batch:
            if name in self.histories:
                self.histories[name].append(self.produced[name])
        for name in step.finished:
            assert self.produced[name] == self.wanted[name]
        return True

    @invariant()
    def memory_is_accounted_for(self) -> None:
        model = self.model
        running = model._running.values()
        keys = {key for sequence in running for key in sequence.keys}
        nameless = sum(sequence.blocks - len(sequence.keys) for sequence in running)
        assert model._pool.used == len(keys) + nameless
        assert model._pool.used + model._pool.available == model._pool.total
        for sequence in running:
            assert sequence.blocks * BLOCK_TOKENS >= model._position(sequence)

    @invariant()
    def the_batch_is_bounded(self) -> None:
        assert self.model.running <= SMALL.max_num_seqs
        assert set(self.model._decoding) | set(self.model._prefilling) == set(self.model._running)
        assert sum(len(phase) for phase in self.model._by_phase) == len(self.model._decoding)
        assert not any(not ends for step, ends in self.model._ends.items() if step < self.model._steps)

    @invariant()
    def first_come_first_served(self) -> None:
        admitted = [int(s.seq_id) for s in self.model._running.values()]
        self.admitted = max([self.admitted, *admitted])
        for sequence in self.model._waiting.values():
            if sequence.cached is None:
                assert int(sequence.seq_id) > self.admitted

    def teardown(self) -> None:
        for _ in range(10_000):
            if not self.step():
                break
        assert self.produced == Counter({name: count for name, count in self.wanted.items() if count})
        assert self.model._pool.used == 0
        assert self.model.kv_usage == 0
        assert self.model._bases == 0


TestEngine = Engine.TestCase
TestEngine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def costly(**changes: Any) -> Profile:
    """A profile in which every term of the cost shows."""
    profile = replace(SMALL, a_s=1.0, b_s=0.1, c_s=0.001, prefill_tokens_per_s=100.0, kv_tokens=16_000)
    return replace(profile, max_model_len=8000, **changes)


def test_an_iteration_costs_what_its_parts_cost() -> None:
    """a + b*B + c*context + prefill/rate."""
    model = EngineModel(costly(max_batched_tokens=1000))
    model.add("a", 100, 3)

    first, second, third = model.step(), model.step(), model.step()

    assert first is not None
    assert second is not None
    assert third is not None
    assert pytest.approx(1.0 + 0.1 + 100 / 100) == first.duration_s
    assert pytest.approx(1.0 + 0.1 + 0.001 * 100) == second.duration_s
    assert pytest.approx(1.0 + 0.1 + 0.001 * 101) == third.duration_s
    assert third.finished == ("a",)
    assert model.step() is None


def test_a_long_prompt_is_prefilled_in_chunks_beside_the_decoders() -> None:
    """The budget of an iteration goes to decoders first; the prompt takes as many iterations as it needs."""
    model = EngineModel(costly(max_batched_tokens=11, max_num_seqs=4))
    model.add("decoder", 1, 50)
    model.step()
    model.add("long", 35, 5)

    steps = [model.step() for _ in range(4)]

    assert [step.decoded for step in steps if step] == [("decoder",)] * 4
    assert [step.started for step in steps if step] == [(), (), (), ("long",)]


def test_the_latest_gives_way_when_memory_is_short_and_finishes_later() -> None:
    """Preemption recomputes: nothing is lost, and the earliest is never the victim."""
    model = EngineModel(replace(SMALL, kv_tokens=64, max_model_len=64))
    for name in "abc":
        model.add(name, 15, 33)
    victims: list[str] = []
    order: list[str] = []
    while (step := model.step()) is not None:
        victims += step.preempted
        order += step.finished

    assert model.totals.preemptions == len(victims) > 0
    assert "a" not in victims
    assert order == ["a", "b", "c"]
    assert model.totals.generation_tokens == 3 * 33
    assert model.totals.prompt_tokens == 3 * 15


@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "not asked for"])
def test_priorities_go_both_ways(asked: bool) -> None:
    """Low ones are admitted first, high ones give way first, of equals the latest; otherwise they mean nothing."""
    model = EngineModel(replace(SMALL, kv_tokens=64, max_model_len=64, max_num_seqs=3), by_priority=asked)
    for name, priority in (("a", 9), ("b", 0), ("c", 0), ("d", -5)):
        model.add(name, 15, 33, priority=priority)
    first = model.step()
    assert first is not None
    order: list[str] = []
    victims: list[str] = []
    while (step := model.step()) is not None:
        victims += step.preempted
        order += step.finished

    assert set(first.started) == ({"d", "b", "c"} if asked else {"a", "b", "c"})
    assert victims[0] == "c"
    assert order == (["d", "b", "c", "a"] if asked else ["a", "b", "c", "d"])


@pytest.mark.parametrize("keyed", [True, False], ids=["key", "ids"])
def test_a_resumed_sequence_finds_its_blocks_after_an_abort(keyed: bool) -> None:
    """Full blocks of prompt and answer stay cached; the rest, and at least one token, is computed again."""
    model = EngineModel(costly(max_batched_tokens=1000))
    ids = list(range(100))
    model.add("leg 1", 100, 500, ids=None if keyed else ids, key="stream")
    for produced in range(60):
        model.step()
        ids.append(1000 + produced)
    model.remove("leg 1")
    resumed = model.add("leg 2", 160, 440, ids=None if keyed else list(ids), key="stream")
    other = model.add("other", 160, 440, ids=None if keyed else list(ids), key="another salt")
    model.step()

    assert resumed.cached == 144
    assert other.cached == 0
    assert model.totals.prefix_hits == 144
    assert model.totals.prefix_queries == 100 + 160 + 160


def test_running_sequences_share_a_prefix() -> None:
    """A prompt that another sequence has in memory takes no second copy of it."""
    model = EngineModel(costly(max_batched_tokens=1000))
    model.add("a", 160, 50, ids=list(range(160)))
    model.step()
    used = model._pool.used
    model.add("b", 160, 50, ids=list(range(160)))
    model.step()

    assert used + 1 + 1 == model._pool.used


def test_without_a_prefix_cache_nothing_is_remembered() -> None:
    """The switch of the profile."""
    model = EngineModel(replace(costly(max_batched_tokens=1000), prefix_cache=False))
    for name in "ab":
        sequence = model.add(name, 100, 2, ids=list(range(110)))
        drain(model)

    assert sequence.cached == 0
    assert 0 == model.totals.prefix_queries == model.totals.prefix_hits


def test_the_longest_unused_block_is_evicted_first_and_tails_before_heads() -> None:
    """Least recently used first, and the end of a prefix before its beginning."""
    pool = BlockPool(4)
    assert pool.take(2)
    assert all([pool.name("old 0"), pool.name("old 1")])
    pool.release(["old 0", "old 1"], 0)
    assert pool.take(1)
    assert pool.name("new")
    pool.release(["new"], 0)

    assert pool.take(2)
    assert [pool.known(key) for key in ("old 0", "old 1", "new")] == [True, False, True]
    assert not pool.take(3)
    assert pool.take(2)
    assert pool.available == 0


def test_what_cannot_fit_is_refused() -> None:
    """A sequence longer than the memory, an empty one, and a name in use."""
    model = EngineModel(SMALL)
    model.add("a", 10, 10)

    for name, length, max_tokens in [("b", 300, 30), ("b", 0, 1), ("b", 1, 0), ("a", 1, 1)]:
        with pytest.raises(ValueError, match="sequence"):
            model.add(name, length, max_tokens)


def test_the_queue_is_measured_after_admission() -> None:
    """Who arrives while an iteration runs does not count as having waited."""
    model = EngineModel(SMALL)
    for name in range(4):
        model.add(str(name), 1, 5)
    assert model.waiting == 4
    model.step()
    assert 0 == model.queued == model.totals.max_waiting

    model.add("late", 1, 5)
    model.step()
    assert 1 == model.queued == model.totals.max_waiting
    model.remove("late")
    assert model.queued == 0


def test_repr_is_a_summary() -> None:
    """What a debugger shows."""
    model = EngineModel(SMALL)
    model.add("a", 17, 5)
    model.step()

    assert repr(model) == "<EngineModel fast: 1 running, 0 waiting, <BlockPool 2/20 used, 0 idle>>"
