"""docs/load.md says what the program does: its commands parse, its example works, its tables are complete."""

import re
import shlex
from pathlib import Path

from loadgen.cli import parser
from loadgen.live_figures import Objectives, live_figures
from loadgen.scenarios import load_scenario, scenarios
from loadgen.sender import Outcome
from tests.support.processes import ROOT

PAGE = (ROOT / "docs" / "load.md").read_text(encoding="utf-8")


def test_its_commands_are_commands() -> None:
    """As the program parses them; the first five are the page's promise."""
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]

    assert len(blocks[0].splitlines()) == 5
    for line in lines:
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "loadgen"]
        assert callable(parser().parse_args(words[3:]).run)


def test_its_example_is_a_scenario(tmp_path: Path) -> None:
    """The indented block, as a file of one's own."""
    text = PAGE.partition("This is a whole scenario:\n")[2].partition("\n`readers` may")[0]
    path = tmp_path / "example.toml"
    path.write_text("\n".join(line.removeprefix("    ") for line in text.splitlines()))
    requests = load_scenario(path, overrides={"rate": 1.0}).requests

    assert {request.client for request in requests} == {"person1", "person2", "program"}
    assert {request.weight for request in requests if request.client == "program"} == {2.0}


def test_every_scenario_is_named() -> None:
    """In the table."""
    assert [name for name in scenarios() if f"`{name}`" not in PAGE] == []


def test_every_figure_in_its_table_exists() -> None:
    """Under that name in the result of an attack."""
    table = PAGE.partition("## Figures")[2].partition("## ")[0]
    names = [
        name for row in re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]

    assert len(names) > 15
    assert set(names) <= live_figures(Outcome(), Objectives()).keys()


def test_every_flag_that_it_mentions_exists() -> None:
    """Of one of the commands."""
    options = parser().format_help()
    for command in ("attack", "saturate", "report", "compare", "accuracy", "simulate", "study"):
        actions = next(action for action in parser()._actions if action.choices)
        assert isinstance(actions.choices, dict)
        options += actions.choices[command].format_help()

    assert [flag for flag in re.findall(r"`(--[a-z-]+)", PAGE) if flag not in options] == []
