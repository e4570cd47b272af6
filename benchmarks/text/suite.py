"""The contenders for text → token arrays, and what is compared with what."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent / "contenders"
Kind = Literal["this project", "a peer", "a limit"]
JSONL, PARQUET = "jsonl", "parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A program, and what it is given to read."""

    name: str
    program: str
    kind: Kind
    formats: tuple[str, ...]
    is_whole: bool = False
    """Whether its time is that of a process from start to end, because there is no other."""
    is_of_text: bool = True
    """Whether a rate in text is a sensible figure for it."""

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.program}.py"


STEPS, COMMAND, DAGSTER, MAP, DATATROVE, TOKENIZERS, ENGINE, READING, MEMCPY, CACHE_STEP = CONTENDERS = (
    Contender(name="phyagi-assets, its steps", program="our_steps", kind="this project", formats=(JSONL, PARQUET)),
    Contender(name="phyagi-assets, its command", program="our_command", kind="this project", formats=(JSONL, PARQUET), is_whole=True),
    Contender(name="phyagi-assets, in Dagster", program="our_dagster", kind="this project", formats=(JSONL, PARQUET)),
    Contender(name="datasets.map, 2 processes", program="datasets_map", kind="a peer", formats=(JSONL, PARQUET)),
    Contender(name="datatrove, 2 workers", program="datatrove_tokens", kind="a peer", formats=(JSONL, PARQUET)),
    Contender(name="tokenizers, in batches", program="tokenizers_batches", kind="a peer", formats=(JSONL, PARQUET)),
    Contender(name="limit: the engine alone", program="engine_alone", kind="a limit", formats=(PARQUET,)),
    Contender(name="limit: reading alone", program="reading_alone", kind="a limit", formats=(JSONL, PARQUET)),
    Contender(name="limit: memcpy of the files", program="memcpy", kind="a limit", formats=(JSONL,)),
    Contender(
        name="phyagi-assets, tokenized Arrow → .npy", program="our_cache_step", kind="this project", formats=(PARQUET,), is_of_text=False
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What one contender did in one round."""

    contender: str
    format: str
    tokenizer: str
    round: int
    text_bytes: int
    figures: Mapping[str, float]
    """``seconds``, ``whole_seconds``, ``peak_mb``, ``tokens`` and whatever else it measured; nothing where it failed."""
    digests: Mapping[str, str]
    """Of the ids and the ends of the documents, where it keeps them."""
    problem: str = ""
    """Why it could not run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """How many times as fast one is as another: seconds of the other to its own, of runs that stood side by side."""

    what: str
    of: tuple[Contender, str]
    to: tuple[Contender, str]
    at_least: float | None = None
    """What is aimed at."""
    figures: tuple[str, str] = ("seconds", "seconds")
    """Of the one and of the other."""

    def between(self, runs: list[Run], tokenizer: str) -> list[float]:
        """A ratio a round in which both ran."""
        mine, others = ({run.round: run.figures for run in runs if _is(run, which, tokenizer)} for which in (self.of, self.to))
        figure, other = self.figures
        return [others[round_][other] / mine[round_][figure] for round_ in sorted(mine.keys() & others.keys())]


def _is(run: Run, which: tuple[Contender, str], tokenizer: str) -> bool:
    return (run.contender, run.format, run.tokenizer) == (which[0].name, which[1], tokenizer) and not run.problem


_WHOLE: dict[str, Any] = {"figures": ("seconds", "whole_seconds")}
RATIOS = (
    Ratio(what="JSON Lines: its steps, to datasets.map", of=(STEPS, JSONL), to=(MAP, JSONL), at_least=45),
    Ratio(what="JSON Lines: its steps, to datatrove", of=(STEPS, JSONL), to=(DATATROVE, JSONL), at_least=45),
    Ratio(what="JSON Lines: its steps, to tokenizers", of=(STEPS, JSONL), to=(TOKENIZERS, JSONL)),
    Ratio(what="JSON Lines: in Dagster, to datasets.map", of=(DAGSTER, JSONL), to=(MAP, JSONL)),
    Ratio(what="whole processes: its command, to datasets.map", of=(COMMAND, JSONL), to=(MAP, JSONL), **_WHOLE),
    Ratio(what="whole processes: its command, to datatrove", of=(COMMAND, JSONL), to=(DATATROVE, JSONL), **_WHOLE),
    Ratio(what="Parquet: its steps, to the engine alone", of=(STEPS, PARQUET), to=(ENGINE, PARQUET), at_least=0.75),
    Ratio(
        what="tokenized Arrow → .npy, to memcpy of the same bytes",
        of=(CACHE_STEP, PARQUET),
        to=(CACHE_STEP, PARQUET),
        at_least=0.25,
        figures=("seconds", "memcpy_seconds"),
    ),
    Ratio(
        what="tokenized Arrow → .npy, to writing and flushing the same bytes",
        of=(CACHE_STEP, PARQUET),
        to=(CACHE_STEP, PARQUET),
        figures=("seconds", "write_seconds"),
    ),
)
