"""Several datasets as one, each over- or undersampled by its weight.

A dataset of n samples gives ⌈n · weight⌉ of them: all of it as often as the weight is whole, and for the rest a part that is another
one in every epoch (`set_epoch`). What stands at an index is a function of the index, the seed and the epoch; nothing is stored for
each sample, and nothing depends on what was read before.
"""

import math
import operator
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np
from torch.utils.data import Dataset, IterableDataset

from phyagi_assets.datasets.sharding import Epoch, SharedStream
from phyagi_assets.order.permutation import Ints, derived_key, permuted
from phyagi_assets.order.schedule import Interleaved

Weight = float | Fraction


class WeightedConcatDataset(Dataset[dict[str, Any]]):
    """Datasets one after the other; the part that a fraction of a weight stands for is drawn at random.

    It is another part in every epoch, and parts follow each other so that every sample gets its turn: of a weight of 0.25, each four
    epochs together have every sample.

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
        There are no datasets, one is a stream, there are not as many weights, or a weight is negative.

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
        self.counts = [math.ceil(len(dataset) * weight) for dataset, weight in zip(self.datasets, self.weights, strict=True)]
        self.cumulative_sizes = list(accumulate(self.counts))
        self._epoch = Epoch()

    @property
    def epoch(self) -> int:
        """The epoch, from 0."""
        return self._epoch.number

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, and with it the part of each dataset that a fraction of a weight stands for."""
        self._epoch.number = epoch

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A sample with ``dataset_idx``, the index of its dataset, and ``idx``, its index there."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside a dataset of {len(self)} samples")
        position = operator.index(index) % len(self)
        dataset_idx = bisect_right(self.cumulative_sizes, position)
        turn = position - self.cumulative_sizes[dataset_idx] + self.counts[dataset_idx]
        return self.sample(dataset_idx, self._chosen(dataset_idx, turn))

    def sample(self, dataset_idx: int, idx: int) -> dict[str, Any]:
        """Sample `idx` of a dataset, with the two indices beside what it holds."""
        return {**self.datasets[dataset_idx][idx], "idx": idx, "dataset_idx": dataset_idx}

    def _chosen(self, dataset_idx: int, turn: int) -> int:
        """The sample that a dataset gives at a turn."""
        size = len(self.datasets[dataset_idx])
        if turn < self.counts[dataset_idx] // size * size:
            return turn % size
        return int(self.drawn(dataset_idx, np.array([turn % size]), self.epoch)[0])

    def drawn(self, dataset_idx: int, turns: Ints, epoch: int) -> Ints:
        """The samples of a dataset that the fraction of its weight stands for in an epoch, at some of its turns.

        They are a run of a permutation of the samples; the runs of consecutive epochs go round it, and then another permutation begins.
        """
        size = len(self.datasets[dataset_idx])
        part = self.counts[dataset_idx] % size
        cycle, run = divmod(epoch, -(-size // part))
        return permuted((run * part + turns) % size, size, derived_key(self.seed, dataset_idx, cycle))


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

    def _chosen(self, dataset_idx: int, turn: int) -> int:
        return (self.epoch * self.counts[dataset_idx] + turn) % len(self.datasets[dataset_idx])


class WeightedConcatIterableDataset(SharedStream):
    """Datasets mixed by weight and shuffled, as a stream that ranks and loader workers share.

    Each sample has ``dataset_idx``, the index of its dataset, and ``idx``, its index there. Every rank reads as many, so that none waits
    for another; where they do not divide evenly, the first ones come again. `state_dict` and `load_state_dict` are called by
    ``torchdata``'s ``StatefulDataLoader``, or by hand where there are no loader workers. A trainer that divides what it reads by itself,
    as ``accelerate`` does, is to be given all of it: ``set_rank_and_world_size(0, 1)``.

    Parameters
    ----------
    datasets
        Datasets that have a length and give the sample at an index.
    weights
        A factor for each; by default 1.
    seed
        Of the shuffle.
    rank, world_size
        Which of how many processes this is; by default what ``torch.distributed`` says when the stream is read, or the only one.

    Raises
    ------
    ValueError
        There are no datasets, one is a stream, there are not as many weights, a weight is negative, or the rank is not below the world's
        size.

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
        super().__init__(rank, world_size)
        self._whole = WeightedConcatDataset(datasets, weights, seed)

    def _samples(self) -> int:
        return len(self._whole)

    def _read(self, positions: Ints, epoch: int) -> Iterator[dict[str, Any]]:
        chosen, turns = Interleaved(self._whole.counts).locate(positions)
        indices = np.empty(len(positions), dtype=np.int64)
        for dataset_idx in np.unique(chosen).tolist():
            size = len(self._whole.datasets[dataset_idx])
            passes = turns // size
            for number in np.unique(passes[chosen == dataset_idx]).tolist():
                of_pass = (chosen == dataset_idx) & (passes == number)
                indices[of_pass] = self._of_pass(dataset_idx, number, turns[of_pass] % size, epoch)
        return map(self._whole.sample, chosen.tolist(), indices.tolist())

    def _of_pass(self, dataset_idx: int, number: int, turns: Ints, epoch: int) -> Ints:
        """The samples that a dataset gives at some turns of a pass over it, which is whole, or what is left of its weight."""
        size = len(self._whole.datasets[dataset_idx])
        if (number + 1) * size > self._whole.counts[dataset_idx]:
            return self._whole.drawn(dataset_idx, turns, epoch)
        # From 1, because a key of (…, 0) is that of (…): the one that `drawn` has.
        return permuted(turns, size, derived_key(self._whole.seed, dataset_idx, epoch, number + 1))

    def _identity(self) -> dict[str, Any]:
        whole = self._whole
        return {
            "kind": type(self).__name__,
            "samples": [len(dataset) for dataset in whole.datasets],
            "weights": [str(weight) for weight in whole.weights],
            "seed": int(whole.seed),
        }


def _checked_weights(datasets: Sequence[Any], weights: Sequence[Weight] | None) -> list[Fraction]:
    if not datasets:
        raise ValueError("datasets: is empty; there is nothing to put together")
    for dataset in datasets:
        if isinstance(dataset, IterableDataset):
            raise ValueError(
                f"datasets: one is a {type(dataset).__name__}, a stream; give what has samples at indices, such as its `windows`"
            )
    given = [1.0] * len(datasets) if weights is None else list(weights)
    if len(given) != len(datasets):
        raise ValueError(f"weights: there are {len(given)} for {len(datasets)} datasets; there is one for each")
    for weight in given:
        if not 0 <= weight < math.inf:
            raise ValueError(f"weights: one is {weight}; a weight is 0 or more")
    return [Fraction(str(weight)) for weight in given]
