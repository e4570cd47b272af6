"""How processes and loader workers share a stream, and how it is taken up again.

A stream of n samples is dealt out like cards: position p goes to rank p mod world_size, and of a rank's positions every one in turn to
the next of its loader workers. Nothing is stored but how many each has taken.
"""

import logging
import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed
from torch.utils.data import IterableDataset, get_worker_info

logger = logging.getLogger(__name__)

_BLOCK = 1024
"""Positions that are located at once."""


class Epoch:
    """The number of an epoch, in memory that loader workers share: those that outlive an epoch see it change."""

    def __init__(self) -> None:
        self._number = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    @property
    def number(self) -> int:
        """Which epoch it is, from 0."""
        return int(self._number)

    @number.setter
    def number(self, epoch: int) -> None:
        if epoch < 0:
            raise ValueError(f"epoch: is {epoch}; epochs are counted from 0")
        self._number.fill_(epoch)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._number = state["_number"].share_memory_()


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """The part of a stream that one of several training processes reads."""

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank: is {self.rank} in a world of {self.world_size}; ranks go from 0 to one below the world's size")

    @classmethod
    def of_process(cls, rank: int | None = None, world_size: int | None = None) -> "Shard":
        """Settle which part this process reads: as told, else as ``torch.distributed`` says, else all of it.

        Raises
        ------
        ValueError
            The rank is not below the world size, or only one of the two is told.
        """
        if (rank is None) != (world_size is None):
            raise ValueError("rank, world_size: one is given without the other; give both, or neither")
        if rank is not None and world_size is not None:
            return Shard(rank=rank, world_size=world_size)
        if _is_distributed():
            return Shard(rank=torch.distributed.get_rank(), world_size=torch.distributed.get_world_size())
        return Shard()

    def length(self, samples: int) -> int:
        """Samples that each process reads: as many for all, so that none waits for another; the first ones come again if need be."""
        return -(-samples // self.world_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader(Shard):
    """One of those that share a stream: a training process, or a loader worker of it."""

    worker: int = 0
    workers: int = 0
    """None where the process reads by itself."""

    def rest(self, samples: int, taken: int) -> range:
        """Which of its process's samples are still to come after it has taken some."""
        step = max(self.workers, 1)
        return range(self.worker + taken * step, self.length(samples), step)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Progress:
    """How many samples of an epoch a reader has taken."""

    epoch: int = 0
    taken: int = 0
    reader: Reader = Reader()


class SharedStream(IterableDataset[dict[str, Any]]):
    """What the streams have in common: the sharing, the epoch and the state.

    Parameters
    ----------
    rank, world_size
        Which of how many processes this is; None for what ``torch.distributed`` says when the stream is read, or the only one.
        Where ``accelerate`` runs several processes, it has to be told: that divides what it reads by itself.
    """

    def __init__(self, rank: int | None, world_size: int | None) -> None:
        self._epoch = Epoch()
        self._shard = Shard.of_process(rank, world_size) if rank is not None or world_size is not None else None
        self._progress = _Progress()
        self._is_loaded = False

    @property
    @abstractmethod
    def windows(self) -> Any:
        """The samples of the stream by index: a map-style dataset."""

    @abstractmethod
    def _samples(self) -> int:
        """How many samples there are for all processes."""

    @abstractmethod
    def _read(self, positions: npt.NDArray[np.int64], epoch: int) -> Iterator[dict[str, Any]]:
        """The samples at positions of an epoch."""

    @abstractmethod
    def _identity(self) -> dict[str, Any]:
        """What tells the stream from others, as JSON has it."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration reads."""
        self._epoch.number = epoch

    def set_rank_and_world_size(self, rank: int | None, world_size: int | None) -> None:
        """Say which of how many processes this is; None and None for what ``torch.distributed`` says when the stream is read."""
        self._shard = Shard.of_process(rank, world_size) if rank is not None or world_size is not None else None

    def __len__(self) -> int:
        """Samples that this process reads."""
        return self._reader().length(self._samples())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The samples of this process and loader worker: the epoch, or what a state that was loaded leaves of it.

        Raises
        ------
        ValueError
            The state that was loaded is of another rank, or of another number of processes or workers.
        """
        reader, epoch, taken, loaded = self._reader(), self._epoch.number, 0, self._progress
        if self._is_loaded and loaded.epoch == epoch:
            _require_same(loaded, reader)
            taken = loaded.taken
        elif self._is_loaded and loaded.taken and loaded.reader.rest(self._samples(), loaded.taken):
            logger.warning(
                "the state that was loaded is of epoch %d after %d samples; the rest of that is not read, since the epoch was set to %d",
                *(loaded.epoch, loaded.taken, epoch),
            )
        self._is_loaded = False
        self._progress = _Progress(epoch=epoch, taken=taken, reader=reader)
        return self._stream(self._progress)

    def _stream(self, progress: _Progress) -> Iterator[dict[str, Any]]:
        reader, samples, taken = progress.reader, self._samples(), progress.taken
        rest = reader.rest(samples, taken)
        for first in range(0, len(rest), _BLOCK):
            turns = np.array(rest[first : first + _BLOCK])
            for sample in self._read((reader.rank + turns * reader.world_size) % samples, progress.epoch):
                taken += 1
                self._progress = _Progress(epoch=progress.epoch, taken=taken, reader=reader)
                yield sample

    def _reader(self) -> Reader:
        shard, worker = self._shard or Shard.of_process(), get_worker_info()
        if self._shard is None and shard.world_size > 1 and accelerate_runs():
            raise ValueError(
                "rank, world_size: accelerate divides what it is given among the processes, and so would this stream; say "
                "set_rank_and_world_size(0, 1), to give it all of it, or the rank and world size, where you read the stream yourself"
            )
        index, workers = (worker.id, worker.num_workers) if worker else (0, 0)
        return Reader(rank=shard.rank, world_size=shard.world_size, worker=index, workers=workers)

    def state_dict(self) -> dict[str, Any]:
        """How far this reader is in the epoch, as JSON has it. After the last sample, the state is that of an epoch with nothing left."""
        epoch = self._epoch.number
        progress = self._progress if self._progress.epoch == epoch else _Progress(epoch=epoch)
        return {"stream": self._identity(), **asdict(progress)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Let the next iteration go on where the state was taken.

        Raises
        ------
        ValueError
            It is no state, or one of another stream. When the iteration begins: it is of another rank, or of another number of processes
            or workers.
        """
        try:
            progress = _Progress(epoch=int(state_dict["epoch"]), taken=int(state_dict["taken"]), reader=Reader(**state_dict["reader"]))
            stream = dict(state_dict["stream"])
        except (KeyError, TypeError) as problem:
            raise ValueError(f"the state is none that a stream gave: {problem!r}") from None
        for name, own in self._identity().items():
            if stream.get(name) != own:
                raise ValueError(f"{name}: the state is of a stream with {stream.get(name)}, and this one has {own}; go on with the same")
        self._epoch.number = progress.epoch
        self._progress, self._is_loaded = progress, True

    def __getstate__(self) -> dict[str, Any]:
        told = self._shard or (Shard.of_process() if _is_distributed() and not accelerate_runs() else None)
        return {**self.__dict__, "_shard": told}  # a spawned worker cannot ask torch.distributed


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def accelerate_runs() -> bool:
    state = sys.modules.get("accelerate.state")
    return state is not None and bool(state.is_initialized())


def _require_same(progress: _Progress, reader: Reader) -> None:
    now = asdict(reader)
    for name, before in asdict(progress.reader).items():
        if progress.taken and now[name] != before:
            raise ValueError(f"{name}: the state was taken with {before} and is taken up with {now[name]}; go on as it was taken")
