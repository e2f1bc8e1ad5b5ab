"""What `andante verify-resume` makes of pairs of streams."""

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway import cli_verify
from gateway.cli_verify import Outcome, report_of
from tests.support.servers import Emulators


def outcome(*deltas: dict[str, str], ids: list[int] | None = None) -> Outcome:
    made = Outcome()
    for delta in deltas:
        choice: dict[str, Any] = {"delta": delta, "finish_reason": None}
        made.take(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
    made.ids = ids or []
    return made


def test_nothing_is_said_of_tokens_that_nobody_told() -> None:
    """No ids are not equal ids."""
    report = report_of([(outcome({"content": "a"}), outcome({"content": "a"}))])
    assert (report["token_exact"], report["paused_token_exact"], report["text_exact"]) == (None, None, 1)
    report = report_of([(outcome({"content": "a"}, ids=[1]), outcome({"content": "a"}, ids=[2]))])
    assert (report["token_exact"], report["text_exact"], report["exact"]) == (0, 1, 0)


def test_text_in_the_wrong_field_is_not_exact() -> None:
    """A client shows the two differently."""
    whole = outcome({"reasoning": "Hm."}, {"content": "Yes"}, ids=[1, 2])
    for broken in (outcome({"content": "Yes"}, ids=[1, 2]), outcome({"content": "Hm.Yes"}, ids=[1, 2])):
        report = report_of([(whole, broken)])
        assert (report["exact"], report["text_exact"], report["token_exact"]) == (0, 0, 1)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0 where all is exact; a report that cannot be written is said in a sentence."""
    parser = argparse.ArgumentParser()
    cli_verify.add_arguments(parser)
    with ExitStack() as stack:
        url = Emulators(stack)(profile="fast").url
        asked = ["--engine", url, "--streams", "3", "--pauses", "2", "--max-tokens", "30", "--json"]
        assert cli_verify.run(parser.parse_args([*asked, str(tmp_path / "report.json")])) == 0
        assert json.loads((tmp_path / "report.json").read_text())["exact"] == 3
        assert cli_verify.run(parser.parse_args([*asked, str(tmp_path / "nowhere" / "report.json")])) == 2
    assert "cannot be written" in capsys.readouterr().err
