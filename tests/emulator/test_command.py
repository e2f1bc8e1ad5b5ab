"""The command line."""

import argparse

import pytest

from gateway.emulator.command import add_arguments, build, run
from gateway.emulator.faults import Faults
from gateway.emulator.profiles import PROFILES
from tests.support.processes import python, running
from tests.support.servers import Emulators


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_flags_change_the_profile() -> None:
    """A smaller memory shortens the longest context; the rest stays."""
    emulator = build(
        parsed("--profile", "a10g-7b", "--kv-tokens", "1000", "--max-num-seqs", "5000", "--no-prefix-cache")
    )
    profile = emulator.runner.model.profile

    assert (profile.kv_tokens, profile.max_num_seqs, profile.max_model_len) == (1000, 5000, 992)
    assert not profile.prefix_cache
    assert PROFILES["a10g-7b"].a_s == profile.a_s
    assert Faults() == emulator.book.faults


def test_faults_are_flags() -> None:
    """Each field but the seed."""
    faults = build(parsed("--die-after-tokens", "3", "--share", "0.5", "--count", "7")).book.faults

    assert Faults(die_after_tokens=3, share=0.5, count=7) == faults


@pytest.mark.parametrize(
    "words",
    [
        ["--max-model-len", "99999999"],
        ["--status", "200"],
        ["--die-after-tokens", "soon"],
        ["--kv-tokens", "3"],
        ["--host", "256.256.256.256"],
    ],
    ids=" ".join,
)
def test_nonsense_is_told_and_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stderr that names what is wrong."""
    assert run(parsed(*words)) == 2
    assert capsys.readouterr().err.startswith("andante emulate: ")


@pytest.mark.parametrize(
    "words", [["--profile", "z80"], ["--port", "99999"], ["--speed", "0"], ["--speed", "fast"]], ids=" ".join
)
def test_argparse_refuses_what_it_can(words: list[str]) -> None:
    """Before anything starts."""
    with pytest.raises(SystemExit):
        parsed(*words)


def test_profiles_are_listed_with_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    """--list-profiles."""
    assert run(parsed("--list-profiles")) == 0

    told = capsys.readouterr().out
    assert all(name in told and profile.source in told for name, profile in PROFILES.items())


def test_help_explains_every_flag() -> None:
    """Each has a sentence."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)

    assert all(action.help for action in parser._actions)
    assert "--stall-after-tokens" in parser.format_help()


def test_it_serves_until_it_is_told_to_stop(emulator: Emulators) -> None:
    """A ready line with the port it found and the model's name; status 0 after SIGTERM."""
    engine = emulator("--model", "my/model")

    assert engine.model == "my/model"
    assert engine.process.stop() == 0


def test_a_port_in_use_is_an_error(emulator: Emulators) -> None:
    """Not a second server on the same port."""
    port = emulator().url.rsplit(":", 1)[1]
    with running(python("gateway.emulator", "--port", port)) as second:
        assert second.wait() == 2
        assert "andante emulate: " in second.output()
