"""The demo's comparison is offered where it can run."""

from importlib.machinery import ModuleSpec

import pytest

from gateway import demo_burst


@pytest.mark.parametrize("missing", [None, "loadgen", "numpy", "matplotlib"])
def test_the_comparison_needs_the_load_generator_and_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    """The package alone is installed with the gateway; the libraries of `.[load]` may not be."""
    monkeypatch.setattr(demo_burst, "find_spec", lambda name: None if name == missing else ModuleSpec(name, None))

    assert demo_burst.available() is (missing is None)
