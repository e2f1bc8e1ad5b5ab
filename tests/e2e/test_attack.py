"""`python -m loadgen attack` as a program, through the gateway and at a bare engine."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest

from loadgen.attack import INTERRUPTED
from loadgen.records import JobRecord, read_records
from tests.support.processes import python
from tests.support.servers import MODEL, Emulators, Engine, Gateways
from tests.support.terminal import Terminal

ADMIN = "an-admin-key-for-a-test"
SCENARIO = """
title = "a few"
source = "a test"
[[tenants]]
client = "c"
count = 3
weight = 2
phases = [{ length_s = 2, rate = 4 }]
input_tokens = { low = 30, high = 90 }
output_tokens = { low = 5, high = 25 }
"""


def attack(folder: Path, *words: str, scenario: str = SCENARIO) -> tuple[dict[str, Any], list[JobRecord], str]:
    """Its result, its records and what it printed."""
    (folder / "few.toml").write_text(scenario)
    out, rows = folder / "out.json", folder / "jobs.csv.gz"
    command = python("loadgen", "attack", "--scenario", str(folder / "few.toml"), "--json", str(out), *words)
    done = subprocess.run(
        [*command, "--records", str(rows)], capture_output=True, text=True, timeout=60, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), list(read_records(rows)), done.stdout


def test_through_the_gateway_with_a_key_for_each_client(emulator: Emulators, gateway: Gateways, tmp_path: Path) -> None:
    """Keys are made with the clients' weights and revoked; lengths are exact; nothing of the secrets is written."""
    engine = emulator()
    served = gateway([engine], env={"ANDANTE_AUTH__ADMIN_KEY": ADMIN})
    words = ("--target", f"{served.url}/v1", "--admin-key", ADMIN, "--model", engine.model, "--pace", "reading")
    result, records, printed = attack(tmp_path, *words)
    figures = result["policies"]["live"]
    headers = {"authorization": f"Bearer {ADMIN}"}
    answer = httpx2.get(f"{served.url}/admin/keys", headers=headers, trust_env=False, verify=False)
    made = [key for key in answer.json()["data"] if key["name"].startswith("load ")]

    assert figures["outcomes"] == {"finished": len(records)}
    assert all(record.produced == record.output_tokens for record in records)
    assert all(30 <= record.input_tokens <= 90 for record in records)
    assert all(record.started_s is not None for record in records)
    assert figures["avg_qoe"] > 0.5
    assert figures["tokens_counted_by"] == {"ids": len(records)}
    assert {(key["tenant"], key["weight"]) for key in made} == {(f"c{k}", 2.0) for k in (1, 2, 3)}
    assert all(key["revoked_at"] is not None for key in made)
    assert ADMIN not in json.dumps(result)
    assert "average QoE" in printed


def test_readers_who_go_and_come_back(emulator: Emulators, gateway: Gateways, tmp_path: Path) -> None:
    """Every one of them again and again, on an engine of 100 tokens a second: nothing is lost, nothing comes twice.

    Who goes before the stream has said its id cannot come back.
    """
    served = gateway([emulator(speed=0.1)])
    readers = "readers = { returning = 1.0, stays_s = 0.1, gone_s = 0.1 }\n"
    longer = SCENARIO.replace("{ low = 5, high = 25 }", "80") + readers
    words = ("--target", served.url, "--key", served.key, "--model", MODEL, "--pace", "machine", "--timeout-s", "20")
    result, records, _ = attack(tmp_path, *words, scenario=longer)
    figures = result["policies"]["live"]

    stayed = [record for record in records if record.error != "nothing to come back to"]
    assert {(record.outcome, record.produced) for record in stayed} == {("finished", 80)}
    assert figures["came_back"] > len(stayed) > len(records) / 2
    assert (figures["lost_text"], figures["doubled_text"]) == (0, 0)


def test_a_bare_engine_by_two_processes(emulator: Emulators, tmp_path: Path) -> None:
    """Completions in OpenAI's own fields, shared by two processes: every job once."""
    engine = emulator()
    words = ("--target", engine.url, "--model", engine.model, "--completions", "--plain", "--processes", "2")
    result, records, _ = attack(tmp_path, *words)

    assert [record.index for record in records] == list(range(len(records)))
    assert result["policies"]["live"]["tokens_counted_by"] == {"usage": len(records)}
    assert {record.outcome for record in records} == {"finished"}


