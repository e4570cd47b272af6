"""Best-fit packing: how full samples are, how long it takes, how large an index is, and how fast batches are.

Run it with ``make bench-packing``. Prints two tables: partitions of synthetic documents, packed at two lengths of samples; and batches of
16 samples of 2,048 tokens, packed and cut from one stream, in one thread. Seconds are processor time.
"""

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phyagi_assets.datasets import MixtureLoader, load_mixture
from phyagi_assets.declare.mixture_schema import MixturePart
from phyagi_assets.formats.packed_index import LENGTHS, SAMPLES, STARTS
from phyagi_assets.formats.plan import PLAN, Plan, PlannedCorpus, PlannedIndex, PlannedPartition, Shard
from phyagi_assets.order.best_fit import PackedSamples, merges_documents, packed
from phyagi_assets.order.planning import first_plan

TOKENS = 20_000_000
MANY = 10_000_000
BATCHED = 50_000_000
SEQ_LEN, BATCH = 2048, 16
REPETITIONS = 2


def log_normal(tokens: int) -> npt.NDArray[np.int64]:
    """Lengths of documents as on the web: a median of 500 tokens, a few of 100,000."""
    return np.clip(np.random.default_rng(0).lognormal(6.2, 1.2, tokens // 900), 1, 200_000).astype(np.int64)


def many_short(tokens: int) -> npt.NDArray[np.int64]:
    """Lengths of short messages: 5 to 60 tokens."""
    return np.random.default_rng(1).integers(5, 61, tokens // 30)


def few_long(tokens: int) -> npt.NDArray[np.int64]:
    """Lengths of books and of notes about them."""
    draw = np.random.default_rng(2)
    return np.concatenate([draw.integers(2_000, 160_000, tokens // 85_000), draw.integers(20, 300, tokens // 8_000)])


def conversations(tokens: int) -> npt.NDArray[np.int64]:
    """Lengths of conversations: a median of 400 tokens, all shorter than a sample."""
    return np.clip(np.random.default_rng(3).lognormal(6.0, 0.8, tokens // 520), 10, 2_000).astype(np.int64)


KINDS: dict[str, Callable[[int], npt.NDArray[np.int64]]] = {
    "log-normal": log_normal,
    "many short": many_short,
    "few long": few_long,
    "conversations": conversations,
}


def timed_packing(lengths: npt.NDArray[np.int64], seq_len: int) -> tuple[PackedSamples, float]:
    """Return packed samples and the seconds that packing took."""
    ends = np.cumsum(lengths)
    started = time.process_time()
    samples = packed(ends, seq_len, merges=merges_documents(ends, seq_len))
    return samples, time.process_time() - started


def print_packing() -> None:
    print("| documents | seq_len | number | tokens | samples over ⌈tokens / seq_len⌉ | fill | seconds | index, bytes per token | peak MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    cases = [(name, seq_len, of(TOKENS)) for name, of in KINDS.items() for seq_len in (2048, 8192)]
    cases += [("log-normal, 10⁷", seq_len, log_normal(MANY * 900)) for seq_len in (2048, 8192)]
    for name, seq_len, lengths in cases:
        samples, seconds = timed_packing(lengths, seq_len)
        tokens = int(lengths.sum())
        extra, fill = samples.samples - -(-tokens // seq_len), 100 * tokens / (samples.samples * seq_len)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"| {name} | {seq_len:,} | {len(lengths):,} | {tokens:,} | {extra} | {fill:.3f} % | {seconds:.2f} "
            f"| {samples.bytes / tokens:.4f} | {peak:,.0f} |",
            flush=True,
        )


def write_mixture(home: Path, lengths: npt.NDArray[np.int64], *, is_packed: bool) -> None:
    """Write a mixture of one partition of documents."""
    cache, tokens = home / "cache", int(lengths.sum())
    cache.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum(lengths)
    np.save(cache / "train.npy", np.random.default_rng(0).integers(0, 50_000, tokens, dtype=np.uint16))
    np.save(cache / "train.documents.npy", ends)
    samples = packed(ends, SEQ_LEN, merges=merges_documents(ends, SEQ_LEN))
    for ending, array in ((STARTS, samples.starts), (LENGTHS, samples.lengths), (SAMPLES, samples.ends)):
        np.save(cache / f"train{ending}", array)
    index = PlannedIndex(path="cache", fingerprint="1", samples={"train": samples.samples}, merged=samples.merged)
    shard = Shard(path="cache/train.npy", tokens=tokens, documents=len(lengths))
    partition = PlannedPartition(key="all", fingerprint="1", shards={"train": shard}, index=index if is_packed else None)
    corpora = (PlannedCorpus(name="one", partitions=(partition,)),)
    plan = Plan(
        name="packed",
        fingerprint="1",
        seq_len=SEQ_LEN,
        seed=42,
        dtype="uint16",
        tokenizer="",
        concat="interleaved",
        shuffle=True,
        corpora=corpora,
        segments=(),
        pad_id=0,
    )
    (home / PLAN).write_text(first_plan(plan, [MixturePart(corpus="one")]).to_json(), encoding="utf-8")


def tokens_per_second(home: Path, **options: bool) -> float:
    """Return the largest number of tokens per second of processor time of an epoch of batches."""
    best = 0.0
    for _ in range(REPETITIONS + 1):  # the first pass maps the files
        train = load_mixture(home, **options).train
        started = time.process_time()
        batches = sum(1 for _ in MixtureLoader(train, batch_size=BATCH))
        best = max(best, batches * BATCH * SEQ_LEN / (time.process_time() - started))
    return best


def print_batches() -> None:
    print("| documents | packed | cut from one stream, `boundaries=True` | cut from one stream | packed / `boundaries=True` |")
    print("| --- | --- | --- | --- | --- |")
    for name, of in KINDS.items():
        with tempfile.TemporaryDirectory() as scratch:
            lengths, figures = of(BATCHED), {}
            for title, is_packed, options in (("packed", True, {}), ("bounds", False, {"boundaries": True}), ("plain", False, {})):
                home = Path(scratch) / title
                write_mixture(home, lengths, is_packed=is_packed)
                figures[title] = tokens_per_second(home, **options)
        speeds = " | ".join(f"{figures[title] / 1e6:,.0f} M tokens/s" for title in ("packed", "bounds", "plain"))
        print(f"| {name} | {speeds} | {figures['packed'] / figures['bounds']:.1f} |", flush=True)


def main() -> None:
    print_packing()
    print()
    print_batches()


if __name__ == "__main__":
    main()
