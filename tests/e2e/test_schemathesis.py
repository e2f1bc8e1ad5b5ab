"""Requests made from the gateway's own description: whatever is sent, the answer is one that the description names.

Real processes: an emulated engine that takes any length, and a gateway before it. schemathesis runs as its users run
it, with all of its phases (examples, coverage, fuzzing, stateful) and all of its checks.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx2
import pytest

from tests.e2e.schemathesis_hooks import STREAM_VARIABLE
from tests.support.processes import ROOT
from tests.support.servers import MODEL, Emulators, Gateway, Gateways

ADMIN = "an-admin-key-that-is-long"
EXAMPLES = 100
TIMEOUT_S = 400.0
PARTS = {
    # Apart, because a run that has found the key that it works with may well revoke it.
    "serving": ("--exclude-path-regex", "^/admin"),
    "administering": ("--include-path-regex", "^/admin"),
}
WITHOUT_INPUT = {"GET /healthz", "GET /readyz", "GET /metrics"}
"""Nothing to generate: one request is all there is."""

NEEDS_MORE = {"DELETE /admin/engines/{engine_id}"}
"""Only a drained engine leaves, and few names are those of engines: tests/e2e/test_engines.py does that."""


@pytest.fixture
def served(gateway: Gateways, emulator: Emulators) -> Gateway:
    """A gateway with an admin key."""
    engines = [emulator("--max-model-len", "8000000", "--kv-tokens", "80000000") for _ in range(2)]
    return gateway(engines, env={"ANDANTE_AUTH__ADMIN_KEY": ADMIN}, streams={"window_s": TIMEOUT_S})


@pytest.mark.parametrize("part", PARTS)
def test_every_answer_is_one_that_the_description_names(served: Gateway, tmp_path: Path, part: str) -> None:
    """No 500, no failed check, and enough examples of every operation to mean it."""
    report = tmp_path / "report.ndjson"
    run = subprocess.run(
        [*command(served, settings(served, tmp_path), report), *PARTS[part]],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "NO_COLOR": "1", STREAM_VARIABLE: stream_of(served)},
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    answers = answers_of(report)

    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:] + served.process.output()[-5_000:]
    assert {status for seen in answers.values() for status in seen if status >= 500} == set()
    described = operations(served, admin=part == "administering")
    few = {name for name in described if answers[name].total() < EXAMPLES}
    assert few - WITHOUT_INPUT - NEEDS_MORE == set()
    good = {name for name in described if any(200 <= status < 300 for status in answers[name])}
    assert described - good - NEEDS_MORE == set()


def stream_of(served: Gateway) -> str:
    """The id of a resumable stream that has ended."""
    body = {"model": MODEL, "prompt": "x", "max_tokens": 3, "stream": True}
    headers = {**served.headers, "x-stream-resumable": "1"}
    answer = httpx2.post(f"{served.url}/v1/completions", json=body, headers=headers, trust_env=False)
    return answer.headers["x-stream-id"]


def command(served: Gateway, config: Path, report: Path) -> list[str]:
    """schemathesis, told where the gateway is."""
    schemathesis = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)]
    examples = ["--max-examples", str(EXAMPLES), "--checks", "all", "--seed", "1"]
    return [*schemathesis, "run", f"{served.url}/openapi.json", *examples, "--report-ndjson-path", str(report)]


def settings(served: Gateway, folder: Path) -> Path:
    """Its configuration: the keys of every security scheme, and our hooks."""
    tables = {
        "auth.openapi.ApiKey": {"bearer": served.key},
        "auth.openapi.ApiKeyHeader": {"api_key": served.key},
        "auth.openapi.AdminKey": {"bearer": ADMIN},
    }
    lines = [f"hooks = {json.dumps(str(Path(__file__).with_name('schemathesis_hooks.py')))}"]
    for name, values in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    path = folder / "schemathesis.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def operations(served: Gateway, *, admin: bool) -> set[str]:
    """What the gateway says that it has."""
    described = json.loads(httpx2.get(f"{served.url}/openapi.json", trust_env=False).content)
    return {
        f"{method.upper()} {path}"
        for path, methods in described["paths"].items()
        for method in methods
        if path.startswith("/admin") is admin
    }


def answers_of(report: Path) -> dict[str, Counter[int]]:
    """How often each operation answered with which status, from the run's report of events."""
    answers: dict[str, Counter[int]] = {}
    for line in report.read_text(encoding="utf-8").splitlines():
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        for name, interaction in recorder.get("interactions", {}).items():
            case = recorder["cases"][name]["value"]
            seen = answers.setdefault(f"{case['method']} {case['path']}", Counter())
            seen[interaction["response"]["status_code"]] += 1
    return answers
