"""A mixture as a stream: shared by ranks and loader workers, and taken up again from one integer."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from phyagi_assets.datasets.mixed_dataset import MixedDataset
from phyagi_assets.datasets.sharding import Shard, accelerate_runs
from phyagi_assets.order.permutation import Ints

_TOGETHER = 1 << 21
"""Tokens that are gathered at once: as many as it takes for the overhead of an array to vanish among the batches."""
_SENT = 1 << 19
"""Tokens that a loader worker sends at once: a message costs the time of several batches, and all under way have room in 64 MB."""
_SAMPLES = 4096
"""Samples that are read at once at most, however short they are."""


class MixtureStream(IterableDataset[dict[str, Any]]):
    """The batches of a mixture for one of several training processes.

    Step by step, the processes share the next ``world_size · batch_size`` positions, each a run of `batch_size`. Loader workers take the
    runs in turn, so that a ``DataLoader`` gives them in one order for any number of workers.

    An iteration ends with the first step that reaches the end of an epoch of the mixture; the next one goes on from there, after
    `set_epoch` where there are loader workers (trainers call it). In a split other than ``train``, the first samples come again where the
    last step goes beyond its end.

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
        Which of how many processes this is; by default what ``torch.distributed`` says when the stream is read, or the only one. A trainer
        that divides what it reads by itself, as ``accelerate`` does, is to be given all of it: 0 and 1.

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
        self._shard = Shard.of_process(rank, world_size) if rank is not None or world_size is not None else None
        self._end: int | None = None
        """Of the iteration that is under way."""
        self._loaded_end: int | None = None
        """Of the iteration that the state which was loaded is of."""

    @property
    def shard(self) -> Shard:
        """Which of the processes this is."""
        return self._shard or Shard.of_process()

    def set_rank_and_world_size(self, rank: int, world_size: int) -> None:
        """Say which of how many processes this is."""
        self._shard = Shard(rank=rank, world_size=world_size)

    @property
    def step(self) -> int:
        """Positions that all processes together read at a step."""
        return self.batch_size * self.shard.world_size

    def set_epoch(self, epoch: int) -> None:
        """Go on where an epoch of the mixture begins, unless the position is there or further already."""
        begins = len(self.dataset) + (epoch - 1) * self.dataset.order.epoch_length if epoch else 0
        step = self.step
        position = self._origin + max(0, _steps(begins - self._origin, step)) * step
        if position > self.position:
            self.position, self._loaded_end = position, None

    def _stop(self) -> int | None:
        """Where an iteration from here on ends: with the epoch of the mixture, or with the iteration that was interrupted."""
        if self.endless or self._loaded_end is not None:
            return None if self.endless else self._loaded_end
        first, epoch = len(self.dataset), self.dataset.order.epoch_length
        return first + max(0, (self.position - first) // epoch + 1) * epoch

    def __len__(self) -> int:
        """Batches, or samples, that this process reads in an epoch of the mixture.

        Raises
        ------
        TypeError
            There is no end.
        """
        stop = self._stop()
        if stop is None:
            raise TypeError("an endless stream has no length")
        return max(0, _steps(stop - self.position, self.step)) * (self.batch_size if self.samples else 1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """What this process and loader worker reads, as `MixedDataset.batch` or `MixedDataset.__getitem__` gives it.

        Raises
        ------
        ValueError
            ``accelerate`` runs several processes, and the stream was not told which part is its own.
        """
        return self._read(self.position, self._begun())

    def blocks(self) -> Iterator[Ints]:
        """The positions that this process reads, some batches together, for others to read in their order.

        Raises
        ------
        ValueError
            As iterating does.
        """
        return self._positions(self.position, self._begun(), self.step, _SENT)

    def _begun(self) -> int | None:
        """Begin an iteration: where it ends."""
        if self._shard is None and self.shard.world_size > 1 and accelerate_runs():
            raise ValueError(
                "rank, world_size: accelerate divides what it is given among the processes, and so would this stream; say "
                "rank=0, world_size=1, to give it all of it, or the rank and world size, where you read the stream yourself"
            )
        self._end, self._loaded_end = self._stop(), None
        return self._end

    def _read(self, begin: int, stop: int | None) -> Iterator[dict[str, Any]]:
        worker, step, following = get_worker_info(), self.step, begin
        turn, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        blocks = self._positions(begin + turn * step, stop, workers * step, _TOGETHER)
        for positions, then in _with_next(blocks):
            for number, batch in enumerate(self.dataset.batches(self.dataset.read(positions), self.batch_size)):
                following += workers * step
                given = _samples(batch, self.batch_size) if self.samples else [batch]
                yield from given[:-1]
                self.position = following  # before the run's end is given: what is asked for next is what comes after it
                yield given[-1]
                if not number and then is not None:  # behind the first batch, which may be waited for
                    self.dataset.announce(then)
        if stop is not None:  # the same for all workers, whoever of them gave the last run
            self.position, self._end = begin + _steps(stop - begin, step) * step, None

    def _positions(self, begin: int, stop: int | None, stride: int, tokens: int) -> Iterator[Ints]:
        """The positions of this process and loader worker, some runs at a time, of not many more tokens than that.

        The first run is alone, for somebody waits for it; then they are four times as many each time.
        """
        most = max(1, min(_SAMPLES, tokens // self.dataset.plan.seq_len) // self.batch_size)
        own = self.shard.rank * self.batch_size + np.arange(self.batch_size)
        together = 1
        while stop is None or begin < stop:
            runs = begin + stride * np.arange(together if stop is None else min(together, _steps(stop - begin, stride)))
            yield (runs[:, None] + own).ravel()
            begin += stride * len(runs)
            together = min(4 * together, most)

    def state_dict(self) -> dict[str, Any]:
        """The position that is next, and the plan that it is a position in; in the middle of a run, the run's beginning.

        While an iteration is under way, its end too: loader workers that go on together have to agree on it.
        """
        plan = self.dataset.plan
        return {"position": self.position, "plan": plan.fingerprint, "mixture": plan.name, "end": self._end}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises
        ------
        ValueError
            It is no state, or one of another plan, and not of an earlier one that this one agrees with up to the position.
        """
        plan = self.dataset.plan
        try:
            fingerprint, position, end = state["plan"], int(state["position"]), state.get("end")
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise ValueError(f"the state is none that a mixture gave: {problem!r}") from None
        if not plan.agrees(fingerprint, position):
            raise ValueError(
                f"the state is of plan {fingerprint} of mixture {state.get('mixture')!r} at position {position}, and this is plan "
                f"{plan.fingerprint} of {plan.name!r}, whose order up to there is another one; open the plan that the state is of"
            )
        self.position = self._origin = position
        self._loaded_end = end

    def __getstate__(self) -> dict[str, Any]:
        settled = self._shard or (None if accelerate_runs() else self.shard)
        return {**self.__dict__, "_shard": settled}  # a spawned worker cannot ask torch.distributed


def _with_next(blocks: Iterator[Ints]) -> Iterator[tuple[Ints, Ints | None]]:
    """Each block, and the one after it."""
    block = next(blocks, None)
    while block is not None:
        then = next(blocks, None)
        yield block, then
        block = then


def _samples(batch: dict[str, Any], count: int) -> list[dict[str, Any]]:
    return [{name: column[i] for name, column in batch.items()} for i in range(count)]


def _steps(positions: int, step: int) -> int:
    """Steps that it takes to get past some positions."""
    return -(-positions // step)
