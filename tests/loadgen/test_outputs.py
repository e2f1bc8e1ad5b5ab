"""Files that commands write: the folder is made, and what cannot be written is said before the work."""

import json
from pathlib import Path

import pytest

from loadgen.cli import main
from loadgen.measures import summarise
from loadgen.records import write_records
from tests.loadgen.test_measures import job

SIMULATE = ("simulate", "--scenario", "vtc_overload", "--set", "duration_s=10", "--policy", "fcfs")
STUDY = ("study", "speed", "--quick")


@pytest.fixture
def reported(tmp_path: Path) -> tuple[str, ...]:
    """`report` of a run."""
    jobs = [job("a", 0, 1, 11)]
    write_records(tmp_path / "jobs.csv", jobs)
    (tmp_path / "out.json").write_text(json.dumps({"config": {}, "policies": {"live": summarise(jobs)}}))
    return ("report", str(tmp_path / "out.json"), "--records", str(tmp_path / "jobs.csv"))


def test_the_folders_of_files_are_made(reported: tuple[str, ...], tmp_path: Path) -> None:
    """By each command, for each of its files."""
    new = tmp_path / "new" / "folders"
    files = {name: new / name for name in ("page.html", "vllm.json", "sim.json", "sim.csv", "sim.html", "sim.svg")}
    page, vllm, *simulated, curve = map(str, files.values())
    search = ("--engine", "a10g-7b", "--low", "0.5", "--high", "0.5", "--svg", curve)

    assert main([*reported, "--html", page, "--vllm", vllm, "--figures", str(new / "figures")]) == 0
    flags = [word for pair in zip(("--json", "--records", "--html"), simulated, strict=True) for word in pair]
    assert main([*SIMULATE, *flags, "--figures", str(new / "more")]) == 0
    assert main(["saturate", *SIMULATE[1:], *search]) in (0, 2)
    assert [name for name, file in files.items() if not file.is_file()] == []
    assert list((new / "figures").iterdir())
    assert list((new / "more").iterdir())


@pytest.mark.parametrize("where", ["/dev/null/sub/file", "/dev"])
@pytest.mark.parametrize("option", ["--html", "--vllm", "--json", "--records", "--svg", "--figures", "--out"])
def test_what_cannot_be_written_is_one_line(
    reported: tuple[str, ...], where: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of every command that has the option; nothing is measured or printed before."""
    commands = {"--html": [reported, SIMULATE], "--vllm": [reported], "--figures": [reported, SIMULATE]}
    commands |= {"--json": [SIMULATE], "--records": [SIMULATE], "--out": [STUDY]}
    commands["--svg"] = [("saturate", *SIMULATE[1:], "--engine", "a10g-7b")]
    folder = option in ("--figures", "--out")
    for command in commands[option]:
        assert main([*command, option, "/dev/null/sub" if folder else where]) == 1

        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"{command[0]}: /dev")
        assert printed.err.count("\n") == 1
