"""Token arrays → batches: this project's mixture against a plain dataset, and against the limit.

Run it with ``make bench-batches``. Two corpora mixed 3:1, shuffled, 2,048 tokens a sample, 16 samples a batch, the page cache warm,
no loader workers. Contenders take turns; the figures are medians, the ratios are of runs that stood side by side.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from phyagi_assets.datasets import LMDataset, MixedDataset, MixtureLoader
from phyagi_assets.plan import Group, Plan, PlannedCorpus, PlannedPartition, Segment, Shard, Source, samples_in

SEQ_LEN, BATCH, SHARDS, TOKENS = 2048, 16, 4, 12_500_000
BATCHES, ROUNDS = 1500, 7


def written(folder: Path) -> Plan:
    """A plan over two corpora of four shards, and the shards."""
    draw = np.random.default_rng(0)
    corpora, sources = [], []
    for number, weight in enumerate((3.0, 1.0)):
        partitions = []
        for part in range(SHARDS):
            name = f"{number}-{part}.npy"
            np.save(folder / name, draw.integers(0, 50_257, TOKENS, dtype=np.uint16))
            shard = Shard(path=name, tokens=TOKENS, documents=1, samples=samples_in(TOKENS, SEQ_LEN))
            partitions.append(PlannedPartition(key=str(part), fingerprint="", shards={"train": shard}))
        samples = SHARDS * samples_in(TOKENS, SEQ_LEN)
        drawn = int(samples * weight)
        group = Group(partitions=tuple(range(SHARDS)), samples=samples, offset=0, key=number)
        sources.append(Source(corpus=number, weight=weight, share=None, rate=drawn, drawn=drawn, groups=(group,)))
        corpora.append(PlannedCorpus(name=f"corpus{number}", partitions=tuple(partitions)))
    return Plan(
        name="bench",
        fingerprint="",
        seq_len=SEQ_LEN,
        seed=1,
        dtype="uint16",
        tokenizer="",
        concat="interleaved",
        shuffle=True,
        corpora=tuple(corpora),
        segments=(Segment(start=0, sources=tuple(sources)),),
    )


def rate(batches: Iterable[object]) -> float:
    """Tokens a second."""
    taken = 0
    started = time.perf_counter()
    for _ in islice(batches, BATCHES):
        taken += 1
    return taken * BATCH * SEQ_LEN / (time.perf_counter() - started)


def hot_block() -> Iterable[object]:
    """The limit: the two tensors of a batch, made again and again of one block that is in the processor's cache."""
    block = np.random.default_rng(0).integers(0, 50_257, (BATCH, SEQ_LEN), dtype=np.uint16)
    while True:
        yield torch.from_numpy(block.astype(np.int64)), torch.from_numpy(block.astype(np.int64))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mixture = MixedDataset(written(folder), folder)
        whole = np.lib.format.open_memmap(folder / "all.npy", "w+", np.uint16, (2 * SHARDS * TOKENS,))
        for number, shard in enumerate(mixture.shards.paths):
            whole[number * TOKENS : (number + 1) * TOKENS] = np.load(shard, mmap_mode="r")  # and warms the page cache
        plain = LMDataset(np.load(folder / "all.npy", mmap_mode="r"), seq_len=SEQ_LEN)
        contenders: dict[str, Callable[[], Iterable[object]]] = {
            "phyagi-assets, MixtureLoader": lambda: MixtureLoader(mixture, batch_size=BATCH),
            "phyagi-assets, DataLoader over the mixture": lambda: DataLoader(mixture, batch_size=BATCH),
            "LMDataset, DataLoader, sample by sample": lambda: DataLoader(plain, batch_size=BATCH, shuffle=True),
            "the limit: one hot block converted": hot_block,
        }
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for contender, make in contenders.items():
                rates[contender].append(rate(make()))
    ours, _, sample_by_sample, limit = rates.values()
    print("| | M tokens/s | from | to |\n| --- | --- | --- | --- |")
    for contender, measured in rates.items():
        print(f"| {contender} | {statistics.median(measured) / 1e6:.0f} | {min(measured) / 1e6:.0f} | {max(measured) / 1e6:.0f} |")
    for what, others in (("the plain dataset", sample_by_sample), ("the limit", limit)):
        ratios = [one / other for one, other in zip(ours, others, strict=True)]
        print(f"\nMixtureLoader: {statistics.median(ratios):.2f} × {what} (from {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