def test_progress_of_several_processes_is_the_sum(emulator: Emulators, tmp_path: Path) -> None:
    """On a terminal, which sees all that they sent and none of them alone."""
    engine = emulator()
    (tmp_path / "few.toml").write_text(SCENARIO)
    words = ("--scenario", str(tmp_path / "few.toml"), "--target", engine.url, "--model", engine.model)
    with Terminal([*python("loadgen", "attack", *words), "--processes", "3", "--json", str(tmp_path / "o")]) as shown:
        text = shown.until_closed()
    jobs = json.loads((tmp_path / "o").read_text())["policies"]["live"]["jobs"]

    assert shown.status == 0
    assert re.findall(r"sent (\d+)/(\d+)", text)[-1] == (str(jobs), str(jobs))


@pytest.mark.parametrize("processes", ["1", "3"])
def test_ctrl_c_gives_the_figures_of_what_was_sent(emulator: Emulators, tmp_path: Path, processes: str) -> None:
    """Of one process and of several, where everybody in the terminal gets the signal."""
    engine = emulator()
    (tmp_path / "few.toml").write_text(SCENARIO.replace("length_s = 2", "length_s = 600"))
    words = ("--scenario", str(tmp_path / "few.toml"), "--target", engine.url, "--model", engine.model)
    with Terminal([*python("loadgen", "attack", *words), "--processes", processes]) as shown:
        shown.until(r"sent [1-9]\d*/")
        shown.type(b"\x03")
        text = shown.until_closed()

    assert shown.status == INTERRUPTED
    assert "average QoE" in text
    assert re.search(r"interrupted: the figures are of the \d+ of \d+ requests that were sent", text)
    assert "Traceback" not in text


def test_a_real_vllm(vllm_server: Engine, tmp_path: Path) -> None:
    """Unchanged: exact lengths of prompts and answers, in vLLM's own count, and tokens by their ids."""
    result, records, _ = attack(
        tmp_path, "--target", vllm_server.url, "--model", vllm_server.model, "--pace", "machine"
    )

    assert {record.outcome for record in records} == {"finished"}
    assert all(record.produced == record.output_tokens for record in records)
    assert all(25 <= record.input_tokens <= 95 for record in records)
    assert result["policies"]["live"]["tokens_counted_by"] == {"ids": len(records)}


def test_the_highest_load_is_found(emulator: Emulators, tmp_path: Path) -> None:
    """Four streams of 50 tokens a second: 25-token answers for 8 readers a second; a curve is written and drawn."""
    engine = emulator("--max-num-seqs", "4", speed=0.05)
    steady = SCENARIO.replace("length_s = 2", "length_s = 1.5").replace("{ low = 5, high = 25 }", "25")
    (tmp_path / "steady.toml").write_text(steady)
    out, figure = tmp_path / "out.json", tmp_path / "curve.svg"
    command = python("loadgen", "saturate", "--scenario", str(tmp_path / "steady.toml"), "--target", engine.url)
    bounds = ("--model", engine.model, "--low", "0.3", "--high", "4.8", "--steps", "1", "--pace", "1:10")
    files = ("--json", str(out), "--svg", str(figure))
    done = subprocess.run([*command, *bounds, *files], capture_output=True, text=True, timeout=90, check=False)

    assert done.returncode == 0, done.stderr
    curve = json.loads(out.read_text())["policies"]["live"]["load_curve"]
    assert curve[0][1] >= 0.95 > curve[-1][1]
    assert "holds up to" in done.stdout
    assert figure.read_text().startswith("<?xml")


def test_a_server_that_refuses_is_said_in_one_line(emulator: Emulators, gateway: Gateways, tmp_path: Path) -> None:
    """Before anything is sent: a wrong key, a wrong address."""
    served = gateway([emulator()])
    (tmp_path / "few.toml").write_text(SCENARIO)
    for target in (served.url, "http://127.0.0.1:1", "nonsense"):
        command = python("loadgen", "attack", "--scenario", str(tmp_path / "few.toml"), "--target", target)
        done = subprocess.run(
            [*command, "--model", "andante-emulated", "--key", "sk-wrong"], capture_output=True, timeout=60, check=False
        )

        assert done.returncode == 1
        assert done.stderr.count(b"\n") == 1, done.stderr
