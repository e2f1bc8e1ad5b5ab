"""Make a tiny Llama with random weights, its tokenizer and a chat template, from nothing that is downloaded.

    .engines/vllm/bin/python scripts/engines/make_tiny_model.py FOLDER [--emit words] [--hidden 64 ...]

The tokenizer is trained on the standard library's sources. The answers make no sense, but they are the same
on every run: what a test needs to compare a stream that went through the gateway with one that did not.
"""

import argparse
import os
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

UNKNOWN, START, END, TURN, TURN_END = "<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"
SPECIAL = [UNKNOWN, START, END, TURN, TURN_END]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    f"{TURN}{{{{ message['role'] }}}}\n{{{{ message['content'] }}}}{TURN_END}\n"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{TURN}assistant\n{{% endif %}}"
)
HEAD_SIZE = 32
"""vLLM's attention on the CPU takes multiples of 32."""

SPACE = "\u0120"
"""How byte-level BPE spells a space inside a token."""


def corpus(limit: int = 150) -> Iterator[str]:
    """The first modules of the standard library, by name."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(folder.glob("*.py"))[:limit]:
        yield path.read_text(encoding="utf-8", errors="ignore")


def make_tokenizer(vocabulary: int) -> Tokenizer:
    """Byte-level BPE: every text has tokens, and a token may be half a character."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def is_word(tokenizer: Tokenizer, token: str, number: int) -> bool:
    """A space and letters, and its text gives the same token again."""
    letters = token.removeprefix(SPACE)
    plain = token.startswith(SPACE) and len(letters) > 1 and letters.isascii() and letters.isalpha()
    return plain and tokenizer.encode(tokenizer.decode([number])).ids == [number]


def muted(tokenizer: Tokenizer, emit: str) -> list[int]:
    """The tokens that greedy decoding must never choose.

    Special ones always, so that no answer ends before its limit. In words mode all but whole words, so that
    the text of an answer can be tokenised again without loss.
    """
    numbers = [tokenizer.token_to_id(token) for token in SPECIAL]
    if emit == "words":
        numbers += [n for token, n in tokenizer.get_vocab().items() if not is_word(tokenizer, token, n)]
    return sorted(set(numbers))


def make_model(vocabulary: int, silent: list[int], options: argparse.Namespace) -> LlamaForCausalLM:
    """Random weights, spread wide: with the usual 0.02 the logits lie so close that rounding would choose."""
    torch.manual_seed(options.seed)
    heads = options.hidden // HEAD_SIZE
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=options.hidden,
        intermediate_size=4 * options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        max_position_embeddings=options.context,
        initializer_range=options.std,
        tie_word_embeddings=False,
        bos_token_id=SPECIAL.index(START),
        eos_token_id=SPECIAL.index(END),
        pad_token_id=SPECIAL.index(END),
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[silent] = 0  # logit 0 loses to the best of many random ones
    return model.float()


def save(folder: Path, options: argparse.Namespace) -> None:
    """Write tokenizer and model as one folder that vLLM and transformers read."""
    tokenizer = make_tokenizer(options.vocabulary)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=UNKNOWN, bos_token=START, eos_token=END, pad_token=END
    )
    fast.clean_up_tokenization_spaces = False
    fast.model_max_length = options.context
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    model = make_model(len(fast), muted(tokenizer, options.emit), options)
    model.save_pretrained(folder)
    print(f"{options.folder}: {model.num_parameters():,} parameters, {len(fast)} tokens")


def main() -> None:
    """Read the options; the folder appears only when it is complete."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--emit", choices=["any", "words"], default="any", help="what greedy decoding may choose")
    parser.add_argument("--hidden", type=int, default=64, help=f"a multiple of {HEAD_SIZE}")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--std", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder.parent) as unfinished:
        complete = Path(unfinished) / "model"
        save(complete, options)
        complete.rename(options.folder)


if __name__ == "__main__":
    main()
