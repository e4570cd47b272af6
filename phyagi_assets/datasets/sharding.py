"""How processes and loader workers share a stream, and how it is taken up again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch.distributed
from torch.utils.data import get_worker_info

T = TypeVar("T")

_BLOCK = 1024
"""Positions that are located at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """The part of a stream that one of several training processes reads."""

    rank: int
    world_size: int

    @classmethod
    def of_process(cls, rank: int | None = None, world_size: int | None = None) -> Self:
        """Settle which part this process reads: as told, else as ``torch.distributed`` says, else all of it.

        Raises
        ------
        ValueError
            The rank is not below the world size, or only one of the two is told.
        """
        if (rank is None) != (world_size is None):
            raise ValueError("rank, world_size: one is given without the other; give both, or neither")
        if rank is None or world_size is None:
            distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
            rank, world_size = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed else (0, 1)
        if not 0 <= rank < world_size:
            raise ValueError(f"rank: is {rank} in a world of {world_size}; ranks go from 0 to one below the world's size")
        return cls(rank=rank, world_size=world_size)

    def length(self, samples: int) -> int:
        """Samples that each process reads: as many for all, so that none waits for another; the first ones come again if need be."""
        return -(-samples // self.world_size)


class StreamState:
    """How far a stream is, and where it goes on.

    Parameters
    ----------
    identity
        What tells the stream from others: a state of another one is refused.
    """

    def __init__(self, identity: Sequence[Any]) -> None:
        self._identity = list(identity)
        self._taken = 0
        self._is_loaded = False
        self._reader: dict[str, int] = {}

    def stream(self, shard: Shard, samples: int, locate: Callable[[npt.NDArray[np.int64]], Iterator[T]]) -> Iterator[T]:
        """What this process, and this loader worker in it, reads of a stream.

        Parameters
        ----------
        shard
            The process's part.
        samples
            In the whole stream.
        locate
            Gives what stands at each of an array of positions.

        Raises
        ------
        ValueError
            The state that was loaded is of another rank, or another number of processes or workers.
        """
        worker = get_worker_info()
        index, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        here = {"rank": shard.rank, "world_size": shard.world_size, "worker": index, "workers": workers}
        if self._is_loaded:
            for name, before in self._reader.items():
                if here[name] != before:
                    raise ValueError(f"{name}: the state was taken with {before} and is taken up with {here[name]}; go on as it was taken")
        else:
            self._taken = 0
        self._is_loaded, self._reader = False, here
        for start in range(index + self._taken * workers, shard.length(samples), workers * _BLOCK):
            turns = np.arange(start, min(start + workers * _BLOCK, shard.length(samples)), workers)
            for item in locate((shard.rank + turns * shard.world_size) % samples):
                self._taken += 1
                yield item
        self._taken = 0

    def state_dict(self) -> dict[str, Any]:
        """Samples taken, of what, by which of how many."""
        return {"identity": self._identity, "taken": self._taken, **self._reader}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on where the state was taken.

        Raises
        ------
        ValueError
            The state is of another stream.
        """
        if list(state["identity"]) != self._identity:
            raise ValueError(
                f"the state is of {state['identity']}, and this stream is {self._identity}; a state goes on with what it was taken of"
            )
        self._taken, self._is_loaded = int(state["taken"]), True
        self._reader = {name: state[name] for name in ("rank", "world_size", "worker", "workers") if name in state}
