"""Small tokenizers for conversations, trained here: byte-level ones, and one like those of SentencePiece."""

import json
import random
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from tests.chat.conversations import SPELLINGS, WORDS

RIGHT_STRIPPED = ("<|end|>", "<|assistant|>")


def train(kind: str) -> Any:
    """Return a ``transformers`` tokenizer: ``plain``, ``changing`` (NFC, BOS added, tokens that take blanks, trimmed) or ``pieces``."""
    import transformers

    tokenizer = _pieces() if kind == "pieces" else _byte_level(kind)
    strips = kind == "changing"
    tokenizer.add_special_tokens(
        [AddedToken(spelled, special=True, normalized=False, rstrip=strips and spelled in RIGHT_STRIPPED) for spelled in SPELLINGS]
    )
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    if strips:
        start = tokenizer.token_to_id("<s>")
        template = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", model_max_length=1 << 30)


def save(kind: str, folder: Path, template: str | None = None) -> Any:
    """Write a tokenizer to a folder, with a chat template if one is given, and return it."""
    tokenizer = train(kind)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_adding_bytes(folder: Path) -> None:
    """Write a tokenizer of bytes that begins every text with an A and trims offsets, as Llama's do."""
    save_byte_tokenizer(folder)
    backend = folder / "tokenizer.json"
    pieces = [{"SpecialToken": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    added = {"A": {"id": "A", "ids": [65], "tokens": ["A"]}}
    processors = [
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        {"type": "TemplateProcessing", "single": pieces, "pair": pieces, "special_tokens": added},
    ]
    saved = {**json.loads(backend.read_text()), "post_processor": {"type": "Sequence", "processors": processors}}
    backend.write_text(json.dumps(saved))


def _text() -> list[str]:
    draw = random.Random(1)
    return [" ".join(draw.choices(WORDS, k=30)) + "\n\n" for _ in range(100)]


def _byte_level(kind: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if kind == "changing":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(_text(), trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False))
    return tokenizer


def _pieces() -> Tokenizer:
    """Return a tokenizer like that of Llama 2: words begin with a mark, and characters that it does not know become bytes."""
    known = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    ascii_text = [text.encode("ascii", "ignore").decode() for text in _text()]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=known, show_progress=False)
    tokenizer.train_from_iterator(ascii_text, trainer)
    return tokenizer
