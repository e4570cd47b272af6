"""A mixture as batches, read by loader workers, with the state of what has been delivered."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from phyagi_assets.datasets.mixed_dataset import MixedDataset
from phyagi_assets.datasets.mixture_stream import MixtureStream
from phyagi_assets.datasets.read_samples import ReadSamples
from phyagi_assets.order.permutation import Ints


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
        self._pins = loader.pop("pin_memory", False) and torch.cuda.is_available()
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
        stream, shard = self._stream, self._stream.shard
        stream.set_rank_and_world_size(shard.rank, shard.world_size)
        stream.position = self.position
        step = stream.step
        for batch in stream if self._is_plain else self._sent_by_workers():
            self.position += step
            yield _pinned(batch) if self._pins else batch

    def _sent_by_workers(self) -> Iterator[dict[str, Any]]:
        dataset = self._stream.dataset
        sent = DataLoader(_Blocks(dataset), batch_size=None, sampler=self._stream.blocks(), collate_fn=_as_it_is, **self._options)
        for block in sent:
            yield from dataset.batches(block, self._stream.batch_size)

    def state_dict(self) -> dict[str, Any]:
        """What has been delivered: one position, the same on every rank, and the plan that it is a position in."""
        self._stream.position = self.position
        return {name: value for name, value in self._stream.state_dict().items() if name != "end"}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, with any number of processes, workers and samples in a batch.

        Raises
        ------
        ValueError
            It is no state, or one of another plan, and not of an earlier one that this one agrees with up to the position.
        """
        self._stream.load_state_dict(state)
        self.position = self._stream.position


class _Blocks(Dataset[ReadSamples]):
    """What loader workers read. A tensor takes longer to send than to make, so they send the ids of many batches in one piece."""

    def __init__(self, dataset: MixedDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, positions: Ints) -> ReadSamples:
        return self._dataset.read(positions)


def _as_it_is(batch: Any) -> Any:
    return batch


def _pinned(batch: Mapping[str, Any]) -> dict[str, Any]:
    return {name: column.pin_memory() if isinstance(column, torch.Tensor) else column for name, column in batch.items()}
