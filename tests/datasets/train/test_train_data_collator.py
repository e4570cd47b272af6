"""Samples are collated to a batch."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from phyagi_assets.datasets import LMDataCollator, LMDataset

ids = st.integers(0, 20)


@given(
    rows=st.integers(1, 4).flatmap(lambda size: st.lists(st.lists(ids, min_size=size, max_size=size), min_size=1, max_size=4)),
    ignored=st.none() | st.lists(ids),
    bounds=st.none() | st.tuples(ids, ids).map(sorted),
    index=st.sampled_from([-100, -1]),
)
def test_collator_replaces_only_ignored_labels(
    rows: list[list[int]], ignored: list[int] | None, bounds: list[int] | None, index: int
) -> None:
    samples = [{"input_ids": torch.tensor(row), "labels": torch.tensor(row)} for row in rows]
    before = copy.deepcopy(samples)
    batch = LMDataCollator(ignored, bounds, index)(samples)
    first, last = bounds or (1, 0)
    assert batch["input_ids"].tolist() == rows
    assert batch["labels"].tolist() == [[index if i in (ignored or ()) or first <= i <= last else i for i in row] for row in rows]
    assert str(samples) == str(before)


def test_samples_of_lists_are_stacked_like_tensors() -> None:
    samples = [{"input_ids": [5, 6], "labels": [5, 6], "corpus": "news"}, {"input_ids": [7, 5], "labels": [7, 5], "corpus": "talk"}]
    batch = LMDataCollator(ignore_token_ids=[5])(samples)
    assert (batch["input_ids"].tolist(), batch["labels"].tolist()) == ([[5, 6], [7, 5]], [[-100, 6], [7, -100]])
    assert batch["corpus"] == ["news", "talk"]


def test_batch_is_a_copy_of_the_samples() -> None:
    shared = torch.tensor([1, 2])
    batch = LMDataCollator()([{"input_ids": shared, "labels": shared}])
    batch["labels"] += 1
    batch["input_ids"] -= 1
    assert shared.tolist() == [1, 2]


def test_other_keys_are_collated_too() -> None:
    label = torch.tensor([1, 2])
    samples: list[dict[str, Any]] = [{"labels": label, "idx": i, "mask": np.array([True, False]), "corpus": "news"} for i in (3, 4)]
    batch = LMDataCollator(ignore_token_ids=[1])(samples)
    assert batch["idx"].tolist() == [3, 4]
    assert batch["mask"].tolist() == [[True, False], [True, False]]
    assert batch["corpus"] == ["news", "news"]
    assert batch["labels"].tolist() == [[-100, 2], [-100, 2]]


@pytest.mark.parametrize("workers", [0, 1])
def test_loader_uses_the_collator(workers: int) -> None:
    dataset = LMDataset(np.arange(13), seq_len=3, shift_labels=True)
    batches = list(DataLoader(dataset, batch_size=4, collate_fn=LMDataCollator(ignore_token_id_range=(3, 5)), num_workers=workers))
    assert [batch["labels"].tolist() for batch in batches] == [[[1, 2, -100], [-100, -100, 6], [7, 8, 9], [10, 11, 12]]]


@pytest.mark.parametrize("bounds", [(5, 3), (5,), (1, 2, 3), (), (None,)])
def test_range_without_two_ascending_ends_raises(bounds: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"ignore_token_id_range: is .*; use the first and the last id of a range"):
        LMDataCollator(ignore_token_id_range=bounds)


@pytest.mark.parametrize(("bounds", "kept"), [((3, None), [1, 2]), ((None, 3), [4]), ((None, None), [])])
def test_range_can_have_an_open_end(bounds: tuple[int | None, int | None], kept: list[int]) -> None:
    labels = torch.tensor([1, 2, 3, 4])
    collated = LMDataCollator(ignore_token_id_range=bounds)([{"labels": labels}])["labels"][0].tolist()
    assert [label for label in collated if label != -100] == kept


def test_samples_without_labels_are_collated_without_labels() -> None:
    batch = LMDataCollator(ignore_token_ids=[1])([{"input_ids": torch.tensor([1, 2])}])
    assert {name: of.tolist() for name, of in batch.items()} == {"input_ids": [[1, 2]]}
