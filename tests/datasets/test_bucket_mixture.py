"""Training from a bucket with the loaders of torch: the batches, states and explanations are those of the disk."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from phyagi_assets.datasets import LoadedMixture, MixtureLoader, MixtureStream, load_mixture
from phyagi_assets.store.local import LocalStore
from tests.bucket_stores import store_in_bucket
from tests.reading.stored import Tokens, copied, store_mixture
from tests.s3 import BUCKET, S3Server

PLACE = f"s3://{BUCKET}/store"
TOKENS: Tokens = {"one": {"a": {"train": 20_001}, "b": {"train": 9_000}}, "two": {"c": {"train": 5_000}}}


@pytest.fixture
def both(tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> tuple[LoadedMixture, LoadedMixture]:
    """A mixture in the bucket, whose cache is too small for its arrays, and the same mixture on disk."""
    del s3
    monkeypatch.setenv("PHYAGI_ASSETS_SCRATCH", f"{tmp_path / 'scratch'}")
    monkeypatch.setenv("PHYAGI_ASSETS_CACHE", f"{tmp_path / 'cache'}")
    monkeypatch.setenv("PHYAGI_ASSETS_CACHE_BYTES", "60kB")
    store = LocalStore(tmp_path / "store")
    store_mixture(store, TOKENS, seq_len=64)
    copied(store, store_in_bucket(PLACE))
    return load_mixture("mix", store=PLACE), load_mixture("mix", store=store.root)


def batches(loader: Any, count: int) -> list[torch.Tensor]:
    return [batch["input_ids"] for batch in islice(loader, count)]


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(found) == len(expected) > 0
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_loaders_in_forked_workers_read_the_samples_of_the_disk(both: tuple[LoadedMixture, LoadedMixture]) -> None:
    remote, local = both
    assert_same([remote.train[9]["input_ids"]], [local.train[9]["input_ids"]])  # before the workers are forked
    expected = batches(MixtureLoader(local.train, batch_size=4, rank=1, world_size=2), 40)
    loader = MixtureLoader(remote.train, batch_size=4, rank=1, world_size=2, num_workers=2)
    assert_same(batches(loader, 40), expected)
    assert loader.position == 40 * 8
    stream = MixtureStream(remote.train, batch_size=4, rank=1, world_size=2)
    assert_same(batches(DataLoader(stream, batch_size=None, num_workers=1), 40), expected)
    mapped = DataLoader(remote.train, batch_size=8, num_workers=1)
    assert_same(batches(mapped, 40), batches(MixtureLoader(local.train, batch_size=8), 40))
