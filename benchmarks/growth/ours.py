"""This project's command on a file of documents of equal length."""

import json
import random
import subprocess
import sys
from pathlib import Path

from contender import Stopwatch, done, given
from measured import PeakMemory

WORDS = ["a", "the", "of", "water", "night", "Market", "running", "seventeen", "(2024)", "naïve", "co-operate", "x=y;", "—", "unbelievably"]
"""Words with their spaces take six bytes on average."""
COMMAND = [sys.executable, "-c", "from phyagi_assets.cli import main; main()", "materialize"]
AT_ONCE = 1_000_000
"""Number of words that are drawn at once."""


def write_documents(path: Path, documents: int, words: int, seed: int) -> int:
    """Write documents of `words` words each, and return the bytes of their text."""
    draw, size = random.Random(seed), 0
    with path.open("w", encoding="utf-8") as file:
        for _ in range(documents):
            file.write('{"text": "')
            for start in range(0, words, AT_ONCE):
                part = " ".join(draw.choices(WORDS, k=min(AT_ONCE, words - start)))
                size += len(part.encode())
                file.write(part)
            file.write('"}\n')
    return size


def declare(data: Path, name: str, tokenizer: str) -> None:
    """Declare a corpus of one file."""
    declaration = f"name: {name}\nsource: {{path: 'raw/{name}.jsonl'}}\ntokenizer: '{tokenizer}'\n"
    (data / "corpora" / f"{name}.yaml").write_text(declaration, encoding="utf-8")


told = given()
data: Path = told.work / "data"
for folder in ("raw", "corpora"):
    (data / folder).mkdir(parents=True)
declare(data, "first", told.tokenizer)
write_documents(data / "raw" / "first.jsonl", 10, 10, told.seed)
command = [*COMMAND, "--data", str(data), "--store", str(data / "store")]
subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # compares the engines, once for the store
declare(data, "measured", told.tokenizer)
size = write_documents(data / "raw" / "measured.jsonl", told.documents, told.words, told.seed)
with Stopwatch() as watch:
    process = subprocess.Popen([*command, "measured"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    memory = PeakMemory(process.pid)
    _, problem = process.communicate()
    peak = memory.stop()
if process.returncode:
    sys.exit(problem.strip().splitlines()[-1])
manifest = json.loads((data / "store" / "measured" / "numpy_cache" / "all" / "manifest.json").read_text(encoding="utf-8"))
done(
    watch,
    documents=told.documents,
    text_bytes=size,
    tokens=manifest["counts"]["train"]["tokens"],
    command_peak_mb=peak / 1e6,
)
