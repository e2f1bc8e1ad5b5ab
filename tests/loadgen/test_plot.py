"""Figures show what the records say; the same records draw the same picture."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gateway.core.pace import Pace
from gateway.core.qoe import Delivery
from loadgen import plot
from loadgen.records import JobRecord
from tests.loadgen.test_measures import job, lost

PACE = Pace("reading", 1.0, 5.0)


def lines(figure: Figure) -> dict[str, tuple[list[float], list[float]]]:
    """Label -> what is drawn."""
    drawn = figure.axes[0].get_lines()
    return {
        str(line.get_label()): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in drawn
    }


def test_service_adds_up() -> None:
    """Over all windows a tenant's line holds its service: (100 + 2 * 50)/weight for each job."""
    jobs = [job("a", 0, 5, 65), job("a", 0, 100, 130), job("b", 0, 10, 20, weight=2.0), lost("c")]
    drawn = lines(plot.service_over_time(jobs, window_s=30))

    assert sum(drawn["a"][1]) * 30 == pytest.approx(400)
    assert sum(drawn["b"][1]) * 30 == pytest.approx(100)
    assert "c" not in drawn


def test_many_tenants_are_drawn_together() -> None:
    """The largest seven by name, the rest as one line."""
    jobs = [job(f"c{k}", 0, 1, 2 + k) for k in range(12)]
    drawn = lines(plot.service_over_time(jobs))

    assert len(drawn) == 8
    assert "5 others" in drawn


def test_tenants_stand_as_people_count() -> None:
    """The second before the twelfth."""
    axes = plot.ttft_by_tenant({"fcfs": [job(name) for name in ("m12", "m2", "a", "m")]}).axes[0]

    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "m", "m2", "m12"]


def test_tenants_that_are_left_out_are_told() -> None:
    """Bars for those with most jobs, of how many; nothing to tell of few."""
    many = plot.ttft_by_tenant({"fcfs": [job(f"c{k}") for k in range(20)]}).axes[0]
    few = plot.ttft_by_tenant({"fcfs": [job("a"), job("b")]}).axes[0]

    assert (many.get_xlabel(), few.get_xlabel()) == ("the 12 of 20 tenants with most jobs", "")


def test_a_short_axis_of_times_has_plain_numbers() -> None:
    """Within one decade too, where only small marks are."""
    figure = plot.ttft_distribution({"fcfs": [job("a", 0, 0.02), job("a", 0, 0.06)]})
    axes = figure.axes[0]
    figure.draw_without_rendering()

    assert {"0.02", "0.05"} <= {label.get_text() for label in axes.get_xticklabels(minor=True)}


def test_a_tenants_wait_is_a_bar() -> None:
    """Mean over its jobs in each run; no bar's height for a tenant that never got a token."""
    runs = {"fcfs": [job("a", 0, 2), job("a", 0, 4), job("b", 0, 9)], "vtc": [job("a", 0, 1), lost("b")]}
    axes = plot.ttft_by_tenant(runs).axes[0]

    assert [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)] == [3, 9, 1, 0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]


def test_who_never_got_a_token_counts() -> None:
    """Half of the jobs failed: the curve ends at one half."""
    drawn = lines(plot.ttft_distribution({"fcfs": [job(first_s=3.0), lost()]}))

    assert drawn["fcfs"][0] == [3.0]
    assert drawn["fcfs"][1] == [0.5]


def test_how_many_are_served_so_well() -> None:
    """Of four jobs one is perfect, one at 0.5, two failed."""
    jobs = [dataclasses.replace(job(), qoe=qoe) for qoe in (0.0, 1.0, 0.5, 0.0)]
    qoe, shares = lines(plot.qoe_distribution({"fcfs": jobs}))["fcfs"]

    assert list(zip(qoe, shares, strict=True)) == [(1, 0), (1, 0.25), (0.5, 0.5), (0, 0.75), (0, 1), (0, 1)]


def test_the_timeline_of_a_pause() -> None:
    """20 tokens at once are 4 s of reading, 10 more come at 8 s; the reader is away from 9 to 12 s."""
    figure = plot.job_timeline(PACE, [Delivery(1.0, 20), Delivery(8.0, 10)], away=[(9, 12)], pauses=[(2, 8)])
    drawn = lines(figure)
    times, units = drawn["read"]

    assert np.interp([1, 3, 5, 7.9, 8, 13], times, units) == pytest.approx([0, 10, 20, 20, 20, 30], abs=0.01)
    assert drawn["due"] == ([1.0, 7.0], [0.0, 30.0])
    assert drawn["delivered"][1][-1] == 30


def test_levels_and_policies() -> None:
    """A line for each policy, in order of load, and the goal."""
    drawn = lines(plot.qoe_against_load({"fcfs": [(2, 0.5), (1, 1.0)], "vtc": [(1, 1.0)]}))
    gaps = lines(plot.gap_over_time({"vtc": [(0, 0), (1, 5)]}, bound=40))

    assert drawn["fcfs"] == ([1, 2], [1.0, 0.5])
    assert {"vtc", "bound"} == gaps.keys()


def test_a_picture_is_repeatable(tmp_path: Path) -> None:
    """So that a new one in a repository is a new result; PNG works too."""
    jobs: list[JobRecord] = [dataclasses.replace(job(), index=k) for k in range(3)]
    once, twice = (plot.svg(plot.ttft_distribution({"x": jobs})) for _ in range(2))
    plot.save(plot.ttft_distribution({"x": jobs}), tmp_path / "x.svg")
    plot.save(plot.ttft_distribution({"x": jobs}), tmp_path / "x.png")

    assert once == twice == (tmp_path / "x.svg").read_text()
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
