"""Concatenation of several datasets, each over- or undersampled by its weight.

A dataset of n samples contributes ⌈n · weight⌉ samples: each sample as often as the integer part of the weight, and for the fraction a part
of the dataset that differs in each epoch (`set_epoch`). The sample at an index depends only on the index, the seed and the epoch; nothing
is stored per sample.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, IterableDataset

from phyagi_assets.datasets.cursor import Cursor
from phyagi_assets.datasets.foreign_stream import ForeignStream
from phyagi_assets.datasets.sharding import SharedStream
from phyagi_assets.formatting import counted
from phyagi_assets.order.permutation import Ints, derived_key, permuted
from phyagi_assets.order.schedule import Interleaved
from phyagi_assets.reading.numbers import checked_index, checked_int, exact_decimal
from phyagi_assets.store.disk import replace_file

Weight = float | Fraction

_STATES_FOLDER = "stream_states"
"""Name of the folder that `WeightedConcatIterableDataset.save_state` creates."""


class WeightedConcatDataset(ConcatDataset[dict[str, Any]]):
    """A concatenation of datasets; the samples for the fraction of a weight are drawn at random.

    Each epoch draws another part of the dataset, and the parts of consecutive epochs cover it: with a weight of 0.25, four consecutive
    epochs read every sample.

    Parameters
    ----------
    datasets
        Map-style datasets. Samples are dicts; a sample of another type is returned unchanged.
    weights
        Factor on the number of samples of each dataset; None for 1 each. Weights are exact decimals: 10 samples at 1.1 give 11. Scalars of
        NumPy and torch are accepted.
    seed
        Seed of the draw.
    **kwargs
        Additional columns by name, each with one value per dataset; every sample of a dataset carries its value.

    Attributes
    ----------
    cumulative_sizes : list of int
        End of each dataset's samples.
    weights : list of float
        The weights.
    factors : list of fractions.Fraction
        The weights as exact decimals.

    Raises
    ------
    ValueError
        The list of datasets is empty, a dataset is a stream, the number of weights or of values of a column differs from the number of
        datasets, or a weight is negative. When a sample is read: it already has a column with the name of an additional column.

    Examples
    --------
    >>> both = WeightedConcatDataset([[{"x": 0}, {"x": 1}], [{"x": 2}]], weights=[1.5, 2])
    >>> both.cumulative_sizes, both[-1]
    ([3, 5], {'x': 2, 'idx': 0, 'dataset_idx': 1})
    """

    datasets: list[Any]

    def __init__(self, datasets: Iterable[Any], weights: Iterable[Weight] | None, *, seed: int = 42, **kwargs: Iterable[Any]) -> None:
        given = list(datasets)
        self.factors = _checked_weights(given, weights)
        self.weights = [float(factor) for factor in self.factors]
        super().__init__(given)
        self.columns = {name: list(values) for name, values in kwargs.items()}
        for name, values in self.columns.items():
            if len(values) != len(given):
                raise ValueError(f"{name}: has {len(values)} values for {len(given)} datasets; a column needs one per dataset")
        if not isinstance(seed, int | np.integer) or seed < 0:  # NumPy would refuse most other values only when a sample is read
            raise ValueError(f"seed: is {seed!r}; use an integer, 0 or more")
        self.seed = int(seed)
        self.counts = [math.ceil(len(dataset) * weight) for dataset, weight in zip(self.datasets, self.factors, strict=True)]
        self.cumulative_sizes = list(accumulate(self.counts))
        self._cursor = Cursor(epoch=0)

    @property
    def seq_len(self) -> int:
        """Length of a sample, in tokens.

        Raises
        ------
        AttributeError
            A dataset has no `seq_len`.
        ValueError
            The datasets have samples of different lengths.
        """
        lengths = {int(dataset.seq_len) for dataset in self.datasets}
        if len(lengths) > 1:
            raise ValueError(
                f"seq_len: the datasets have samples of {', '.join(map(str, sorted(lengths)))} tokens; they must have the same length"
            )
        return lengths.pop()

    @property
    def epoch(self) -> int:
        """Number of the epoch, from 0."""
        return self._cursor["epoch"]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines the samples that are drawn for the fraction of each weight."""
        self._cursor.move(epoch=checked_int("epoch", epoch))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, idx: int) -> Any:
        """Return a sample with ``dataset_idx``, the index of its dataset, and ``idx``, its index in that dataset."""
        position = checked_index(idx, len(self), "sample")
        dataset_idx = bisect_right(self.cumulative_sizes, position)
        turn = position - self.cumulative_sizes[dataset_idx] + self.counts[dataset_idx]
        return self.sample(dataset_idx, self._sample_index(dataset_idx, turn))

    def sample(self, dataset_idx: int, idx: int) -> Any:
        """Return sample `idx` of a dataset, with both indices and the additional columns; a sample that is not a dict is unchanged."""
        sample = self.datasets[dataset_idx][idx]
        if not isinstance(sample, dict):
            return sample
        for name in self.columns:
            if name in sample:
                raise ValueError(f"{name}: the samples of dataset {dataset_idx} have a column of that name; choose another")
        return {**sample, **{name: values[dataset_idx] for name, values in self.columns.items()}, "idx": idx, "dataset_idx": dataset_idx}

    def _sample_index(self, dataset_idx: int, turn: int) -> int:
        """Return the index of the sample that a dataset contributes at one of its turns."""
        size = len(self.datasets[dataset_idx])
        if turn < self.counts[dataset_idx] // size * size:
            return turn % size
        return int(self.drawn(dataset_idx, np.array([turn % size]), self.epoch)[0])

    def drawn(self, dataset_idx: int, turns: Ints, epoch: int) -> Ints:
        """Return the indices of the samples that are drawn from a dataset in an epoch for the fraction of its weight.

        Each epoch draws a run of a permutation of the samples; `turns` are places in this run. The runs of consecutive epochs cover the
        permutation; then another permutation begins.
        """
        size = len(self.datasets[dataset_idx])
        part = self.counts[dataset_idx] % size
        cycle, run = divmod(epoch, -(-size // part))
        return permuted((run * part + turns) % size, size, derived_key(self.seed, dataset_idx, cycle))


class SequentialWeightedConcatDataset(WeightedConcatDataset):
    """A concatenation of datasets that reads each in its own order.

    The samples for the fraction of a weight are consecutive, and the next epoch continues after them. Parameters, attributes and errors
    are those of `WeightedConcatDataset`. Nothing is drawn at random, so the seed has no effect.

    Examples
    --------
    >>> half = SequentialWeightedConcatDataset([[{"x": x} for x in range(4)]], weights=[0.5])
    >>> [sample["x"] for sample in half], half.set_epoch(1), [sample["x"] for sample in half]
    ([0, 1], None, [2, 3])
    """

    def _sample_index(self, dataset_idx: int, turn: int) -> int:
        return (self.epoch * self.counts[dataset_idx] + turn) % len(self.datasets[dataset_idx])


class WeightedConcatChatDataset(WeightedConcatDataset):
    """A `WeightedConcatDataset` whose samples also carry ``dataset_name``, the label of their dataset.

    Parameters
    ----------
    datasets, weights
        As in `WeightedConcatDataset`.
    labels
        Label of each dataset; None for their indices (``"0"``, ``"1"``), or for no label if there is only one dataset.
    seed
        Seed of the draw.

    Raises
    ------
    ValueError
        As in `WeightedConcatDataset`, or the number of labels differs from the number of datasets.

    Examples
    --------
    >>> both = WeightedConcatChatDataset([[{"x": 0}], [{"x": 1}]], weights=[1, 1], labels=["math", "code"])
    >>> [sample["dataset_name"] for sample in both]
    ['math', 'code']
    """

    def __init__(
        self, datasets: Iterable[Any], weights: Iterable[Weight], labels: Iterable[str | None] | None = None, *, seed: int = 42
    ) -> None:
        given = list(datasets)
        default = [None] if len(given) == 1 else [str(index) for index in range(len(given))]
        super().__init__(given, weights, seed=seed, dataset_name=default if labels is None else labels)


class WeightedConcatIterableDataset(SharedStream):
    """A stream of several datasets, mixed by weight and shuffled, that ranks and loader workers divide.

    The stream continues with the next epoch when one ends, unless `endless` is False; ``len()`` is the number of samples in an epoch.
    Each sample has ``dataset_idx``, the index of its dataset, and ``idx``, its index in that dataset. All ranks read the same number of
    samples, so that no rank waits for another; if the samples do not divide evenly, the first ones are repeated. ``torchdata``'s
    ``StatefulDataLoader`` calls `state_dict` and `load_state_dict`; without loader workers, you can call them yourself. If the trainer
    itself divides the samples among processes, as ``accelerate`` does, let it read all of them: ``set_rank_and_world_size(0, 1)``.

    Parameters
    ----------
    datasets
        Map-style datasets, or streams. The samples of streams of this package are shuffled and mixed like those of other datasets. Streams
        of other classes need a ``__len__``; their samples are mixed in their own order, and a stream that ends begins again. Each process
        and loader worker iterates over such a stream itself; the rank and world size are passed to its `set_rank_and_world_size`, if it has
        one. `state_dict` needs the `state_dict` and `load_state_dict` of such a stream.
    weights
        Factor on the number of samples of each dataset; None for 1 each.
    seed
        Seed of the shuffle.
    rank, world_size
        Rank of this process, and the number of processes; None for those of ``torch.distributed`` when the stream is read, or 0 and 1
        without it.
    endless
        Whether an iteration continues with the next epoch when one ends.
    **kwargs
        Additional columns by name, each with one value per dataset; every sample of a dataset carries its value.

    Raises
    ------
    ValueError
        The list of datasets is empty, a stream of another class has no length, the number of weights differs from the number of datasets,
        a weight is negative, or the rank is not below the world size.
    RuntimeError
        While reading: a stream of another class yields no sample.

    Examples
    --------
    >>> stream = WeightedConcatIterableDataset([[{"x": x} for x in range(4)], [{"x": 9}]], weights=[1, 2], endless=False)
    >>> len(stream), sorted(sample["x"] for sample in stream)
    (6, [0, 1, 2, 3, 9, 9])
    """

    windows: WeightedConcatDataset

    def __init__(
        self,
        datasets: Iterable[Any],
        weights: Iterable[Weight] | None,
        *,
        seed: int = 42,
        rank: int | None = None,
        world_size: int | None = None,
        endless: bool = True,
        **kwargs: Iterable[Any],
    ) -> None:
        given = [_by_index(dataset) for dataset in datasets]
        self._foreign: list[ForeignStream] = []
        super().__init__(rank, world_size, rotates=len(given) > 1, endless=endless)
        self.windows = WeightedConcatDataset(given, weights, seed=seed, **kwargs)
        self._foreign = [dataset for dataset in given if isinstance(dataset, ForeignStream)]
        self._loaded_streams: list[Any] | None = None
        """States from which the streams of other classes resume in the next iteration."""
        if rank is not None:
            self.set_rank_and_world_size(rank, world_size)

    def set_rank_and_world_size(self, rank: int | None, world_size: int | None) -> None:
        """Set the rank of this process and the number of processes; None and None for those of ``torch.distributed`` at read time."""
        super().set_rank_and_world_size(rank, world_size)
        for stream in self._foreign:
            stream.set_rank_and_world_size(rank, world_size)

    def __iter__(self) -> Iterator[Any]:
        """Yield the samples of this process and loader worker; raises the errors of `SharedStream`."""
        samples = super().__iter__()
        states = self._loaded_streams if self._progress.taken else None
        for number, stream in enumerate(self._foreign):
            stream.begin()
            if states is not None:
                stream.load_state_dict(states[number])
        self._loaded_streams = None
        return samples

    def state_dict(self) -> dict[str, Any]:
        """Return the progress of this reader in the epoch and the states of streams of other classes, in JSON types.

        Raises
        ------
        ValueError
            The call is made in a training process whose loader workers read the stream, or ``accelerate`` divides the stream among
            processes, or a stream of another class has no state.
        """
        self._require_states()
        state = super().state_dict()
        if self._foreign and state["taken"]:
            state["streams"] = self._loaded_streams or [stream.state_dict() for stream in self._foreign]
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resume from a state at the next iteration; raises the errors of `SharedStream.load_state_dict`."""
        self._require_states()
        super().load_state_dict(state_dict)
        self._loaded_streams = state_dict.get("streams")
        if self._foreign and state_dict["taken"] and len(self._loaded_streams or ()) != len(self._foreign):
            raise ValueError(f"streams: the state does not have the states of {counted(len(self._foreign), 'stream')} of other classes")

    def _require_states(self) -> None:
        for stream in self._foreign:
            if not stream.has_state:
                raise ValueError(
                    f"datasets: a {stream.name} has no position to save; give it state_dict and load_state_dict, or use map-style datasets "
                    "or streams of this package"
                )

    def save_state(self, output_dir: str | Path, step: str | int) -> None:
        """Save the state of this rank under a step, replacing an earlier state of the same step."""
        file = Path(output_dir).expanduser() / _STATES_FOLDER / str(step) / f"rank-{self._reader().rank}.json"
        replace_file(file, f"{json.dumps(self.state_dict())}\n".encode())

    def load_state(self, load_dir: str | Path, step: str | int | None = None) -> None:
        """Load the state that `save_state` saved for this rank.

        Parameters
        ----------
        load_dir
            The `output_dir` of `save_state`.
        step
            The step; None for the last one.

        Raises
        ------
        FileNotFoundError
            The folder has no state of that step for this rank.
        ValueError
            The state cannot be read, or belongs to another stream.
        """
        states = Path(load_dir).expanduser() / _STATES_FOLDER
        names = (path.name for path in states.glob("*") if path.is_dir())
        saved = sorted(names, key=lambda name: (int(name) if name.isdecimal() else -1, name))  # names, then numbers by value
        chosen = str(step) if step is not None else (saved[-1] if saved else "")
        file = states / chosen / f"rank-{self._reader().rank}.json"
        if chosen not in saved or not file.is_file():
            raise FileNotFoundError(f"{file}: does not exist; saved steps: {', '.join(saved) or 'none'}")
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as problem:
            raise ValueError(f"{file}: is not a valid state: {problem}") from None
        self.load_state_dict(state)

    def _read(self, positions: Ints, epoch: int) -> Iterator[dict[str, Any]]:
        chosen, turns = Interleaved(self.windows.counts).locate(positions)
        indices = np.empty(len(positions), dtype=np.int64)
        passes, turns = np.divmod(turns, np.array([len(dataset) for dataset in self.windows.datasets])[chosen])
        for dataset_idx, number in set(zip(chosen.tolist(), passes.tolist(), strict=True)):
            in_pass = (chosen == dataset_idx) & (passes == number)
            indices[in_pass] = self._samples_of_pass(dataset_idx, number, turns[in_pass], epoch)
        return map(self.windows.sample, chosen.tolist(), indices.tolist())

    def _samples_of_pass(self, dataset_idx: int, number: int, turns: Ints, epoch: int) -> Ints:
        """Return the samples of a dataset at turns of one pass over it. The last pass can be the fraction of its weight."""
        size = len(self.windows.datasets[dataset_idx])
        if (number + 1) * size > self.windows.counts[dataset_idx]:
            return self.windows.drawn(dataset_idx, turns, epoch)
        # Passes count from 1, because the key of (…, 0) equals the key of (…), which `drawn` uses.
        return permuted(turns, size, derived_key(self.windows.seed, dataset_idx, epoch, number + 1))

    def _identity(self) -> dict[str, Any]:
        return {
            "kind": type(self).__name__,
            "samples": [len(dataset) for dataset in self.windows.datasets],
            "weights": [str(factor) for factor in self.windows.factors],
            "seed": int(self.windows.seed),
        }


def _by_index(dataset: Any) -> Any:
    """Return an object that reads the samples of a dataset by index."""
    if isinstance(dataset, SharedStream):
        return dataset.windows
    return ForeignStream(dataset) if _is_stream(dataset) else dataset


def _is_stream(dataset: Any) -> bool:
    return isinstance(dataset, IterableDataset) or not hasattr(type(dataset), "__getitem__")


def _checked_weights(datasets: Sequence[Any], weights: Iterable[Weight] | None) -> list[Fraction]:
    if not datasets:
        raise ValueError("datasets: is empty; give at least one dataset")
    for dataset in datasets:
        if _is_stream(dataset):
            raise ValueError(f"datasets: a {type(dataset).__name__} is a stream; give a map-style dataset, such as a stream's `windows`")
    given = [1.0] * len(datasets) if weights is None else list(weights)
    if len(given) != len(datasets):
        raise ValueError(f"weights: there are {len(given)} for {len(datasets)} datasets; give one per dataset")
    for weight in given:
        if not 0 <= weight < math.inf:
            raise ValueError(f"weights: {weight} is not a valid weight; use 0 or more")
    return [exact_decimal(weight) for weight in given]
