"""The emulator's state in Prometheus' text format, under the names that vLLM uses."""

from collections.abc import Iterator, Sequence

from gateway.emulator.blocks import BLOCK_TOKENS
from gateway.emulator.runner import Runner

Labels = dict[str, str]


def exposition(runner: Runner, model_name: str) -> str:
    """The body of `GET /metrics`."""
    return "".join(_families(runner, {"engine": "0", "model_name": model_name}))


def _families(runner: Runner, labels: Labels) -> Iterator[str]:
    model = runner.model
    totals, profile = model.totals, model.profile
    yield _one("gauge", "vllm:num_requests_running", "Requests in the batch.", labels, model.running)
    yield _one("gauge", "vllm:num_requests_waiting", "Requests that had no room.", labels, model.queued)
    yield _one("gauge", "vllm:kv_cache_usage_perc", "Share of KV blocks in use, 0..1.", labels, model.kv_usage)
    counters = (
        ("vllm:num_preemptions_total", "Preemptions for want of KV blocks.", totals.preemptions),
        ("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.", totals.prefix_queries),
        ("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.", totals.prefix_hits),
        ("vllm:prompt_tokens_total", "Prompt tokens of admitted requests.", totals.prompt_tokens),
        ("vllm:generation_tokens_total", "Tokens generated.", totals.generation_tokens),
        ("emulator:aborted_requests_total", "Requests whose client left before the end.", runner.aborted),
    )
    for name, text, value in counters:
        yield _one("counter", name, text, labels, value)
    ended = [(labels | {"finished_reason": reason}, count) for reason, count in sorted(runner.finished.items())]
    yield _family("counter", "vllm:request_success_total", "Answers that came to an end.", ended)
    config = {
        "block_size": str(BLOCK_TOKENS),
        "enable_prefix_caching": str(profile.prefix_cache),
        "num_gpu_blocks": str(profile.blocks),
    }
    yield _family("gauge", "vllm:cache_config_info", "The cache's configuration.", [({"engine": "0"} | config, 1)])
    yield _one("gauge", "emulator:max_waiting", "The most requests that ever had no room.", labels, totals.max_waiting)


def _one(kind: str, name: str, text: str, labels: Labels, value: float) -> str:
    return _family(kind, name, text, [(labels, value)])


def _family(kind: str, name: str, text: str, samples: Sequence[tuple[Labels, float]]) -> str:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        shown = ",".join(f'{key}="{_escape(label)}"' for key, label in labels.items())
        lines.append(f"{name}{{{shown}}} {value}")
    return "\n".join(lines) + "\n"


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
