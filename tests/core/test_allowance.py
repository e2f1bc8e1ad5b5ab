"""Engine time that pauses may cost: saved up, spent, owed."""

from gateway.core.policies.turns import Allowance


def test_the_allowance_bounds_what_is_computed_again() -> None:
    """A tenth of one engine's time, saved up for a minute; what is forced is owed."""
    subject = Allowance(0.1, 60.0)
    assert not subject.spend(0.1)
    subject.earn(1, 0.0)  # 6 s are there at the beginning
    assert not subject.spend(6.1)
    assert subject.spend(6.0)
    assert not subject.spend(0.01)
    assert subject.spend(1.0, forced=True)
    subject.earn(1, 10.0)
    assert not subject.spend(0.01)
    subject.earn(1, 20.0)
    assert subject.spend(1.0)
    subject.earn(1, 10_000.0)

    assert not subject.spend(6.01)
    assert subject.spend(6.0)


def test_what_is_owed_is_bounded() -> None:
    """However much was forced: after twice the time that it can be saved up for there is something to spend again."""
    allowance = Allowance(0.1, 60.0)
    allowance.earn(1, 0.0)
    for _ in range(1000):
        assert allowance.spend(10.0, forced=True)
    assert not allowance.spend(0.01)
    allowance.earn(1, 121.0)

    assert allowance.spend(5.9)


def test_a_part_that_shrinks_keeps_what_was_saved_and_what_is_owed() -> None:
    """A lease that is lost for a moment takes no savings; a debt of the whole engine is not one of a tenth of it."""
    saved, owed = Allowance(0.1, 60.0), Allowance(0.1, 60.0)
    for engines, now in ((1.0, 0.0), (0.0, 1.0), (1.0, 2.0)):
        saved.earn(engines, now)
    assert saved.spend(5.9)
    owed.earn(1.0, 0.0)
    owed.spend(12.0, forced=True)
    owed.earn(0.1, 0.0)
    owed.spend(1.0, forced=True)
    owed.earn(1.0, 50.0)

    assert not owed.spend(0.1)


def test_without_an_engine_nothing_is_saved() -> None:
    """Once there is one, its first minute is."""
    allowance = Allowance(0.1, 60.0)
    allowance.earn(0.0, 0.0)
    assert not allowance.spend(0.0)
    allowance.earn(1.0, 1.0)

    assert allowance.spend(6.0)
