"""The contenders for token arrays → batches, the settings that they are run in, and what is compared with what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parent / "contenders"
Kind = Literal["this project", "a peer", "a limit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A program that makes batches."""

    name: str
    program: str
    kind: Kind
    environment: str = ""
    """Of the environments of the benchmark, which one it runs in; the versions that it asks for may not go with the others'."""

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.program}.py"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What batches are asked for."""

    seq_len: int
    workers: int
    cache: str
    """``warm``, all in the page cache, or ``cold``, nothing."""

    def __str__(self) -> str:
        return f"{self.seq_len:,} tokens, {self.workers} workers, {self.cache}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What one contender did in one setting in one round."""

    contender: str
    setting: Setting
    round: int
    figures: Mapping[str, float]
    """``rate``, tokens a second; ``first_seconds`` until the first batch; ``peak_mb``; nothing where it failed."""
    problem: str = ""
    """Why it could not run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """How many times as many tokens a second one makes as another, of runs that stood side by side."""

    to: Contender
    at_least: float | None = None
    """What is aimed at, without loader workers and from a warm cache."""

    def between(self, runs: Sequence[Run], setting: Setting) -> list[float]:
        """A ratio a round in which both ran."""
        mine, others = (_rates(runs, which, setting) for which in (OURS, self.to))
        return [mine[round_] / others[round_] for round_ in sorted(mine.keys() & others.keys())]


STREAMING = "streaming"
OURS, PLAIN, MEGATRON, LITDATA, MOSAIC, DATASETS, HOT = CONTENDERS = (
    Contender(name="phyagi-assets, its mixture", program="our_mixture", kind="this project"),
    Contender(name="plain memory-mapped dataset", program="plain_dataset", kind="a peer"),
    Contender(name="megatron-core, BlendedDataset", program="megatron_blended", kind="a peer"),
    Contender(name="litdata, TokensLoader", program="litdata_tokens", kind="a peer"),
    Contender(name="mosaicml-streaming", program="mosaic_streaming", kind="a peer", environment=STREAMING),
    Contender(name="datasets, torch format", program="datasets_torch", kind="a peer"),
    Contender(name="limit: a hot block converted", program="hot_block", kind="a limit"),
)
SETTINGS = tuple(
    Setting(seq_len=seq_len, workers=workers, cache=cache) for cache, workers, seq_len in product(("warm", "cold"), (0, 2), (2048, 8192))
)
RATIOS = (
    Ratio(to=PLAIN, at_least=6),
    Ratio(to=MEGATRON, at_least=20),
    Ratio(to=LITDATA, at_least=5),
    Ratio(to=MOSAIC),
    Ratio(to=DATASETS),
    Ratio(to=HOT, at_least=0.35),
)


def of(runs: Sequence[Run], contender: Contender, setting: Setting) -> list[Run]:
    """The runs of a contender in a setting."""
    return [run for run in runs if (run.contender, run.setting) == (contender.name, setting)]


def _rates(runs: Sequence[Run], contender: Contender, setting: Setting) -> dict[int, float]:
    """By round."""
    return {run.round: run.figures["rate"] for run in of(runs, contender, setting) if not run.problem}
