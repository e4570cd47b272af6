"""A byte-level tokenizer that needs no training: every byte is a token. Used in new data folders and in tests."""

import json
from pathlib import Path

from phyagi_assets.errors import translate_missing_packages

END_OF_TEXT = "<|endoftext|>"


def save_byte_tokenizer(folder: Path) -> None:
    """Write a tokenizer with the 256 bytes and an EOS to a folder that ``AutoTokenizer.from_pretrained`` can load."""
    with translate_missing_packages():
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT, "model_max_length": 1 << 20}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
