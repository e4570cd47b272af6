"""Several datasets as one, each over- or undersampled by its weight.

A dataset of n samples gives ⌈n · weight⌉ of them: all of it as often as the weight is whole, and for the rest a part that is another
one in every epoch (`set_epoch`). What stands at an index is a function of the index, the seed and the epoch; nothing is stored for
each sample, and nothing depends on what was read before.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset, IterableDataset

from phyagi_assets.datasets.order import derived_key, interleaved, permuted
from phyagi_assets.datasets.sharding import Shard, StreamState

Weight = float | Fraction


class WeightedConcatDataset(Dataset[dict[str, Any]]):
    """Datasets one after the other; the part that a fraction of a weight stands for is drawn at random.

    Parameters
    ----------
    datasets
        Map-style datasets whose samples are dicts.
    weights
        A factor for each; by default 1. It is taken as the decimal that it is written as: 10 samples at 1.1 are 11.
    seed
        Of the draw.

    Attributes
    ----------
    cumulative_sizes : list of int
        Where each dataset's samples end.

    Raises
    ------
    ValueError
        There are no datasets, not as many weights, or a weight is negative.

    Examples
    --------
    >>> both = WeightedConcatDataset([[{"x": 0}, {"x": 1}], [{"x": 2}]], weights=[1.5, 2])
    >>> both.cumulative_sizes, both[-1]
    ([3, 5], {'x': 2, 'idx': 0, 'dataset_idx': 1})
    """

    def __init__(self, datasets: Sequence[Any], weights: Sequence[Weight] | None = None, seed: int = 42) -> None:
        self.datasets = list(datasets)
        self.weights = _checked_weights(self.datasets, weights)
        self.seed = seed
        self.epoch = 0
        self.counts = [math.ceil(len(dataset) * weight) for dataset, weight in zip(self.datasets, self.weights, strict=True)]
        self.cumulative_sizes: list[int] = np.cumsum(self.counts).tolist()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, and with it the part of each dataset that a fraction of a weight stands for."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A sample with ``dataset_idx``, the index of its dataset, and ``idx``, its index there."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside a dataset of {len(self)} samples")
        position = index % len(self)
        dataset_idx = int(np.searchsorted(self.cumulative_sizes, position, side="right"))
        return self.sample(dataset_idx, self._chosen(dataset_idx, position - self.cumulative_sizes[dataset_idx] + self.counts[dataset_idx]))

    def sample(self, dataset_idx: int, idx: int) -> dict[str, Any]:
        """Sample `idx` of a dataset, with the two indices beside what it holds."""
        return {**self.datasets[dataset_idx][idx], "idx": idx, "dataset_idx": dataset_idx}

    def _chosen(self, dataset_idx: int, drawn: int) -> int:
        """The sample that a dataset gives at its turn number `drawn`."""
        size = len(self.datasets[dataset_idx])
        passes, place = divmod(drawn, size)
        if (passes + 1) * size <= self.counts[dataset_idx]:
            return place
        return int(permuted(np.array([place]), size, derived_key(self.seed, dataset_idx, self.epoch))[0])


class SequentialWeightedConcatDataset(WeightedConcatDataset):
    """Datasets one after the other, each read in its own order.

    What a fraction of a weight stands for is a run of consecutive samples, which in the next epoch begins where this one ended.
    Parameters, attributes and errors are those of `WeightedConcatDataset`; nothing is drawn, so the seed changes nothing.

    Examples
    --------
    >>> half = SequentialWeightedConcatDataset([[{"x": x} for x in range(4)]], weights=[0.5])
    >>> [sample["x"] for sample in half], half.set_epoch(1), [sample["x"] for sample in half]
    ([0, 1], None, [2, 3])
    """

    def _chosen(self, dataset_idx: int, drawn: int) -> int:
        return (self.epoch * self.counts[dataset_idx] + drawn) % len(self.datasets[dataset_idx])


class WeightedConcatIterableDataset(IterableDataset[dict[str, Any]]):
    """Datasets mixed by weight and shuffled, as a stream that ranks and loader workers share.

    Every rank reads as many samples, so that none waits for another; where they do not divide evenly, the first ones come again. State is
    taken and restored by ``torchdata``'s ``StatefulDataLoader``, or by hand where there are no loader workers.

    Parameters
    ----------
    datasets
        Datasets that have a length and give the sample at an index.
    weights
        A factor for each; by default 1.
    seed
        Of the shuffle.
    rank, world_size
        Which of how many processes this is; by default what ``torch.distributed`` says, or the only one.

    Raises
    ------
    ValueError
        There are no datasets, not as many weights, a weight is negative, or the rank is not below the world's size.

    Examples
    --------
    >>> stream = WeightedConcatIterableDataset([[{"x": x} for x in range(4)], [{"x": 9}]], weights=[1, 2])
    >>> len(stream), sorted(sample["x"] for sample in stream)
    (6, [0, 1, 2, 3, 9, 9])
    """

    def __init__(
        self,
        datasets: Sequence[Any],
        weights: Sequence[Weight] | None = None,
        seed: int = 42,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self._whole = WeightedConcatDataset(datasets, weights, seed)
        self._shard = Shard.of_process(rank, world_size)
        self._state = StreamState([seed, *map(len, self._whole.datasets), *map(str, self._whole.weights)])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch: another order, and another part of each dataset where its weight has a fraction."""
        self._whole.set_epoch(epoch)

    def set_rank_and_world_size(self, rank: int, world_size: int) -> None:
        """Say which of how many processes this is."""
        self._shard = Shard.of_process(rank, world_size)

    def __len__(self) -> int:
        """Samples that this process reads."""
        return self._shard.length(len(self._whole))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The samples of this process and loader worker, each with ``dataset_idx`` and ``idx``."""
        for dataset_idx, idx in self._state.stream(self._shard, len(self._whole), self._located):
            yield self._whole.sample(dataset_idx, idx)

    def _located(self, positions: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """The dataset, and the sample of it, at each position."""
        chosen, drawn = interleaved(positions, np.array(self._whole.counts))
        indices = np.empty(len(positions), dtype=np.int64)
        for dataset_idx in np.unique(chosen).tolist():
            size = len(self._whole.datasets[dataset_idx])
            of_dataset = np.flatnonzero(chosen == dataset_idx)
            passes = drawn[of_dataset] // size
            for number in np.unique(passes).tolist():
                of_pass = of_dataset[passes == number]
                key = derived_key(self._whole.seed, dataset_idx, self._whole.epoch, number)
                indices[of_pass] = permuted(drawn[of_pass] % size, size, key)
        return zip(chosen.tolist(), indices.tolist(), strict=True)

    def state_dict(self) -> dict[str, Any]:
        """How far this process's stream is, as numbers and strings."""
        return {"epoch": self._whole.epoch, **self._state.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on from a state.

        Raises
        ------
        ValueError
            The state is of other datasets, weights or seed. When the iteration begins: it is of another rank, or of another number of
            processes or workers.
        """
        self._state.load_state_dict(state)
        self._whole.set_epoch(state["epoch"])


def _checked_weights(datasets: Sequence[Any], weights: Sequence[Weight] | None) -> list[Fraction]:
    if not datasets:
        raise ValueError("datasets: is empty; there is nothing to put together")
    given = [1.0] * len(datasets) if weights is None else list(weights)
    if len(given) != len(datasets):
        raise ValueError(f"weights: there are {len(given)} for {len(datasets)} datasets; there is one for each")
    for weight in given:
        if not 0 <= weight < math.inf:
            raise ValueError(f"weights: one is {weight}; a weight is 0 or more")
    return [Fraction(str(weight)) for weight in given]
