"""Reports: tables, confidence intervals, a page that needs nothing else, vLLM's shape."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from loadgen import tables
from loadgen.cli import main
from loadgen.measures import summarise
from loadgen.records import write_records
from loadgen.report import figures_of
from loadgen.vllm_shape import vllm_result
from tests.loadgen.test_measures import job, lost


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """Two policies, with a series for the gap."""
    jobs = [job("a", 0, 1, 11), job("b", 1, 2, 12), lost("b")]
    figures = summarise(jobs, 123.0, [0.5])
    path = tmp_path / "out.json"
    policies = {"fcfs": {**figures, "gap_series": [[0, 0], [1, 123]]}, "vtc": {**figures, "max_service_gap": 10.0}}
    path.write_text(json.dumps({"config": {"seed": 1, "note": "<b>"}, "policies": policies}))
    write_records(tmp_path / "fcfs.csv", jobs)
    return path


def figures(qoe: float) -> dict[str, Any]:
    return {"avg_qoe": qoe, "jobs": 3}


def test_policies_stand_side_by_side(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row only where somebody knows the figure; unknown is a dash, not a zero."""
    assert main(["report", str(result)]) == 0
    text = capsys.readouterr().out

    assert text.splitlines()[0].split() == ["fcfs", "vtc"]
    assert [line.split()[-2:] for line in text.splitlines() if "largest service gap" in line] == [["123", "10"]]
    assert "service difference" not in text


def test_markdown_is_a_table(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Head, rule, rows of the same width."""
    assert main(["report", "--markdown", str(result)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()

    assert lines[0] == "|  | fcfs | vtc |"
    assert lines[1] == "| --- | ---: | ---: |"
    assert {line.count("|") for line in lines} == {4}


def test_a_page_needs_no_other_file(result: Path, tmp_path: Path) -> None:
    """Every image is inside, nothing is loaded, and what comes from a file is escaped."""
    page = tmp_path / "page.html"
    records = f"fcfs={tmp_path / 'fcfs.csv'}"
    assert main(["report", str(result), "--records", records, "--html", str(page)]) == 0
    text = page.read_text()
    sources: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in {"script", "link", "b"}
            sources.extend(value or "" for name, value in attrs if name in {"src", "href"})

    Reader().feed(text)

    assert "quality of experience: 1 for a reader who never waited" in text
    assert len(sources) == 5
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)


def test_figures_as_files(result: Path, tmp_path: Path) -> None:
    """Named by what they show."""
    assert main(["report", str(result), "--figures", str(tmp_path / "figures")]) == 0

    found = {path.name for path in (tmp_path / "figures").iterdir()}
    assert found == {f"service-gap-between-backlogged-tenants.{kind}" for kind in ("svg", "png")}


def test_vllms_shape_by_hand() -> None:
    """Two that finished, one rejected: rates over the run, TPOT without the first token, milliseconds."""
    shape = vllm_result([job("a", 0, 1, 11), job("b", 1, 3, 8), lost("b")], {"itl_p99_ms": 7.0})

    assert (shape["completed"], shape["failed"], shape["duration"]) == (2, 1, 11)
    assert shape["output_throughput"] == pytest.approx(100 / 11)
    assert shape["mean_ttft_ms"] == 1500
    assert shape["mean_tpot_ms"] == pytest.approx((10 + 5) / 2 / 49 * 1000)
    assert shape["median_e2el_ms"] == 9000
    assert shape["p99_itl_ms"] == 7.0
    assert shape["errors"] == ["", "", "rejected"]


def test_vllms_shape_as_a_file(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one run; without records it is refused."""
    out = tmp_path / "vllm.json"
    records = f"fcfs={tmp_path / 'fcfs.csv'}"

    assert main(["report", str(result), "--records", records, "--vllm", str(out)]) == 0
    assert json.loads(out.read_text())["completed"] == 2
    assert main(["report", str(result), "--vllm", str(out)]) == 1
    assert "one --records" in capsys.readouterr().err


def test_repeats_have_a_confidence_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three runs of A: mean 0.8, s = 0.1, so 4.303 * 0.1 / sqrt(3) = 0.248; one of B has none."""
    words = []
    for name, qoe in (("a1", 0.7), ("a2", 0.8), ("a3", 0.9), ("b", 0.5)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"config": {}, "policies": {"live": figures(qoe)}}))
        words.append(f"{name[0].upper()}={path}")
    assert main(["compare", *words]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[0].split() == ["A", "(3)", "B", "(1)"]
    assert "0.800 ± 0.248" in lines[2]
    assert lines[2].endswith("  0.500")


def test_students_t_meets_the_normal() -> None:
    """The approximation goes on where the table ends, and falls towards 1.96."""
    widths = [tables.interval([0.0, 2.0] * (n // 2)) * (n * (n - 1) / n) ** 0.5 for n in (10, 14, 16, 30, 1000)]

    assert widths == sorted(widths, reverse=True)
    assert widths[2] == pytest.approx(2.131, abs=0.005)
    assert widths[-1] == pytest.approx(1.962, abs=0.003)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("{", "Expecting property name"),
        ("[]", "it has no policies"),
        ('{"policies": 1}', "no policies"),
    ],
)
def test_a_bad_file_is_one_line(
    tmp_path: Path, text: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And exit status 1, for both commands."""
    path = tmp_path / "bad.json"
    if text is not None:
        path.write_text(text)
    for command in ("report", "compare"):
        assert main([command, str(path)]) == 1
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_records_belong_to_a_policy(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of several policies it must be said which."""
    for word in (str(tmp_path / "fcfs.csv"), f"lcf={tmp_path / 'fcfs.csv'}"):
        assert main(["report", str(result), "--records", word]) == 1
        assert "polic" in capsys.readouterr().err


def test_nothing_is_told_of_tenants_who_come_once() -> None:
    """In a burst of strangers each request is a tenant of its own."""
    strangers = figures_of({}, {"fcfs": [job("a"), job("b")]})
    friends = figures_of({}, {"fcfs": [job("a"), job("a"), job("b")]})

    assert set(strangers) == {"Quality of experience", "Time to first token"}
    assert set(friends) - set(strangers) == {"Time to first token per tenant", "Service per tenant, fcfs"}
