"""A loader of batches of a mixture whose state is the position after the last delivered batch."""

import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, NoReturn

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from phyagi_assets.datasets.lightning_loop import LIGHTNING, EpochsOfLightning, fit_loop, require_same_step
from phyagi_assets.datasets.mixed_dataset import MixedDataset, unstacked
from phyagi_assets.datasets.mixture_stream import MixtureStream
from phyagi_assets.datasets.sent_samples import SentSamples
from phyagi_assets.order.permutation import Ints
from phyagi_assets.reading.numbers import checked_int
from phyagi_assets.reading.steps import PlannedReads

Collate = Callable[[list[dict[str, Any]]], Any]


class MixtureLoader:
    """A loader of batches of a mixture, whose state counts delivered batches only.

    In training, an iteration ends with the first batch that reaches the end of an epoch of the mixture, and the next iteration continues
    from there. In other splits, each iteration is one pass over the whole split in order, with a short last batch; see `MixtureStream`.

    Parameters
    ----------
    dataset, batch_size
        As in `MixtureStream`.
    num_workers
        Number of loader workers; it does not change the order.
    position, endless, rank, world_size, drop_last
        As in `MixtureStream`. Lightning resumes exactly only with a loader that has a length, so it cannot use `endless`.
    collate_fn
        Function that collates a list of samples into a batch, as in ``DataLoader``; by default samples are stacked.
    **loader
        Further options of ``DataLoader``: ``pin_memory`` and, with loader workers, ``prefetch_factor``, ``multiprocessing_context``,
        ``worker_init_fn``, ``generator`` and ``timeout``. Options that set the order, such as ``shuffle`` and ``sampler``, are refused.

    Raises
    ------
    TypeError
        The dataset is not a split of a mixture.
    ValueError
        A number is out of range, or an option would change the order or has no effect.

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
        drop_last: bool = False,
        collate_fn: Collate | None = None,
        **loader: Any,
    ) -> None:
        self._stream = _OwnStream(
            dataset,
            batch_size=batch_size,
            position=position,
            endless=endless,
            rank=rank,
            world_size=world_size,
            drop_last=drop_last,
        )
        self._pins = loader.pop("pin_memory", False) and torch.cuda.is_available()
        self._options = _checked_options(num_workers, loader)
        self._num_workers = num_workers
        self._collate = collate_fn
        self._is_untouched = not position

    @property
    def seq_len(self) -> int:
        """Length of a sample, in tokens."""
        return self._stream.seq_len

    @property
    def position(self) -> int:
        """The next position, the same for all processes."""
        return self._stream.position

    @position.setter
    def position(self, position: int) -> None:
        self._stream.position = position
        self._is_untouched = False

    @property
    def batch_sampler(self) -> EpochsOfLightning:
        """Object that Lightning calls with the number of each epoch; it is not a sampler."""
        return EpochsOfLightning(self, self._stream, is_untouched=self._is_untouched)

    @property
    def dataset(self) -> NoReturn:
        """Refuse access, because this loader is not a ``DataLoader`` over a dataset.

        Raises
        ------
        AttributeError
            Always. ``accelerate`` accesses the attribute to skip batches, so the message says how to skip them.
        """
        raise AttributeError(
            "dataset: a MixtureLoader is not a DataLoader over a dataset, and accelerate's skip_first_batches cannot skip its batches; "
            "load a state, or add batches * batch_size * processes to the loader's position"
        )

    def __getitem__(self, index: object) -> NoReturn:
        """Refuse access, because a loader has no samples to index.

        Raises
        ------
        TypeError
            Always. A ``Trainer`` or ``DataLoader`` with the loader as its dataset calls it, so the message says which dataset to use.
        """
        raise TypeError(
            "a MixtureLoader is a loader and not a dataset; for a Trainer or a DataLoader, use MixtureStream(mixture.train, batch_size=…, "
            "samples=True), or a split such as mixture.validation"
        )

    def __len__(self) -> int:
        """Return the number of batches up to the end of the epoch of the mixture, or of the pass over another split.

        If the position was set or loaded from a state, the batches before it in the epoch are counted too, because trainers expect this.

        Raises
        ------
        TypeError
            The loader is endless.
        """
        return len(self._stream)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches that follow the last iteration or the loaded state.

        Raises
        ------
        ValueError
            Lightning trains with an endless loader.
        """
        is_of_lightning = sys._getframe(1).f_globals.get("__name__") in _LIGHTNING_MODULES
        if self._stream.endless and self._stream.dataset.split == "train" and is_of_lightning:
            raise ValueError(
                "endless: Lightning reads one batch ahead of a loader without a length, so a run resumed from its checkpoint would skip "
                "that batch; omit endless, and end the training with the Trainer's max_steps or max_epochs"
            )
        shard = self._stream.shard
        self._stream.set_rank_and_world_size(shard.rank, shard.world_size)
        return self._batches()

    def _batches(self) -> Iterator[Any]:
        """Yield batches from the position at the time of the first request; Lightning may load a state until then."""
        self._is_untouched = False
        batches = self._batches_from_workers() if self._num_workers else iter(self._stream)
        yield from map(self._collated, batches) if self._collate or self._pins else batches

    def _collated(self, batch: dict[str, Any]) -> Any:
        collated = self._collate(unstacked(batch)) if self._collate else batch
        return _pinned(collated) if self._pins else collated

    def _batches_from_workers(self) -> Iterator[dict[str, Any]]:
        stream = self._stream
        reads = stream.blocks()
        sent = DataLoader(
            _Blocks(stream.dataset, reads),
            batch_size=None,
            sampler=reads,
            collate_fn=_identity,
            num_workers=self._num_workers,
            **self._options,
        )
        deliver = stream.delivery()
        for block in sent:
            for batch in stream.dataset.batches(block, min(stream.batch_size, len(block.positions))):
                deliver()
                yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last delivered batch, the same on every rank: the position, the plan and the split.

        In a checkpoint of Lightning, which counts batches, it also contains the number of samples per step.
        """
        state = {name: value for name, value in self._stream.state_dict().items() if name != "end"}
        return {**state, "step": self._stream.step} if fit_loop() is not None else state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a state, with any number of processes, workers and samples per batch.

        Raises
        ------
        ValueError
            The value is not a state of a mixture, it belongs to another split, or its plan and this plan differ in their order up to the
            position; or Lightning, with `max_epochs`, loads it within an epoch, and it was saved with another number of samples per step.
        """
        self._stream.load_state_dict(state)
        require_same_step(state, self._stream.step)
        self._is_untouched = False


