"""The inputs of a round: the same documents as JSON Lines and as Parquet, in files of equal size, and the tokenizers."""

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from text.samples import sources
from text.varied_text import NATURAL, documents
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

GPT2 = Path(__file__).parents[2] / "data" / "tokenizers" / "gpt2"
EOS = "<|endoftext|>"
FILES = 2
"""Number of files, one per worker of the peers that give whole files to a worker."""
TOKENS = 100_000
"""Vocabulary size of the tokenizer that is trained; its ids need 32 bits."""
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""Pattern by which current tokenizers with vocabularies of this size split text into words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """The files of a round."""

    folder: Path
    documents: int
    text_bytes: int
    """UTF-8 bytes of the documents' text, which all rates refer to."""


def write_inputs(folder: Path, *, megabytes: float, seed: int, new_words: float = NATURAL, only: str | None = None) -> Inputs:
    """Write the documents that belong to a seed, in both formats."""
    folder.mkdir(parents=True, exist_ok=True)
    count = size = 0
    for part in range(FILES):
        name = folder / f"part-{part}"
        schema = pa.schema({"id": pa.string(), "text": pa.string()})
        with name.with_suffix(".jsonl").open("wb") as lines, pq.ParquetWriter(name.with_suffix(".parquet"), schema) as table:
            for block in documents(megabytes=megabytes / FILES, seed=[seed, part], new_words=new_words, only=only):
                ids = [f"{seed}-{part}-{count + i}" for i in range(len(block))]
                rows = (json.dumps({"id": id_, "text": text}, ensure_ascii=False) for id_, text in zip(ids, block, strict=True))
                lines.write(("\n".join(rows) + "\n").encode())
                table.write_table(pa.table({"id": ids, "text": block}, schema=schema))
                count += len(block)
                size += sum(len(text.encode()) for text in block)
    return Inputs(folder=folder, documents=count, text_bytes=size)


def gpt2(folder: Path) -> Path:
    """Return the folder of GPT-2's tokenizer with a ``tokenizer.json``, which the peers need; write it unless it exists."""
    if not (folder / "tokenizer.json").exists():
        AutoTokenizer.from_pretrained(GPT2).save_pretrained(folder)
    return folder


def trained(folder: Path) -> Path:
    """Return the folder of a byte-level BPE of `TOKENS` tokens; train it on the samples unless it exists. It is always the same."""
    if not (folder / "tokenizer.json").exists():
        tokenizer = Tokenizer(models.BPE())
        split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=TOKENS,
            min_frequency=2,
            special_tokens=[EOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator((piece for kind in sources().values() for source in kind for piece in source), trainer)
        if tokenizer.get_vocab_size() <= 0x10000:
            raise ValueError(f"the samples give a tokenizer of {tokenizer.get_vocab_size()} tokens; more than 65,536 are wanted")
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS).save_pretrained(folder)
    return folder


TOKENIZERS = {"GPT-2": gpt2, f"BPE, {TOKENS:,} tokens": trained}
"""Function that returns the folder of each tokenizer, by name."""
