"""Named engines: what an iteration costs and how much fits. Each profile says where its figures come from.

An iteration takes `a + b*B + c*context_tokens + prefill_tokens/prefill_rate` seconds for a batch of B sequences.
"Published" figures stand in the named paper or its code; "derived" ones are computed from them or from the model's
size and the device's data sheet; "assumed" ones are round numbers of the right order. Only `cpu-tiny` was
measured by this project.
"""

from dataclasses import dataclass

from gateway.emulator.blocks import BLOCK_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One engine.

    `a_s` seconds an iteration, `b_s` seconds for each sequence in it, `c_s` seconds for each token of context read,
    `prefill_tokens_per_s` prompt tokens computed a second, `kv_tokens` tokens of context that fit in memory at once,
    `max_num_seqs` sequences that run at once, `max_model_len` tokens of prompt and answer together,
    `max_batched_tokens` tokens computed in one iteration (longer prompts are prefilled in chunks).
    ValueError when the figures contradict each other.
    """

    name: str
    source: str
    a_s: float
    b_s: float
    c_s: float
    prefill_tokens_per_s: float
    kv_tokens: int
    max_num_seqs: int
    max_model_len: int
    max_batched_tokens: int
    prefix_cache: bool = True

    def __post_init__(self) -> None:
        if min(self.a_s, self.b_s, self.c_s) < 0 or self.prefill_tokens_per_s <= 0:
            raise ValueError(f"profile {self.name}: times must not be negative, the prefill rate must be positive")
        if min(self.max_num_seqs, self.max_model_len) < 1 or self.kv_tokens < BLOCK_TOKENS:
            raise ValueError(f"profile {self.name}: sizes must be positive, kv_tokens at least {BLOCK_TOKENS}")
        if self.max_model_len > self.blocks * BLOCK_TOKENS:
            raise ValueError(f"profile {self.name}: max_model_len {self.max_model_len} exceeds the KV blocks")
        if self.max_batched_tokens < self.max_num_seqs:
            raise ValueError(f"profile {self.name}: max_batched_tokens is below max_num_seqs")

    @property
    def blocks(self) -> int:
        """KV blocks in the pool."""
        return self.kv_tokens // BLOCK_TOKENS

    def iteration_s(self, batch: int, context_tokens: int, prefill_tokens: int) -> float:
        """Seconds that one iteration takes."""
        return self.a_s + self.b_s * batch + self.c_s * context_tokens + prefill_tokens / self.prefill_tokens_per_s


A10G_7B = Profile(
    name="a10g-7b",
    source="Llama-2-7B on one A10G as in the VTC paper (Sheng et al., OSDI 2024) and its artifact. Published: pool of"
    " 10,000 tokens, 1000 sequences, prefill batches of at most 3072 tokens, and the profiled cost h(n_p, n_q), whose"
    " 0.21 ms a prompt token gives the prefill rate and whose 0.1 ms a token gives b. Derived: c from 0.5 MB of KV a"
    " token at 600 GB/s, a so that 19 sequences of 384 tokens decode in 42 ms, as the artifact does.",
    a_s=0.0337,
    b_s=0.0001,
    c_s=0.87e-6,
    prefill_tokens_per_s=4760.0,
    kv_tokens=10_000,
    max_num_seqs=1000,
    max_model_len=4096,
    max_batched_tokens=3072,
)

A100X4_66B = Profile(
    name="a100x4-66b",
    source="OPT-66B on four A100 80GB as in Andes v1 (arXiv 2404.16283v1, evaluation). Derived: 56,000 tokens of KV"
    " from 2.36 MB a token beside 132 GB of weights, prefill at half of the four devices' peak. a, b and c are fitted"
    " by hand so that about 140 sequences of 400 tokens decode in 155 ms: the median speed of 6.45 tokens/s that"
    " Andes v1 is said to report for vLLM under load, a figure known at second hand. Assumed: 256 sequences.",
    a_s=0.040,
    b_s=0.00064,
    c_s=0.45e-6,
    prefill_tokens_per_s=4500.0,
    kv_tokens=56_000,
    max_num_seqs=256,
    max_model_len=2048,
    max_batched_tokens=4096,
)

A100X8_MOE = Profile(
    name="a100x8-moe",
    source="Phi-3.5-MoE on eight A100 40GB as in Andes v2 (arXiv 2404.16283v2, motivation and evaluation). Published"
    " by its code: 20 ms a token on a quiet engine (a), 33 us a prompt token (prefill), 54,126 KV blocks of an A100"
    " run (not said to be this model's). b and c are fitted by hand so that 256 sequences of 1,500 tokens decode in"
    " 90 ms, the 11 tokens/s of the paper's burst. Assumed: vLLM's default of 256 sequences.",
    a_s=0.020,
    b_s=0.0002,
    c_s=0.05e-6,
    prefill_tokens_per_s=30_000.0,
    kv_tokens=54_126 * BLOCK_TOKENS,
    max_num_seqs=256,
    max_model_len=32_768,
    max_batched_tokens=8192,
)

H100_8B = Profile(
    name="h100-8b",
    source="An 8B model with grouped-query attention (128 KiB of KV a token, bf16) on one H100 80GB. Derived from the"
    " data sheet: 16 GB of weights and the KV read at about 80 % of 3.35 TB/s, prefill at 45 % of the dense bf16"
    " peak, KV in what is left of 90 % of memory. Assumed: b, 256 sequences, 8192 tokens an iteration.",
    a_s=0.006,
    b_s=0.00002,
    c_s=0.05e-6,
    prefill_tokens_per_s=27_000.0,
    kv_tokens=396_800,
    max_num_seqs=256,
    max_model_len=32_768,
    max_batched_tokens=8192,
)

CPU_TINY = Profile(
    name="cpu-tiny",
    source="vLLM 0.32 on a CPU with a tiny random model in fp32, as this project measured it: 558, 548, 348 and 119"
    " tokens/s a stream at 1, 4, 16 and 64 streams, to which a and b are fitted by hand (the line gives 660, 550, 320"
    " and 120); prefill from 896 tokens computed in 6 ms. Assumed: no cost of context, the sizes.",
    a_s=0.0014,
    b_s=0.000108,
    c_s=0.0,
    prefill_tokens_per_s=150_000.0,
    kv_tokens=65_536,
    max_num_seqs=128,
    max_model_len=4096,
    max_batched_tokens=2048,
)

FAST = Profile(
    name="fast",
    source="No machine: 1 ms an iteration whatever is in it, and room enough, so that tests end soon. Assumed.",
    a_s=0.001,
    b_s=0.0,
    c_s=0.0,
    prefill_tokens_per_s=1_000_000.0,
    kv_tokens=262_144,
    max_num_seqs=256,
    max_model_len=32_768,
    max_batched_tokens=8192,
)

PROFILES: dict[str, Profile] = {
    profile.name: profile for profile in (A10G_7B, A100X4_66B, A100X8_MOE, H100_8B, CPU_TINY, FAST)
}
