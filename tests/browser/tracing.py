"""Chromium's own trace of a page: how long its tasks were."""

import json
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, Page

CATEGORIES = ["toplevel", "devtools.timeline"]


@dataclass(frozen=True)
class Task:
    """One task of the page's main thread, in milliseconds: by the clock, and of the processor.

    `parts` has what was done in it, by the clock, the longest first.
    """

    wall_ms: float
    cpu_ms: float
    parts: tuple[tuple[str, float], ...]


def traced(browser: Browser, page: Page, act: Callable[[], None]) -> list[Task]:
    """Do something and list the page's tasks meanwhile, the one that took most of the processor first."""
    browser.start_tracing(page=page, categories=CATEGORIES)
    act()
    events: list[dict[str, Any]] = json.loads(browser.stop_tracing())["traceEvents"]
    mains = {
        (each["pid"], each["tid"])
        for each in events
        if each.get("name") == "thread_name" and each["args"]["name"] == "CrRendererMain"
    }
    here = [each for each in events if each.get("ph") == "X" and (each["pid"], each["tid"]) in mains]
    here.sort(key=lambda each: each["ts"])
    starts = [each["ts"] for each in here]
    tasks = [_task(each, here, starts) for each in here if each["name"].endswith("RunTask")]
    return sorted(tasks, key=lambda task: -task.cpu_ms)


def _task(event: dict[str, Any], here: list[dict[str, Any]], starts: list[float]) -> Task:
    parts: dict[str, float] = {}
    if event["dur"] > 10_000:
        within = slice(bisect_left(starts, event["ts"]), bisect_left(starts, event["ts"] + event["dur"]))
        for each in here[within]:
            parts[each["name"]] = parts.get(each["name"], 0.0) + each["dur"] / 1000
    longest = sorted(parts.items(), key=lambda part: -part[1])[:8]
    return Task(event["dur"] / 1000, event.get("tdur", event["dur"]) / 1000, tuple(longest))
