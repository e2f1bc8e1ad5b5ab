"""A real llama.cpp server: its own streams go on after cuts, and streams move there from vLLM and back."""

import argparse
import os
from typing import Any, Final

import pytest
import uvloop

from gateway import cli_verify
from tests.support.servers import Engine

STREAMS: Final = int(os.environ.get("TEST_MOVED_STREAMS", "8"))


def verify(*engines: tuple[Engine, str], pauses: str, more: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `andante verify-resume` reports of these engines, each with its kind."""
    parser = argparse.ArgumentParser()
    cli_verify.add_arguments(parser)
    named = [word for engine, kind in engines for word in ("--engine", engine.url, "--kind", kind)]
    sizes = ("--streams", str(STREAMS), "--pauses", pauses, "--max-tokens", "800", "--concurrency", "4")
    args = parser.parse_args([*named, "--model", engines[0][0].model, *sizes, *more])
    report: dict[str, Any] = uvloop.run(cli_verify._verify(args))
    print(report)
    return report


@pytest.mark.parametrize("more", [(), ("--completions",)], ids=["chats", "completions"])
def test_streams_of_llama_go_on(llama_server: Engine, more: tuple[str, ...]) -> None:
    """As text, since it tells no ids where a stream begins: all of it comes out as unbroken."""
    report = verify((llama_server, "llamacpp"), pauses="1-3", more=more)
    assert (report["level"], report["streams"], report["exact"]) == ("text", STREAMS, STREAMS)
    assert report["paused"] > STREAMS // 2


def test_streams_move_from_vllm_to_llama_and_back(vllm_server: Engine, llama_server: Engine) -> None:
    """By token ids, in float32: text, ids, usage and finish are those of a stream that stayed at vLLM."""
    report = verify((vllm_server, "vllm"), (llama_server, "llamacpp"), pauses="2-2")
    assert report["exact"] == STREAMS
    assert report["pauses"] > STREAMS
