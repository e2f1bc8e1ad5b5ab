"""Write the tiny model of make_tiny_model.py as a GGUF file, in float32, for llama.cpp's server.

    .engines/llamacpp/bin/python scripts/engines/make_gguf.py FOLDER FILE

Sources: the GGUF specification, llama.cpp's converter. A head's rotary pairs lie side by side there, in halves here.
"""

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def their_name(name: str) -> str:
    """A tensor's name in a GGUF file."""
    part = name.removesuffix(".weight")
    if part in TOP:
        return f"{TOP[part]}.weight"
    number, _, rest = part.removeprefix("model.layers.").partition(".")
    return f"blk.{number}.{LAYER[rest]}.weight"


def interleaved(weights: Any, heads: int) -> Any:
    """Rows of each head from two halves to pairs."""
    rows, *others = weights.shape
    return np.ascontiguousarray(
        weights.reshape(heads, 2, rows // heads // 2, *others).swapaxes(1, 2).reshape(rows, *others)
    )


def write_sizes(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """The shape of the network."""
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def write_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    """Byte-level BPE with GPT-2's way of cutting text into words; nothing is added to a prompt."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    names = [""] * config["vocab_size"]
    kinds = [gguf.TokenType.NORMAL] * config["vocab_size"]
    for text, number in tokenizer["model"]["vocab"].items():
        names[number] = text
    for special in tokenizer["added_tokens"]:
        names[special["id"]], kinds[special["id"]] = special["content"], gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(names)
    writer.add_token_types(kinds)
    writer.add_token_merges(
        [each if isinstance(each, str) else " ".join(each) for each in tokenizer["model"]["merges"]]
    )
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text(encoding="utf-8"))


def main(folder: Path, out: Path) -> None:
    """Convert."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(str(out), "llama")
    write_sizes(writer, config)
    write_tokenizer(writer, folder, config)
    rotary = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, weights in load_file(folder / "model.safetensors").items():
        tensor = weights.astype(np.float32)
        heads = next((count for part, count in rotary.items() if part in name), None)
        writer.add_tensor(their_name(name), tensor if heads is None else interleaved(tensor, heads))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
