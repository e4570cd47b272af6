"""Streams of samples that training processes and loader workers divide, and that resume from a state.

In each step, every rank reads one of the next world_size positions, and the loader workers of a rank take its steps in turn. In a stream of
one dataset, rank i reads position i. In a mixture, whose datasets alternate, a rank with a fixed place would often read the same dataset
every time, so the places rotate by a pseudorandom number in each step. The state of a reader is the number of samples that it has read.
"""

import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import get_worker_info

from phyagi_assets.datasets.divided_stream import DividedStream
from phyagi_assets.formatting import counted
from phyagi_assets.order.permutation import Ints, derived_key, uniform
from phyagi_assets.reading.numbers import checked_int
from phyagi_assets.reading.steps import Reader

logger = logging.getLogger(__name__)

_BLOCK = 1024
"""Number of positions to locate in one pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Progress:
    """The progress of one reader in an epoch."""

    epoch: int = 0
    taken: int = 0
    """Number of samples that the reader has read."""
    reader: Reader = field(default_factory=Reader)
    is_rotated: bool = False
    """Whether the places of the readers rotate; in the rest of an epoch that an earlier release began, they do not."""


class SharedStream(DividedStream):
    """Base class of streams whose state belongs to one reader. It divides the samples and counts the epochs.

    Parameters
    ----------
    rank, world_size
        Rank of this process, and number of processes; None for those of ``torch.distributed`` when the stream is read, or 0 and 1
        without it. If ``accelerate`` runs several processes, set both, because ``accelerate`` divides the samples itself.
    rotates
        Whether the places of the readers rotate, because nearby positions belong to several datasets.
    endless
        Whether an iteration continues with the next epoch when one ends.
    """

    windows: Any
    """The samples of the stream by index: a map-style dataset."""

    def __init__(self, rank: int | None, world_size: int | None, *, rotates: bool = False, endless: bool = False) -> None:
        # All numbers but the epoch belong to a loaded state.
        super().__init__(rank, world_size, {"epoch": 0, "is_loaded": 0, "loaded_epoch": 0, "taken": 0, "is_rotated": 0, **asdict(Reader())})
        self._progress = _Progress()
        self._rotates, self.endless = rotates, endless

    @property
    def seq_len(self) -> int:
        """Length of a sample, in tokens."""
        return int(self.windows.seq_len)

    @abstractmethod
    def _read(self, positions: npt.NDArray[np.int64], epoch: int) -> Iterator[dict[str, Any]]:
        """Yield the samples at positions of an epoch."""

    @abstractmethod
    def _identity(self) -> dict[str, Any]:
        """Return the values that identify the stream, in JSON types."""

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next iteration reads."""
        self._cursor.move(epoch=checked_int("epoch", epoch))

    def __len__(self) -> int:
        """Return the number of samples that this process reads in an epoch, which is the same for all processes."""
        return self.shard.steps(len(self.windows))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the samples of this process and loader worker: a whole epoch, or the rest of it after a loaded state.

        An endless stream continues with all later epochs.

        Raises
        ------
        ValueError
            The loaded state is from another rank, or another number of processes or workers; or ``accelerate`` runs several processes, and
            the rank and world size of the stream are not set.
        """
        reader, epoch, taken, is_rotated = self._reader(), self._cursor["epoch"], 0, self._rotates
        is_first = not reader.workers or self._cursor.begin_in_worker(self._cursor.moves)
        loaded = self._loaded() if is_first or self._cursor.is_loaded_here else None
        if loaded and loaded.epoch == epoch:
            _require_same(loaded, reader)
            taken = loaded.taken
            if taken or loaded.reader.workers:  # another worker may have begun the epoch
                is_rotated = loaded.is_rotated
        elif loaded and loaded.taken and self._rest(loaded.reader, loaded.taken):
            logger.warning(
                "the loaded state is from epoch %d after %s; the rest of that epoch is not read, because the epoch was set to %d",
                *(loaded.epoch, counted(loaded.taken, "sample"), epoch),
            )
        if reader.workers:
            self._cursor.forget_own()
        else:
            self._cursor.put(is_loaded=0)
        self._progress = _Progress(epoch=epoch, taken=taken, reader=reader, is_rotated=is_rotated)
        return self._stream(self._progress)

    def _loaded(self) -> _Progress | None:
        """Return the progress that was loaded for the next iteration, or None."""
        cursor = self._cursor
        reader = Reader(**{name: cursor[name] for name in ("rank", "world_size", "worker", "workers")})
        if not cursor["is_loaded"]:
            return None
        return _Progress(epoch=cursor["loaded_epoch"], taken=cursor["taken"], reader=reader, is_rotated=bool(cursor["is_rotated"]))

    def _rest(self, reader: Reader, taken: int) -> range:
        return reader.turns(reader.steps(len(self.windows)), taken)

    def _stream(self, progress: _Progress) -> Iterator[dict[str, Any]]:
        yield from self._rest_of_epoch(progress)
        while self.endless and self._rest(progress.reader, 0):
            progress = _Progress(epoch=progress.epoch + 1, reader=progress.reader, is_rotated=self._rotates)
            self._cursor.put(epoch=progress.epoch)
            self._progress = progress
            yield from self._rest_of_epoch(progress)

    def _rest_of_epoch(self, progress: _Progress) -> Iterator[dict[str, Any]]:
        reader, samples, taken = progress.reader, len(self.windows), progress.taken
        rest = self._rest(reader, taken)
        for first in range(0, len(rest), _BLOCK):
            turns = rest[first : first + _BLOCK]
            positions = _rotated(reader, turns, samples, progress.epoch) if progress.is_rotated else reader.positions(turns)
            for sample in self._read(positions % samples, progress.epoch):
                taken += 1
                self._progress = replace(progress, taken=taken)
                yield sample

    def state_dict(self) -> dict[str, Any]:
        """Return the progress of this reader in the epoch, in JSON types.

        Raises
        ------
        ValueError
            In a training process whose loader workers read the stream, or where ``accelerate`` divides the stream among processes.
        """
        self._require_known()
        epoch, is_asked = self._cursor["epoch"], get_worker_info() is None or self._cursor.is_loaded_here
        progress = (self._loaded() if is_asked else None) or self._progress
        if progress.epoch != epoch:
            progress = _Progress(epoch=epoch, is_rotated=self._rotates)
        return {"stream": self._identity(), **asdict(progress)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resume from a state at the next iteration.

        Raises
        ------
        ValueError
            The value is not a state of a stream, or belongs to another stream. When the iteration begins: it belongs to another rank, or
            was saved with another number of processes or workers.
        """
        try:
            epoch, taken = (checked_int(name, state_dict[name]) for name in ("epoch", "taken"))
            is_rotated = bool(state_dict.get("is_rotated", False))
            progress = _Progress(epoch=epoch, taken=taken, reader=Reader(**state_dict["reader"]), is_rotated=is_rotated)
            stream = dict(state_dict["stream"])
        except (KeyError, TypeError, ValueError) as problem:
            raise ValueError(f"not a state of a stream: {problem!r}") from None
        for name, own in self._identity().items():
            if stream.get(name) != own:
                raise ValueError(
                    f"{name}: the state is from a stream with {stream.get(name)}, but this stream has {own}; resume with the same value"
                )
        numbers = {"is_loaded": 1, "loaded_epoch": progress.epoch, "taken": taken, "is_rotated": int(is_rotated), **asdict(progress.reader)}
        if get_worker_info() is None:  # the training process sets the epoch
            # A StatefulDataLoader without workers loads its state only when the iteration begins, after the next epoch was set.
            asked = self._cursor["epoch"]
            is_asked = progress.epoch < asked != self._progress.epoch and not self._rest(progress.reader, taken)
            numbers["epoch"] = asked if is_asked else progress.epoch
            self._progress = progress
        self._cursor.load(**numbers)


def _rotated(reader: Reader, turns: Sequence[int], samples: int, epoch: int) -> Ints:
    """Return the positions that a reader reads at its turns if the places of workers and ranks rotate.

    The workers of a rank rotate within each round of their turns, of which the last may be short, and the ranks within each step.
    """
    rounds = np.array(turns, dtype=np.int64) // reader.stride * reader.stride
    places = np.minimum(reader.steps(samples) - rounds, reader.stride)
    steps = rounds + (reader.worker + (uniform(rounds, derived_key(epoch, 0)) * places).astype(np.int64)) % places
    shifts = (uniform(steps, derived_key(epoch, 1)) * reader.world_size).astype(np.int64)
    return np.asarray(steps * reader.world_size + (reader.rank + shifts) % reader.world_size)


def _require_same(progress: _Progress, reader: Reader) -> None:
    now = asdict(reader)
    for name, before in asdict(progress.reader).items():
        if progress.taken and now[name] != before:
            raise ValueError(f"{name}: the state was saved with {before} and is resumed with {now[name]}; resume with the same value")
