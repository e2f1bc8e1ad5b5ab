"""What fits an engine, and how much is set aside."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.capacity import BLOCK_TOKENS, EngineCapacity, EngineLoad, tokens_to_reserve
from gateway.core.job import Job, JobSpec
from gateway.core.latency import IterationModel
from gateway.core.resumes import ResumeCost
from gateway.core.tuning import Tuning

PRIOR = IterationModel(0.01, 0.0, 0.0, 0.001)


def job(number: int, prompt: int = 10) -> Job:
    return Job(JobSpec(f"job-{number}", "t", prompt), arrived=0.0, order=number, prompt_tokens=prompt)


def load(capacity: EngineCapacity, *held: int) -> EngineLoad:
    """An engine with one leg for each number of tokens."""
    made = EngineLoad("e", capacity, PRIOR)
    for number, tokens in enumerate(held):
        made.take(job(number), tokens, 0.0)
    return made


@pytest.mark.parametrize(
    ("capacity", "held", "asked", "fits"),
    [
        (EngineCapacity(2), [10_000], 10_000, True),  # memory unknown: only the number counts
        (EngineCapacity(2), [0, 0], 1, False),
        (EngineCapacity(2, ready=False), [], 1, False),
        (EngineCapacity(0), [], 1, False),
        (EngineCapacity(2, kv_tokens=1000), [500], 400, True),  # exactly the watermark
        (EngineCapacity(2, kv_tokens=1000), [500], 401, False),
        (EngineCapacity(2, kv_tokens=1000), [], 5000, True),  # alone on an idle engine
    ],
)
def test_what_fits(capacity: EngineCapacity, held: list[int], asked: int, fits: bool) -> None:
    """Places, memory up to the watermark, and the large job that is let run alone."""
    assert load(capacity, *held).fits(asked) is fits


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 500), st.booleans(), st.booleans()), max_size=20))
def test_what_was_taken_is_given_back(legs: list[tuple[int, int, bool, bool]]) -> None:
    """Any number of legs, each grown once, before or after it was told to stop: in the end nothing is held."""
    subject, jobs = load(EngineCapacity(100, kv_tokens=10_000)), [job(number) for number in range(len(legs))]
    for each, (taken, grown, stops, first) in zip(jobs, legs, strict=True):
        subject.take(each, taken, 0.0)
        if stops and first:
            subject.stop(each)
        subject.grow(each, grown)
        if stops:
            subject.stop(each)
    sizes = [taken + grown for taken, grown, _, _ in legs]
    assert (subject.running, subject.tokens) == (len(legs), sum(sizes))
    assert subject.stopping_tokens == sum(taken + grown for taken, grown, stops, _ in legs if stops)
    assert subject.share == max(len(legs) / 100, sum(sizes) / 10_000)
    for each in jobs:
        subject.free(each)

    assert (subject.running, subject.tokens, subject.share) == (0, 0, 0.0)
    assert (subject.stopping, subject.stopping_tokens, subject.decoding) == (set(), 0, 0)


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.none() | st.integers(1, 10_000), st.integers(1, 10_000))
def test_what_is_set_aside(prompt: int, produced: int, limit: int | None, assumed: int) -> None:
    """The present context and a block at least; beyond that no more than the client's limit or the assumption."""
    context = prompt + produced
    reserved = tokens_to_reserve(context, prompt, limit, assumed)

    assert reserved >= context + BLOCK_TOKENS
    assert reserved <= max(context + BLOCK_TOKENS, prompt + min(limit or assumed, assumed))


@pytest.mark.parametrize("ratio", [0.25, 4.0])
def test_the_price_of_a_resume_is_learned(ratio: float) -> None:
    """Resumes that take a quarter, or four times, of what the model says are believed to, after a while."""
    subject, one = load(EngineCapacity(4)), job(1)
    one.produced = 100
    expected = subject.first_token_s(one.context_tokens)
    assert subject.resume_s(one.context_tokens) == pytest.approx(expected)
    for _ in range(80):
        subject.take(one, 200, 0.0)
        subject.produced(one, 1, ratio * subject.first_token_s(one.context_tokens))
        one.produced += 1
        subject.free(one)
    subject.take(one, 200, 0.0)

    assert subject.resume_s(100) == pytest.approx(ratio * subject.first_token_s(100), rel=0.01)


