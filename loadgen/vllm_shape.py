"""A run as the JSON of vLLM's serving benchmark (`vllm bench serve --save-result`), for tools that read that.

The names and units are vLLM's: times per request in seconds, statistics in milliseconds; TPOT is the time from the
first token to the last over the tokens after the first. Its means are over requests that finished. What one record per
job does not hold (single gaps between tokens, texts) is left empty; inter-token statistics come from the run's figures
where it has them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loadgen.records import JobRecord


def vllm_result(records: Sequence[JobRecord], figures: Mapping[str, Any]) -> dict[str, Any]:
    """The dictionary that vLLM would have saved."""
    done = [
        r for r in records if r.outcome == "finished" and r.first_token_s is not None and r.last_token_s is not None
    ]
    ttft = [_since(r.first_token_s, r.arrived_s) for r in done]
    end_to_end = [_since(r.last_token_s, r.arrived_s) for r in done]
    several = [r for r in done if r.produced > 1]
    tpot = [_since(r.last_token_s, r.first_token_s or 0.0) / (r.produced - 1) for r in several]
    duration = max((r.ended_s or 0.0 for r in records), default=0.0)
    prompt, output = sum(r.input_tokens for r in done), sum(r.produced for r in done)
    return {
        "num_prompts": len(records),
        "duration": duration,
        "completed": len(done),
        "failed": len(records) - len(done),
        "total_input_tokens": prompt,
        "total_output_tokens": output,
        "request_throughput": _rate(len(done), duration),
        "request_goodput": figures.get("goodput_per_s"),
        "output_throughput": _rate(output, duration),
        "total_token_throughput": _rate(prompt + output, duration),
        "input_lens": [r.input_tokens for r in records],
        "output_lens": [r.produced for r in records],
        "ttfts": [_since(r.first_token_s, r.arrived_s) if r.first_token_s is not None else 0.0 for r in records],
        "itls": [],
        "generated_texts": [],
        "errors": ["" if r.outcome == "finished" else r.error or r.outcome for r in records],
        **_statistics("ttft", ttft),
        **_statistics("tpot", tpot),
        **{f"{word}_itl_ms": figures.get(f"itl_{word}_ms") for word in ("mean", "median", "std", "p99")},
        **_statistics("e2el", end_to_end),
    }


def _since(later: float | None, earlier: float) -> float:
    return (later or 0.0) - earlier


def _rate(amount: float, duration_s: float) -> float:
    return amount / duration_s if duration_s else 0.0


def _statistics(name: str, seconds: Sequence[float]) -> dict[str, float]:
    values = np.array(seconds or (0.0,)) * 1000
    return {
        f"mean_{name}_ms": float(values.mean()),
        f"median_{name}_ms": float(np.median(values)),
        f"std_{name}_ms": float(values.std()),
        f"p99_{name}_ms": float(np.percentile(values, 99)),
    }
