"""Windows as a stream; behaviour shared by all streams is tested in test_sharding.py."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.datasets import LMDataset, StreamLMDataset


@given(tokens=st.integers(0, 60), seq_len=st.integers(1, 9), shift=st.booleans(), with_labels=st.booleans())
def test_stream_yields_the_windows_of_the_array_in_order(tokens: int, seq_len: int, shift: bool, with_labels: bool) -> None:
    ids = np.arange(tokens, dtype=np.uint16)
    keys: dict[str, Any] = {"labels": ids * 3 if with_labels else None, "seq_len": seq_len, "shift_labels": shift}
    stream, windows = StreamLMDataset("tokens", ids, **keys), LMDataset(ids, **keys)
    assert str(list(stream)) == str(list(windows))
    assert len(stream) == len(windows)


@given(samples=st.integers(0, 60), seed=st.integers(0, 5))
def test_shuffled_every_epoch_has_every_window_once(samples: int, seed: int) -> None:
    stream = StreamLMDataset("tokens", np.arange(2 * samples + 1), seq_len=2, seed=seed, shuffle=True)
    orders = []
    for epoch in range(3):
        stream.set_epoch(epoch)
        orders.append([int(window["input_ids"][0]) // 2 for window in stream])
        assert sorted(orders[-1]) == list(range(samples))
    if samples > 20:
        assert len({str(order) for order in orders}) == 3


def test_order_is_a_function_of_the_seed() -> None:
    def order(seed: int) -> str:
        return str(list(StreamLMDataset("tokens", np.arange(41), seq_len=2, seed=seed, shuffle=True)))

    assert order(1) == order(1) != order(2)


def test_stream_uses_the_marks_of_its_windows() -> None:
    ids = np.array([1, 105, 3, 104] * 20)
    keys: dict[str, Any] = {"seq_len": 4, "random_mask_prob": 0.5, "random_mask_offset": 100}
    windows = list(StreamLMDataset("tokens", ids, **keys))
    assert str(windows) == str(list(LMDataset(ids, **keys)))
    assert {str(window["labels"].tolist()) for window in windows} == {"[1, 5, 3, 4]", "[1, -100, 3, -100]"}


def test_stream_over_a_mapped_array_is_pickled_without_tokens(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", np.arange(100_000))
    stream = StreamLMDataset("tokens", np.load(tmp_path / "train.npy", mmap_mode="r"), seq_len=50_000)
    pickled = pickle.dumps(stream)
    assert len(pickled) < 3_000
    assert str(list(pickle.loads(pickled))) == str(list(stream))


def test_invalid_array_raises() -> None:
    with pytest.raises(ValueError, match="seq_len: is 0"):
        StreamLMDataset("tokens", np.arange(4), seq_len=0)
