"""Mixtures as NumPy arrays: the same samples, order and states as those of the torch datasets."""

import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.reading import LoadedMixture, MixtureLoader, load_mixture
from tests.order.plans import partitions, plan_of
from tests.reading.mixtures import SAMPLES, write_mixture

SPLITS = ("train", "validation")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of 41 samples of 4 tokens in each split; its folder."""
    return write_mixture(tmp_path_factory.mktemp("mixture"), plan_of(partitions(SAMPLES, splits=SPLITS)))


@pytest.fixture(scope="module")
def mixture(home: Path) -> LoadedMixture:
    return load_mixture(home)


def positions(loader: MixtureLoader) -> list[int]:
    return [position for batch in loader for position in batch["position"].tolist()]


@given(
    batch_size=st.integers(1, 50),
    world_size=st.integers(1, 4),
    begin=st.integers(0, 100),
    prefetch=st.integers(0, 3),
    taken=st.integers(0, 12),
)
def test_ranks_read_every_position_once_and_resume_after_any_batch(
    mixture: LoadedMixture, batch_size: int, world_size: int, begin: int, prefetch: int, taken: int
) -> None:
    step = batch_size * world_size
    of_ranks, states = [], []
    for rank in range(world_size):
        loader = MixtureLoader(
            mixture.train, batch_size=batch_size, position=begin, rank=rank, world_size=world_size, endless=True, prefetch=prefetch
        )
        of_ranks.append([batch["position"].tolist() for batch in islice(loader, taken)])
        states.append(loader.state_dict())
    assert states == [states[0]] * world_size
    read = [position for batches in zip(*of_ranks, strict=True) for run in batches for position in run]
    assert read == list(range(begin, begin + taken * step))
    resumed = MixtureLoader(mixture.train, batch_size=7, prefetch=prefetch)
    resumed.load_state_dict(states[0])
    assert next(iter(resumed))["position"].tolist() == list(range(begin + taken * step, begin + taken * step + 7))


def test_iterations_of_training_follow_each_other(mixture: LoadedMixture) -> None:
    loader = MixtureLoader(mixture.train, batch_size=4)
    lengths = [len(loader), len(list(loader)), len(loader), len(list(loader))]
    assert lengths == [11, 11, 10, 10]
    loader.load_state_dict({**loader.state_dict(), "position": 52})
    assert [len(loader), len(list(loader)), loader.position] == [10, 8, 84]
    assert loader.position == 84


@pytest.mark.parametrize(("drop_last", "read"), [(False, 41), (True, 36)])
def test_each_pass_over_another_split_is_whole_and_in_order(mixture: LoadedMixture, drop_last: bool, read: int) -> None:
    assert mixture.validation is not None
    loader = MixtureLoader(mixture.validation, batch_size=6, drop_last=drop_last)
    for _ in range(2):
        assert len(loader) == -(-read // 6)
        assert positions(loader) == list(range(read))
        assert loader.position == 0


def test_stopped_iteration_ends_its_thread(mixture: LoadedMixture) -> None:
    before = set(threading.enumerate())
    batches = iter(MixtureLoader(mixture.train, batch_size=2, endless=True))
    next(batches)
    begun = {thread for thread in set(threading.enumerate()) - before if thread.name.startswith("prefetch")}
    assert begun
    batches.close()  # type: ignore[attr-defined]
    assert not any(thread.is_alive() for thread in begun)


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"batch_size": 0}, "batch_size: is 0; use 1 or more"),
        ({"position": -1}, "position: is -1; use 0 or more"),
        ({"prefetch": -1}, "prefetch: is -1; use 0 or more"),
        ({"rank": 0}, "only one is given"),
        ({"rank": 2, "world_size": 2}, "use a rank from 0 to 1"),
    ],
)
def test_number_out_of_range_is_refused(mixture: LoadedMixture, options: dict[str, int], refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        MixtureLoader(mixture.train, **{"batch_size": 1, **options})


@pytest.mark.parametrize("wrong", [-1, 1.0, 1.5, "3", None, True, 10**30])
def test_position_that_is_not_a_position_is_refused(mixture: LoadedMixture, wrong: Any) -> None:
    loader = MixtureLoader(mixture.train, batch_size=1, position=2)
    with pytest.raises((TypeError, ValueError), match="position: is "):
        MixtureLoader(mixture.train, batch_size=1, position=wrong)
    with pytest.raises((TypeError, ValueError), match="position: is "):
        loader.position = wrong
    with pytest.raises(ValueError, match=r"not a state of a mixture, .*: position: is "):
        loader.load_state_dict({**loader.state_dict(), "position": wrong})
    assert loader.position == 2
    loader.position = np.int64(3)
    assert next(iter(loader))["position"] == [3]


def test_negative_positions_have_no_samples(mixture: LoadedMixture) -> None:
    with pytest.raises(IndexError, match="position -2 does not exist"):
        mixture.train.batch(np.array([0, -2]))


def test_state_of_another_order_is_refused(mixture: LoadedMixture, home: Path) -> None:
    loader = MixtureLoader(mixture.train, batch_size=1)
    state = MixtureLoader(load_mixture(home, seq_len=3).train, batch_size=1, position=5).state_dict()
    with pytest.raises(ValueError, match="has another order up to that position"):
        loader.load_state_dict(state)
    with pytest.raises(ValueError, match="not a state of a mixture"):
        loader.load_state_dict({"position": "here"})
    assert loader.position == 0


def test_endless_loader_has_no_length(mixture: LoadedMixture) -> None:
    with pytest.raises(TypeError, match="an endless loader has no length"):
        len(MixtureLoader(mixture.train, batch_size=1, endless=True))


def test_splits_and_tokens_are_those_of_the_plan(mixture: LoadedMixture) -> None:
    assert mixture.test is None
    assert list(mixture.validation_by_corpus) == [corpus.name for corpus in mixture.plan.corpora]
    tokens = np.concatenate([mixture.train.batch(np.arange(41))["input_ids"].ravel()])
    assert len(np.unique(tokens)) == 41 * 4  # all tokens of the mixture differ


def test_mixture_is_read_without_torch(home: Path) -> None:
    code = f"""
import sys
sys.modules["torch"] = None
from phyagi_assets.reading import MixtureLoader, load_mixture
print(next(iter(MixtureLoader(load_mixture({str(home)!r}).train, batch_size=3)))["input_ids"].shape)
print([name for name in ("dagster", "datasets", "transformers", "pydantic", "pyarrow") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["(3, 4)", "[]"], done.stderr
