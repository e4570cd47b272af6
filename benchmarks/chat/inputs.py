"""The conversations of a round, and a tokenizer with a chat template."""

import json
from collections.abc import Iterator
from pathlib import Path

from text.varied_text import documents
from transformers import AutoTokenizer

GPT2 = Path(__file__).parents[2] / "data" / "tokenizers" / "gpt2"
TURNS = 4
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
)


def write_conversations(file: Path, *, count: int, size: int, seed: int) -> None:
    """Write conversations of about `size` bytes of text each as JSON Lines; they depend only on the seed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pieces = _pieces(size // TURNS, count * size / 1e6, seed)
    with file.open("w", encoding="utf-8") as lines:
        for _ in range(count):
            messages = [{"role": ("user", "assistant")[turn % 2], "content": next(pieces)} for turn in range(TURNS)]
            lines.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")


def _pieces(size: int, megabytes: float, seed: int) -> Iterator[str]:
    """Yield pieces of text of about a number of bytes."""
    part = 0
    while True:
        for block in documents(megabytes=megabytes, seed=[seed, part]):
            for text in block:
                yield from (text[start : start + size] for start in range(0, len(text), size) if start + size <= len(text))
        part += 1


def tokenizer(folder: Path) -> Path:
    """Return the folder of GPT-2's tokenizer with a chat template and its special tokens; write it unless it is there."""
    if not (folder / "tokenizer.json").exists():
        made = AutoTokenizer.from_pretrained(GPT2)
        made.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        made.chat_template = TEMPLATE
        made.save_pretrained(folder)
    return folder
