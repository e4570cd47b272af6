"""A mixture as batches, read by loader workers, with the state of what has been delivered."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader

from phyagi_assets.datasets.mixed_dataset import MixedDataset
from phyagi_assets.datasets.mixture_stream import MixtureStream


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
        stream, shard = self._stream, self._stream.shard
        stream.set_rank_and_world_size(shard.rank, shard.world_size)
        stream.position = self.position
        for batch in stream if self._is_plain else DataLoader(stream, batch_size=None, collate_fn=_as_it_is, **self._options):
            self.position += stream.step
            yield batch

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


def _as_it_is(batch: Any) -> Any:
    return batch
