"""The arithmetic of reading in order: position ↔ epoch ↔ rank ↔ loader worker.

A stream is read in steps. In each step, every training process (rank) reads one run of consecutive positions, and the loader workers of a
process take its runs in turn. Where the next iteration begins is kept in memory that loader workers share, so that workers that outlive an
epoch see it change. How far each reader is stays with the reader.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch.utils.data import get_worker_info


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
        """Return the part that this process reads: the given one, else that of ``torch.distributed``, else everything.

        Raises
        ------
        ValueError
            The rank is not below the world size, or only one of the two is given.
        """
        if (rank is None) != (world_size is None):
            raise ValueError("rank, world_size: one is given without the other; give both, or neither")
        if rank is not None and world_size is not None:
            return Shard(rank=rank, world_size=world_size)
        if is_distributed():
            return Shard(rank=torch.distributed.get_rank(), world_size=torch.distributed.get_world_size())
        return Shard()

    def steps(self, positions: int, run: int = 1) -> int:
        """Return the number of steps that cover some positions, where each process reads a run of so many per step."""
        return -(-positions // (run * self.world_size))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader(Shard):
    """A training process, or one of its loader workers, that reads a part of a stream."""

    worker: int = 0
    workers: int = 0
    """Number of loader workers; 0 where the process reads by itself."""

    @classmethod
    def here(cls, shard: Shard) -> "Reader":
        """Return the reader that runs this code, as part of a training process."""
        worker = get_worker_info()
        index, workers = (worker.id, worker.num_workers) if worker else (0, 0)
        return cls(rank=shard.rank, world_size=shard.world_size, worker=index, workers=workers)

    def turns(self, steps: int, taken: int = 0) -> range:
        """Return the steps that this reader still takes, after it has taken some."""
        stride = max(self.workers, 1)
        return range(self.worker + taken * stride, steps, stride)


@dataclass(frozen=True, kw_only=True, slots=True)
class Epochs:
    """The epochs of an order whose first epoch may have another length than the others."""

    first: int
    later: int

    def start(self, epoch: int) -> int:
        """Return the position at which an epoch begins."""
        return self.first + (epoch - 1) * self.later if epoch else 0

    def length(self, epoch: int) -> int:
        """Return the number of positions in an epoch."""
        return self.later if epoch else self.first

    def at(self, position: int) -> int:
        """Return the epoch that a position is in."""
        return max(0, (position - self.first) // self.later + 1)


class Epoch:
    """The number of an epoch, in memory that loader workers share."""

    def __init__(self) -> None:
        self._cursor = Cursor(epoch=0)

    @property
    def number(self) -> int:
        """The epoch, from 0."""
        return self._cursor["epoch"]

    @number.setter
    def number(self, epoch: int) -> None:
        self._cursor.put(epoch=checked_epoch(epoch))


class Cursor:
    """Named integers that say where the next iteration begins, in memory that loader workers share.

    Parameters
    ----------
    **numbers
        The names, and their initial values.
    """

    def __init__(self, **numbers: int) -> None:
        self._places = {name: place for place, name in enumerate((*numbers, _MOVES, _BEGUN, _LOADER))}
        self._share(torch.tensor([*numbers.values(), 0, -1, 0], dtype=torch.int64))
        self._begun_here: int | None = None
        """In a loader worker, the last move after which it began an iteration."""

    def __getitem__(self, name: str) -> int:
        return int(self._cells[self._places[name]])

    def put(self, **numbers: int) -> None:
        """Change numbers as the training process reads on."""
        for name, number in numbers.items():
            self._cells[self._places[name]] = number

    def setter(self, first: str, second: str) -> Callable[[int, int], None]:
        """Return a function that changes two numbers, as fast as it has to be where it is called for each batch."""
        cells, one, other = self._cells, self._places[first], self._places[second]

        def put(number: int, another: int) -> None:
            cells[one] = number
            cells[other] = another

        return put

    def move(self, **numbers: int) -> None:
        """Change numbers on request: loader workers may begin an iteration here, even if they did before."""
        self.put(**numbers)
        self.put(**{_MOVES: self[_MOVES] + 1})

    @property
    def is_read_by_workers(self) -> bool:
        """Whether loader workers have begun an iteration since the cursor was moved; how much of it was delivered is unknown here."""
        return self[_BEGUN] == self[_MOVES]

    @property
    def moves(self) -> int:
        """How often the cursor was moved."""
        return self[_MOVES]

    def begin_in_worker(self, moves: int) -> bool:
        """Note that this loader worker begins an iteration after some moves; return whether it is the first one after them."""
        worker = get_worker_info()
        assert worker is not None
        loader = worker.seed - worker.id  # the loader's seed: the same for its workers, another one for other workers
        is_first = self._begun_here != moves and (self[_BEGUN] != moves or self[_LOADER] == loader)
        self._begun_here = moves
        if is_first and moves == self.moves:
            self.put(**{_LOADER: loader})  # before the number of moves, which other workers look at first
            self.put(**{_BEGUN: moves})
        return is_first

    def _share(self, memory: torch.Tensor) -> None:
        self._memory = memory.share_memory_()  # type: ignore[no-untyped-call]
        self._cells = memory.numpy()  # the same memory, read and written much faster

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_cells"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._share(self._memory)


_MOVES, _BEGUN, _LOADER = "moves", "moves when loader workers began", "seed of the loader whose workers began"


def checked_epoch(epoch: int) -> int:
    """Return the number of an epoch.

    Raises
    ------
    ValueError
        It is negative.
    """
    if epoch < 0:
        raise ValueError(f"epoch: is {epoch}; epochs are counted from 0")
    return epoch


def is_distributed() -> bool:
    """Return whether ``torch.distributed`` is initialized."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def accelerate_runs() -> bool:
    """Return whether ``accelerate`` is in use in this process."""
    state = sys.modules.get("accelerate.state")
    return state is not None and bool(state.is_initialized())


def read_shard(told: Shard | None) -> Shard:
    """Return the part of a stream to read now: the one that the stream was told, else that of the process.

    Raises
    ------
    ValueError
        ``accelerate`` runs several processes, and the stream was not told its part.
    """
    shard = told or Shard.of_process()
    if told is None and shard.world_size > 1 and accelerate_runs():
        raise ValueError(
            "rank, world_size: accelerate divides what it is given among the processes, and so would this stream; where accelerate "
            "prepares the loader, say set_rank_and_world_size(0, 1) to give it everything; otherwise set the rank and the world size"
        )
    return shard


def picklable_shard(told: Shard | None) -> Shard | None:
    """Return the part to send to a spawned loader worker, which cannot ask ``torch.distributed``."""
    return told or (Shard.of_process() if is_distributed() and not accelerate_runs() else None)


UNKNOWN_IN_MAIN = (
    "loader workers read this stream, and only their loader knows how much of it was delivered; ask the state of a MixtureLoader "
    "or of torchdata's StatefulDataLoader instead"
)
"""Message of a state that is asked in a training process whose loader workers read."""