@given(st.lists(st.floats(0.2, 0.4), min_size=12, max_size=12), st.lists(st.floats(0, 1e6), max_size=5))
def test_a_few_odd_resumes_move_nothing_far(usual: list[float], odd: list[float]) -> None:
    """An engine that hung, a clock that jumped: what is believed stays within what most resumes took."""
    subject = ResumeCost()
    for ratio in (*odd, *usual):
        subject.took(ratio, 1.0)
    assert min(usual) <= subject.factor <= max(usual)
    for ratio in odd:
        subject.took(ratio, 1.0)
    assert min(usual) <= subject.factor <= max(usual)


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(-5, 6000)), min_size=1, max_size=40))
def test_a_warm_prefix_cache_makes_a_resume_cheaper(told: list[tuple[int, int]]) -> None:
    """Both engines took the same times; one of them still knew what was sent again. A share is a share whatever it
    says."""
    warm, cold, silent = (load(EngineCapacity(4)) for _ in range(3))
    for subject in (warm, cold, silent):
        for _ in range(10):
            subject.resumes.took(0.7 * subject.first_token_s(1000), subject.first_token_s(1000))
    for sent, cached in told:
        warm.resumes.told(sent, cached)
        cold.resumes.told(sent, 0)

    lost = warm.resume_s(1000)  # by the only place
    assert lost <= warm.recompute_s(1000) <= cold.recompute_s(1000) == pytest.approx(PRIOR.prefill_s(1000))
    assert lost <= silent.recompute_s(1000) < cold.recompute_s(1000)
    if sum(cached > 0 for _, cached in told[-15:]):
        assert warm.recompute_s(1000) < cold.recompute_s(1000)
    assert warm.resume_s(1000) == cold.resume_s(1000) == silent.resume_s(1000)


def test_the_speed_is_learned_from_what_is_produced() -> None:
    """Four streams of 25 tokens a second: 40 ms an iteration, whatever was believed before."""
    subject, jobs = load(EngineCapacity(4)), [job(number) for number in range(4)]
    for each in jobs:
        subject.take(each, 100, 0.0)
    for tick in range(400):
        now = tick / 10
        for each in jobs:
            subject.produced(each, 2 + tick % 2, now)
            each.produced += 2 + tick % 2
        subject.measure(now)

    assert subject.iteration_s() == pytest.approx(0.04, rel=0.05)


@pytest.mark.parametrize("late_s", [0.0, 0.03, 0.05, 0.08])
def test_the_speed_is_the_engine_s_whenever_legs_are_heard_of(late_s: float) -> None:
    """Ten legs, 50 tokens a second each, heard of ten times a second, and measured 20 times a second in between. One
    more leg's first token is heard of at an odd time now and then, and says nothing of the speed."""
    subject = load(EngineCapacity(32), *[100] * 10)
    legs = list(subject.legs.values())
    for step in range(1, 2000):
        now = step / 20
        if step % 2:
            subject.measure(now - 0.05 + late_s)
            continue
        if step % 40 == 0:
            new = job(1000 + step)
            subject.take(new, 100, now - 0.5)
            subject.produced(new, 1, now - 0.01)
            new.produced = 1
            subject.free(new)
        for each in legs:
            subject.produced(each, 5, now)
            each.produced += 5
        subject.measure(now)

    assert subject.iteration_s() == pytest.approx(0.02, rel=0.1)


def serve_full(model: IterationModel, places: int, tick_s: float, span_s: float) -> EngineLoad:
    """An engine that is never idle: prompts of 400 to 1,600 tokens, answers of 30 to 80, each followed by another."""
    subject = EngineLoad("e", EngineCapacity(places), Tuning().engine_prior)
    draw = Random(1)
    fresh = [job(number, draw.randint(400, 1600)) for number in range(places)]
    running: dict[Job, int] = {}
    now, at, number = 0.0, 0.0, places
    for each in fresh:
        subject.take(each, each.context_tokens, now)
    while now < span_s:
        admitted, fresh = fresh[:4], fresh[4:]
        context = sum(each.context_tokens for each in running)
        now += model.iteration_s(len(running), context, sum(each.prompt_tokens for each in admitted))
        running.update((each, draw.randint(30, 80)) for each in admitted)
        for each, length in list(running.items()):
            subject.produced(each, 1, now)
            each.produced += 1
            subject.grow(each, 1)
            if each.produced == length:
                subject.free(each)
                del running[each]
                number += 1
                after = job(number, draw.randint(400, 1600))
                subject.take(after, after.context_tokens, now)
                fresh.append(after)
        while at <= now:
            subject.measure(at)
            at += tick_s
    return subject


@pytest.mark.parametrize("tick_s", [0.05, 0.1, 0.25])
def test_what_prompts_cost_is_learned_from_a_full_engine(tick_s: float) -> None:
    """Where something is always computed, nothing shows a prompt's cost but how much longer iterations take with it."""
    truth = IterationModel(0.006, 2e-5, 5e-8, 1 / 27_000)
    subject = serve_full(truth, 128, tick_s, 120.0)

    assert subject.model.prefill_s(1000) == pytest.approx(truth.prefill_s(1000), rel=0.15)


def test_who_decodes_waits_for_prompts_too() -> None:
    """The speed to expect is that of iterations as they are, with prompts in them."""
    truth = IterationModel(0.006, 2e-5, 5e-8, 1 / 27_000)
    subject = serve_full(truth, 128, 0.1, 120.0)
    alone = truth.iteration_s(128, subject.tokens)

    # Per answer of 55 tokens one prompt of 1,000 is computed, by an engine that 128 share.
    assert subject.iteration_s() == pytest.approx(alone + truth.prefill_s(1000) * 128 / 55, rel=0.25)
