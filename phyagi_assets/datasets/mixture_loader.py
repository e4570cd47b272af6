"""A mixture as batches: shared by ranks and loader workers, and taken up again from one integer."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from phyagi_assets.datasets.mixed_dataset import MixedDataset
from phyagi_assets.datasets.sharding import Shard
from phyagi_assets.order.permutation import Ints

_TOGETHER = 1 << 21
"""Tokens that are gathered at once: as many as it takes for the overhead of an array to vanish among the batches."""


class MixtureStream(IterableDataset[dict[str, Any]]):
    """The batches of a mixture for one of several training processes.

    Step by step, the processes share the next ``world_size · batch_size`` positions, each a run of `batch_size`. Loader workers take the
    runs in turn, so that a ``DataLoader`` gives them in one order for any number of workers.

    An iteration ends with the first step that reaches the end of an epoch of the mixture; the next one goes on from there, after
    `set_epoch` where there are loader workers (trainers call it).

    Parameters
    ----------
    dataset
        The samples.
    batch_size
        Samples in a run.
    samples
        Whether to give samples one by one, for a ``DataLoader(batch_size=batch_size)`` to stack, as trainers do it; by default whole
        batches, for ``DataLoader(batch_size=None)``.
    position
        Where to begin.
    endless
        Whether an iteration goes on for ever.
    rank, world_size
        Which of how many processes this is; by default what ``torch.distributed`` says, or the only one.

    Raises
    ------
    ValueError
        A number is out of its range.

    Examples
    --------
    >>> from phyagi_assets.datasets import load_mixture
    >>> stream = MixtureStream(load_mixture("demo").train, batch_size=2, rank=1, world_size=2)
    >>> [batch["position"].tolist() for batch in stream]
    [[2, 3], [6, 7]]
    """

    def __init__(
        self,
        dataset: MixedDataset,
        *,
        batch_size: int,
        samples: bool = False,
        position: int = 0,
        endless: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("position", position, 0)):
            if value < least:
                raise ValueError(f"{name}: is {value}; it is {least} or more")
        self.dataset = dataset
        self.batch_size = batch_size
        self.samples = samples
        self.position = position
        self.endless = endless
        self._origin = position
        self._shard = Shard.of_process(rank, world_size)

    @property
    def step(self) -> int:
        """Positions that all processes together read at a step."""
        return self.batch_size * self._shard.world_size

    def set_epoch(self, epoch: int) -> None:
        """Go on where an epoch of the mixture begins, unless the position is there or further already."""
        begins = len(self.dataset) + (epoch - 1) * self.dataset.plan.current.drawn if epoch else 0
        steps = max(0, -(-(begins - self._origin) // self.step))
        self.position = max(self.position, self._origin + steps * self.step)

    def _ends_after(self, position: int) -> int:
        """The end of the epoch of the mixture that a position is in."""
        first, epoch = len(self.dataset), self.dataset.plan.current.drawn
        return first + max(0, (position - first) // epoch + 1) * epoch

    def __len__(self) -> int:
        """Batches, or samples, that this process reads in an epoch of the mixture.

        Raises
        ------
        TypeError
            There is no end.
        """
        if self.endless:
            raise TypeError("an endless stream has no length")
        steps = -(-(self._ends_after(self.position) - self.position) // self.step)
        return steps * (self.batch_size if self.samples else 1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """What this process and loader worker reads, as `MixedDataset.batch` or `MixedDataset.__getitem__` gives it."""
        worker = get_worker_info()
        turn, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        stop = None if self.endless else self._ends_after(self.position)
        stride = workers * self.step
        following = self.position
        for positions in self._positions(self.position + turn * self.step, stop, stride):
            for batch in self.dataset.batches(positions, self.batch_size):
                following += stride
                yield from self._given(batch, following)

    def _positions(self, begin: int, stop: int | None, stride: int) -> Iterator[Ints]:
        """The positions of this process and loader worker, some runs at a time."""
        most = max(1, _TOGETHER // (self.batch_size * self.dataset.plan.seq_len))
        while stop is None or begin < stop:
            runs = begin + stride * np.arange(most if stop is None else min(most, -(-(stop - begin) // stride)))
            yield (runs[:, None] + self._shard.rank * self.batch_size + np.arange(self.batch_size)).ravel()
            begin += stride * len(runs)

    def _given(self, batch: dict[str, Any], following: int) -> Iterator[dict[str, Any]]:
        if self.samples:
            for i in range(self.batch_size - 1):
                yield {name: column[i] for name, column in batch.items()}
            batch = {name: column[-1] for name, column in batch.items()}
        self.position = following  # before the run's end is given: what is asked for next is what comes after it
        yield batch

    def state_dict(self) -> dict[str, Any]:
        """The position that is next, and the plan that it is a position in; in the middle of a run, the run's beginning."""
        return {"position": self.position, "plan": self.dataset.plan.fingerprint, "mixture": self.dataset.plan.name}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises
        ------
        ValueError
            The state is of another plan, and not of an earlier one that this one agrees with up to the position.
        """
        plan, position = self.dataset.plan, int(state["position"])
        if not plan.agrees(state["plan"], position):
            raise ValueError(
                f"the state is of plan {state['plan']} of mixture {state['mixture']!r} at position {position}, and this is plan "
                f"{plan.fingerprint} of {plan.name!r}, whose order up to there is another one; open the plan that the state is of"
            )
        self.position = self._origin = position


class MixtureLoader:
    """Batches of a mixture, and the state of what has been delivered of them.

    An iteration ends with the first batch that reaches the end of an epoch of the mixture; the next one goes on from there.

    Parameters
    ----------
    dataset, batch_size, position, endless, rank, world_size
        As `MixtureStream` takes them.
    num_workers
        Loader workers; the order is the same with any number of them.
    **loader
        What ``DataLoader`` takes besides, such as ``pin_memory``.

    Raises
    ------
    ValueError
        A number is out of its range.

    Examples
    --------
    >>> from phyagi_assets.datasets import load_mixture
    >>> loader = MixtureLoader(load_mixture("demo").train, batch_size=4)
    >>> next(iter(loader))["input_ids"].shape, loader.state_dict()["position"]
    (torch.Size([4, 512]), 4)
    """

    def __init__(
        self,
        dataset: MixedDataset,
        *,
        batch_size: int,
        num_workers: int = 0,
        position: int = 0,
        endless: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
        **loader: Any,
    ) -> None:
        self._stream = MixtureStream(dataset, batch_size=batch_size, position=position, endless=endless, rank=rank, world_size=world_size)
        self._options = {"num_workers": num_workers, **loader}
        self._is_plain = not num_workers and not loader
        self.position = position

    def __len__(self) -> int:
        """Batches up to the end of the epoch of the mixture.

        Raises
        ------
        TypeError
            There is no end.
        """
        self._stream.position = self.position
        return len(self._stream)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The batches from where the last iteration, or the state that was loaded, left off."""
        self._stream.position = self.position
        for batch in self._stream if self._is_plain else DataLoader(self._stream, batch_size=None, collate_fn=_as_it_is, **self._options):
            self.position += self._stream.step
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """What has been delivered: one position, the same on every rank, and the plan that it is a position in."""
        self._stream.position = self.position
        return self._stream.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, with any number of processes, workers and samples in a batch.

        Raises
        ------
        ValueError
            The state is of another plan, and not of an earlier one that this one agrees with up to the position.
        """
        self._stream.load_state_dict(state)
        self.position = self._stream.position


def _as_it_is(batch: Any) -> Any:
    return batch
