"""The rounds: each contender in turn, in a fresh process, on the round's text."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from measured import ContenderFailed, run_contender
from text.compared import differing, digests
from text.inputs import TOKENIZERS, Inputs, write_inputs
from text.suite import COMMAND, CONTENDERS, JSONL, STEPS, Contender, Run
from text.varied_text import NATURAL

_FIGURES = ("seconds", "whole_seconds", "peak_mb", "tokens")
_SLOWEST = 0.2
"""MB a second, slower than which nobody is waited for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """Where the contenders run.

    Parameters
    ----------
    work
        Folder that keeps the tokenizers, and what this project knows of them, from one call of the benchmark to the next.
    """

    work: Path
    only: str | None = None
    """The kind of text that is drawn; by default, all kinds."""

    def tokenizer(self, name: str) -> Path:
        """The folder of a tokenizer, made if need be."""
        return TOKENIZERS[name](self.work / "tokenizers" / "".join(c if c.isalnum() else "-" for c in name))

    def inputs(self, *, megabytes: float, seed: int, new_words: float = NATURAL) -> Inputs:
        """Text that takes the place of what was there."""
        shutil.rmtree(self.work / "inputs", ignore_errors=True)
        return write_inputs(self.work / "inputs", megabytes=megabytes, seed=seed, new_words=new_words, only=self.only)

    def run(self, contender: Contender, format_: str, tokenizer: str, inputs: Inputs, round_: int = 0) -> Run:
        """Run a contender, and see to what came out of it before it is removed."""
        output = self.work / "output"
        folders = (inputs.folder, format_, self.tokenizer(tokenizer), output, self.work / "kept")
        figures: dict[str, float] = {}
        found: dict[str, str] = {}
        problem = ""
        try:
            measured = run_contender(contender.path, [str(one) for one in folders], timeout=120 + inputs.text_bytes / _SLOWEST / 1e6)
            found = digests(measured.details)
            told = {name: value for name, value in measured.details.items() if isinstance(value, int | float)}
            figures = {**{name: asdict(measured)[name] for name in _FIGURES}, **told}
        except ContenderFailed as failed:
            problem = str(failed)
        shutil.rmtree(output, ignore_errors=True)
        run = Run(
            contender=contender.name,
            format=format_,
            tokenizer=tokenizer,
            round=round_,
            text_bytes=inputs.text_bytes,
            figures=figures,
            digests=found,
            problem=problem,
        )
        _tell(run)
        return run


def rounds(ground: Ground, tokenizers: Sequence[str], names: Sequence[str], *, megabytes: float, count: int) -> list[Run]:
    """Every contender in every round, each round beginning with another.

    Parameters
    ----------
    names
        Of the contenders that take part.
    """
    entries = [(contender, format_) for contender in CONTENDERS for format_ in contender.formats if contender.name in names]
    if any(contender.program.startswith("our_") for contender, _ in entries):
        for tokenizer in tokenizers:  # what is done once for a tokenizer: this project tries its engine on it
            ground.run(COMMAND, JSONL, tokenizer, ground.inputs(megabytes=0.1, seed=0))
    runs: list[Run] = []
    for round_ in range(1, count + 1):
        inputs = ground.inputs(megabytes=megabytes, seed=round_)
        first = (round_ - 1) * len(entries) // count
        for tokenizer in tokenizers:
            turn = entries[first:] + entries[:first]
            runs += [ground.run(contender, format_, tokenizer, inputs, round_) for contender, format_ in turn]
    return runs


def disagreeing(runs: Sequence[Run]) -> list[Run]:
    """The runs that came to other ids, or ends of documents, than the rest of their round."""
    return [group[i] for group in _groups(runs) for i in differing([run.digests for run in group])]


def _groups(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """The runs that had the same to do; what others are measured by, the peers, first."""
    kinds = {contender.name: contender.kind for contender in CONTENDERS}
    for key in dict.fromkeys((run.tokenizer, run.round) for run in runs):
        yield sorted((run for run in runs if (run.tokenizer, run.round) == key), key=lambda run: kinds[run.contender] != "a peer")


def growth(ground: Ground, tokenizer: str, *, megabytes: float) -> dict[str, list[Run]]:
    """This project's steps on text of a size and of ten times that, by what the text is like."""
    texts = {"natural text": NATURAL, "every word new": 1.0}
    return {
        text: [
            ground.run(STEPS, JSONL, tokenizer, ground.inputs(megabytes=size, seed=1000, new_words=share))
            for size in (megabytes, 10 * megabytes)
        ]
        for text, share in texts.items()
    }


def _tell(run: Run) -> None:
    rate = f"{run.figures['seconds']:8.2f} s" if run.figures else run.problem
    print(f"  {run.round or '–'}  {run.tokenizer:20}  {run.contender:38} {run.format:8} {rate}", file=sys.stderr, flush=True)
