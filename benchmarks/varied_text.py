"""Text to measure on: the sample corpora, varied, so that no passage comes twice.

Engines remember words; text that merely repeats measures that memory. Here paragraphs are drawn at random, and a share of their
words is changed by two letters: 0.02 leaves natural frequencies of words with a tail of new ones, 1 makes nearly every word new.
"""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

RAW = Path(__file__).parent.parent / "data" / "raw"
LETTERS = "abcdefghijklmnopqrstuvwxyzéüñß"


def write_jsonl(path: Path, *, megabytes: float, new_words: float, seed: int) -> None:
    """Write documents of 1 to 30 paragraphs as JSON Lines, about `megabytes` of them."""
    draw = random.Random(seed)
    paragraphs = [re.split(r"(\W+)", paragraph) for text in _samples() for paragraph in text.split("\n\n")]
    written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < megabytes * 1e6:
            chosen = draw.choices(paragraphs, k=draw.choice([1, 3, 10, 30]))
            text = "\n\n".join("".join(_varied(word, new_words, draw) for word in paragraph) for paragraph in chosen)
            line = json.dumps({"id": f"{seed}-{written}", "text": text}, ensure_ascii=False) + "\n"
            written += len(line.encode())
            file.write(line)


def _samples() -> Iterator[str]:
    for path in sorted((RAW / "shakespeare").glob("*.txt")):
        yield path.read_text(encoding="utf-8")
    for path in sorted((RAW / "factbook").glob("*.jsonl")):
        yield from (json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines())


def _varied(word: str, share: float, draw: random.Random) -> str:
    if len(word) < 3 or not word.isalpha() or draw.random() >= share:
        return word
    letters = list(word)
    for _ in range(2):
        letters[draw.randrange(len(letters))] = draw.choice(LETTERS)
    return "".join(letters)
