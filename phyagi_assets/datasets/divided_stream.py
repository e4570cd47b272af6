"""The base class of streams that training processes and loader workers divide, and the part that this process reads."""

import sys
from collections.abc import Mapping
from typing import Any

import torch.distributed
from torch.utils.data import IterableDataset, get_worker_info

from phyagi_assets.datasets.cursor import Cursor
from phyagi_assets.reading.steps import Reader, Shard


def shard_of_process() -> Shard:
    """Return the part that this process reads: its part in ``torch.distributed``, or everything."""
    if is_distributed():
        return Shard(rank=torch.distributed.get_rank(), world_size=torch.distributed.get_world_size())
    return Shard()


def this_reader(shard: Shard) -> Reader:
    """Return the reader that runs this code, given the part of its training process."""
    worker = get_worker_info()
    index, workers = (worker.id, worker.num_workers) if worker else (0, 0)
    return Reader(rank=shard.rank, world_size=shard.world_size, worker=index, workers=workers)


class DividedStream(IterableDataset[dict[str, Any]]):
    """Base class of streams that training processes and loader workers divide.

    Parameters
    ----------
    rank, world_size
        Rank of this process, and the number of processes; None for those of ``torch.distributed`` when the stream is read, or 0 and 1
        without it.
    numbers
        The numbers of the cursor, and their initial values.
    """

    def __init__(self, rank: int | None, world_size: int | None, numbers: Mapping[str, int]) -> None:
        self._cursor = Cursor(**numbers)
        self.set_rank_and_world_size(rank, world_size)

    @property
    def shard(self) -> Shard:
        """The rank of this process, and the number of processes."""
        return self._shard or shard_of_process()

    def set_rank_and_world_size(self, rank: int | None, world_size: int | None) -> None:
        """Set the rank of this process and the number of processes; None and None for those of ``torch.distributed`` at read time."""
        self._shard = Shard.given(rank, world_size)

    def _reader(self) -> Reader:
        """Return the reader that runs this code.

        Raises
        ------
        ValueError
            ``accelerate`` runs several processes, and the rank and world size of the stream are not set; or a ``datasets.IterableDataset``
            over this stream is read by several loader workers.
        """
        worker = get_worker_info()
        if worker and worker.num_workers > 1 and type(worker.dataset).__module__.partition(".")[0] == "datasets":
            raise ValueError(
                "num_workers: both a datasets.IterableDataset and this stream would divide the samples among the loader workers, and "
                "samples would be left out; pass the stream itself to the DataLoader, or use one loader worker"
            )
        if self._shard is None and self.shard.world_size > 1 and accelerate_runs():
            raise ValueError(
                "rank, world_size: both accelerate and this stream would divide the samples among the processes; if accelerate prepares "
                "the loader, call set_rank_and_world_size(0, 1); otherwise set the rank and the world size"
            )
        return this_reader(self.shard)

    @property
    def _is_divided_by_accelerate(self) -> bool:
        """Whether ``accelerate`` divides the samples among the processes, and reads them ahead."""
        return accelerate_runs() and self.shard.world_size < shard_of_process().world_size

    def _require_known(self) -> None:
        """Raise an error in a training process whose loader workers read the stream, or if ``accelerate`` reads it ahead."""
        if self._is_divided_by_accelerate:
            raise ValueError(
                "accelerate divides the samples of this stream among the processes, and reads it ahead of them, so that its state would "
                "leave samples out (also with use_stateful_dataloader); keep the position yourself, which is the number of steps times the "
                "samples of all processes per step, or use the map-style dataset"
            )
        if get_worker_info() is None and self._cursor.is_read_by_workers:
            raise ValueError(
                "loader workers read this stream, and only their loader knows how much of it was delivered; save the state of a "
                "MixtureLoader or of torchdata's StatefulDataLoader instead"
            )

    def __getstate__(self) -> dict[str, Any]:
        shard = self._shard
        if shard is None and is_distributed() and not accelerate_runs():
            shard = shard_of_process()  # a spawned loader worker cannot ask torch.distributed
        return {**self.__dict__, "_shard": shard}


def is_distributed() -> bool:
    """Return whether ``torch.distributed`` is initialized."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def accelerate_runs() -> bool:
    """Return whether ``accelerate`` is in use in this process."""
    state = sys.modules.get("accelerate.state")
    return state is not None and bool(state.is_initialized())
