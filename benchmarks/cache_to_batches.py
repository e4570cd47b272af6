"""Token arrays → batches: this project's mixture, its peers and the limits, on the same ids.

Run it with ``make bench-batches``. Two corpora mixed 3:1, shuffled, 16 samples per batch; then, the cost of opening for different numbers
of samples and sources. Writes the tables and a plot.
"""

from argparse import ArgumentParser
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from batches.inputs import CORPORA, write_inputs
from harness import measure, options
from suite import Contender, Figure, Ratio, Setting, Suite

SETTINGS = [
    Setting(
        name=f"{seq_len:,} tokens, {workers} workers, {cache}", given={"seq_len": seq_len, "workers": workers, "is_cold": cache == "cold"}
    )
    for cache, workers, seq_len in product(("warm", "cold"), (0, 2), (2048, 8192))
]
WARM, COLD = ([one.name for one in SETTINGS if not one.given["workers"] and one.given["is_cold"] is cold] for cold in (False, True))


def making(name: str, program: str, **options: Any) -> Contender:
    return Contender(name=name, program=f"batches/contenders/{program}.py", **options)


OURS = making("phyagi-assets, its mixture", "our_mixture", kind="this project")
PLAIN = making("plain memory-mapped dataset", "plain_dataset")
MEGATRON = making("megatron-core, BlendedDataset", "megatron_blended")
LITDATA = making("litdata, TokensLoader", "litdata_tokens")
GRAIN = making("grain, MapDataset.mix", "grain_mix")
MOSAIC = making("mosaicml-streaming", "mosaic_streaming", environment="streaming")
DATASETS = making("datasets, torch format", "datasets_torch")
HOT = making("limit: a hot block converted", "hot_block", kind="a limit", settings=WARM)
RANDOM = making("limit: random reads of the disk, 32 threads", "random_reads", kind="a limit", settings=COLD)
PEERS = (PLAIN, MEGATRON, LITDATA, GRAIN, MOSAIC, DATASETS)

OURS_OPENS = making("phyagi-assets, its mixture", "opens_ours", kind="this project")
_SAMPLES, _SOURCES = 10**6, 2
OPENED = [(10**power, _SOURCES) for power in range(4, 10)] + [(_SAMPLES, sources) for sources in (1, 10, 100, 1000)]
OPENING = [
    Setting(name=f"{samples:,} samples of {sources:,} source{'s' * (sources > 1)}", given={"samples": samples, "sources": sources})
    for samples, sources in OPENED
]
OTHERS_OPEN = [one.name for one in OPENING if one.given["samples"] <= 10**7]
"""Beyond which they need more memory, or more time for their files, than there is."""
OPENERS = [
    OURS_OPENS,
    making("plain memory-mapped dataset", "opens_plain", settings=OTHERS_OPEN),
    making("megatron-core, BlendedDataset", "opens_megatron", settings=OTHERS_OPEN),
]


def derive(run: Mapping[str, float]) -> Mapping[str, float]:
    return {"rate": run["tokens"] / run["seconds"] / 1e6}


def batches_suite(arrays: Path, tokens: int) -> Suite:
    def source(contender: Contender, setting: Setting, seed: int) -> Mapping[str, Any]:  # noqa: ARG001
        write_inputs(arrays, tokens)
        return {"source": str(arrays)}

    return Suite(
        title="Token arrays → batches",
        contenders=[OURS, *PEERS, HOT, RANDOM],
        settings=SETTINGS,
        figures=[
            Figure(title="M tokens/s", name="rate"),
            Figure(title="Seconds from opening to the first batch", name="first_seconds", form="{:,.3f}"),
            Figure(title="Peak memory, MB", name="peak_mb", form="{:,.0f}"),
        ],
        ratios=[
            *(Ratio(of=OURS, to=peer, aim=aim) for peer, aim in zip(PEERS, ("≥ 6", "≥ 20", "≥ 5", "", "", ""), strict=True)),
            Ratio(of=OURS, to=HOT, aim="≥ 0.35"),
            Ratio(of=OURS, to=RANDOM, aim="≥ 0.8"),
        ],
        prepare=source,
        derive=derive,
        makes_files_in=WARM,
        timeout=600,
        is_by_setting=False,
        notes=f"{len(CORPORA)} corpora of {tokens:,} tokens, mixed 3:1 and shuffled, 16 samples per batch. Files that a loader "
        "needs are made beforehand. Cold: the page cache holds nothing of the files, and the first 200 batches are counted, or "
        "those of 5 s. Memory is that of all processes; mapped pages of the page cache are counted in each.",
        packages=("phyagi-assets", "torch", "numpy", "megatron-core", "litdata", "grain", "datasets", "mosaicml-streaming"),
        plot="cache_to_batches.svg",
        plotted=2,
    )


OPENING_SUITE = Suite(
    title="Opening",
    contenders=OPENERS,
    settings=OPENING,
    figures=[
        Figure(title="Seconds to the first batch", name="seconds", form="{:,.3f}"),
        Figure(title="MB by which the process grows", name="memory_mb", form="{:,.0f}"),
    ],
    makes_files_in=[one.name for one in OPENING],
    timeout=600,
    is_by_setting=False,
)


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, default=64_000_000, help="tokens of each of the two corpora  [default: 64,000,000]")


def main() -> None:
    given = options(__doc__, rounds=5, add=add_options)
    given.work /= f"batches-{given.tokens}"
    given.work.mkdir(parents=True, exist_ok=True)
    measure(batches_suite(given.work / "arrays", given.tokens), given)
    if not given.quick and not given.only:
        measure(OPENING_SUITE, given)


if __name__ == "__main__":
    main()
