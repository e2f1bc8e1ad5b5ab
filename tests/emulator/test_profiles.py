"""The named profiles."""

from dataclasses import replace

import pytest

from gateway.emulator.model import EngineModel
from gateway.emulator.profiles import PROFILES, Profile


@pytest.mark.parametrize("profile", PROFILES.values(), ids=str)
def test_every_profile_names_its_source(profile: Profile) -> None:
    """Where figures come from is said, and what is not published is called derived, fitted or assumed."""
    assert len(profile.source) > 60
    assert any(word in profile.source for word in ("Derived", "derived", "fitted", "Assumed"))
    assert profile.blocks * 16 <= profile.kv_tokens


@pytest.mark.parametrize(
    ("name", "batch", "context", "seconds"),
    [
        ("a10g-7b", 19, 19 * 384, 0.042),
        ("a100x4-66b", 140, 140 * 400, 0.155),
        ("a100x8-moe", 256, 256 * 1500, 0.090),
        ("cpu-tiny", 16, 0, 1 / 348),
        ("cpu-tiny", 64, 0, 1 / 119),
    ],
)
def test_profiles_meet_the_figures_they_are_fitted_to(name: str, batch: int, context: int, seconds: float) -> None:
    """Within a tenth of the source's figure."""
    assert PROFILES[name].iteration_s(batch, context, 0) == pytest.approx(seconds, rel=0.1)


def test_a10g_serves_as_many_tokens_as_its_paper() -> None:
    """A backlog of 256/256 requests: the artifact's FCFS runs serve 777 to 900 tokens a second, prompts included."""
    model = EngineModel(PROFILES["a10g-7b"])
    for number in range(200):
        model.add(str(number), 256, 256)
    seconds = 0.0
    while (step := model.step()) is not None:
        seconds += step.duration_s

    assert 740 < 200 * 512 / seconds < 950


@pytest.mark.parametrize(
    "changes",
    [
        {"a_s": -1.0},
        {"prefill_tokens_per_s": 0.0},
        {"max_num_seqs": 0},
        {"kv_tokens": 8, "max_model_len": 8},
        {"max_model_len": 10_001},
        {"max_batched_tokens": 999},
    ],
    ids=str,
)
def test_contradictions_are_refused(changes: dict[str, float]) -> None:
    """ValueError names the profile."""
    with pytest.raises(ValueError, match="profile a10g-7b"):
        replace(PROFILES["a10g-7b"], **changes)  # type: ignore[arg-type]