class _OwnStream(MixtureStream):
    """The stream of a loader, which never sends its batches to other processes."""

    @property
    def _is_divided_by_accelerate(self) -> bool:
        return False

    @property
    def _leaves_out_names(self) -> bool:
        return False


_LIGHTNING_MODULES = frozenset(f"{package}.trainer.connectors.data_connector" for package in LIGHTNING)
"""Names of the modules in which Lightning first iterates over its loaders, to check them."""
_PROCESS_OPTIONS = frozenset({"generator", "worker_init_fn", "pin_memory_device"})
_WORKER_OPTIONS = frozenset({"prefetch_factor", "multiprocessing_context", "timeout", "persistent_workers"})
_FIXED_OPTIONS = {"shuffle": False, "sampler": None, "batch_sampler": None, "in_order": True}


def _checked_options(num_workers: int, loader: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options of a loader and return those for ``DataLoader``."""
    checked_int("num_workers", num_workers)
    options = {}
    for name, value in loader.items():
        if name in _FIXED_OPTIONS:
            if value is not _FIXED_OPTIONS[name]:
                raise ValueError(
                    f"{name}: the plan sets the order of a mixture, and {name}={value!r} would change it; omit it, or give "
                    "a DataLoader the map-style split, such as mixture.train"
                )
        elif name in _WORKER_OPTIONS and not num_workers:
            if value:
                raise ValueError(f"{name}: {value!r} has no effect without worker processes; set num_workers, or omit {name}")
        elif name in _PROCESS_OPTIONS | _WORKER_OPTIONS:
            options[name] = value
        else:
            known = ", ".join(sorted(_PROCESS_OPTIONS | _WORKER_OPTIONS | {"collate_fn", "drop_last", "pin_memory"}))
            raise ValueError(f"{name}: is not an option of a MixtureLoader; supported options of DataLoader: {known}")
    return options


class _Blocks(Dataset[SentSamples]):
    """Blocks of many batches, which loader workers read and send at once, because sending a tensor takes longer than reading it."""

    def __init__(self, dataset: MixedDataset, reads: PlannedReads) -> None:
        self._dataset, self._reads = dataset, reads
        self._has_begun = False

    def __getitem__(self, positions: Ints) -> SentSamples:
        if not self._has_begun and (worker := get_worker_info()):
            self._has_begun = True
            self._dataset.expect(islice(self._reads, worker.id, None, worker.num_workers))  # workers read in turn
        return SentSamples(self._dataset.read(positions))


def _identity(batch: Any) -> Any:
    return batch


def _pinned(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return {name: _pinned(column) for name, column in batch.items()}
    return batch.pin_memory() if isinstance(batch, torch.Tensor) else batch
