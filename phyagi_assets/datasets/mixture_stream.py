"""A mixture as a stream that ranks and loader workers divide, and that resumes from one integer."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from phyagi_assets.datasets.divided_stream import DividedStream, accelerate_runs, is_distributed, shard_of_process, this_reader
from phyagi_assets.datasets.loader_frames import batch_size_of_loader, is_stacked_by_loader
from phyagi_assets.datasets.mixed_dataset import MixedDataset, unstacked
from phyagi_assets.formatting import counted
from phyagi_assets.reading.mixture_samples import require_samples
from phyagi_assets.reading.numbers import checked_bool, checked_int
from phyagi_assets.reading.position import position_of, state_at
from phyagi_assets.reading.steps import PlannedReads, Reader, Steps

logger = logging.getLogger(__name__)

_TOKENS_PER_MESSAGE = 1 << 19
"""Number of tokens per message of a loader worker. A message takes as long as several batches, and all in flight fit in 64 MB."""
_NO_END = -1


class MixtureStream(DividedStream):
    """The batches of a mixture for one of several training processes.

    In each step, the processes divide the next ``world_size · batch_size`` positions: every process reads a run of `batch_size`. The loader
    workers of a process take its runs in turn, so that a ``DataLoader`` returns them in the same order for any number of workers.

    In training, an iteration ends with the first step that reaches the end of an epoch of the mixture, and the next iteration continues
    from there. Loader workers do not know how much of an iteration was delivered. With loader workers, call `set_epoch` before each
    iteration, as trainers do; without this call, a second iteration raises an error. A `MixtureLoader` does not need it.

    In a split other than ``train``, each iteration is one pass over the whole split in order. The last step is short. Its samples are
    divided evenly; if they do not divide evenly, up to ``world_size − 1`` samples from the start of the split are repeated, at positions
    from ``len(dataset)``.

    Parameters
    ----------
    dataset
        The samples.
    batch_size
        Samples per run.
    samples
        Whether to yield single samples, for trainers and a ``DataLoader(batch_size=batch_size)`` that stack them. By default the stream
        yields whole batches, for ``DataLoader(batch_size=None)``. Loader workers raise an error if the loader has another batch size.
    position
        First position.
    endless
        Whether iterations have no end. Do not use it with Lightning, which reads one batch ahead if a loader has no length, so that a
        resumed run would skip that batch.
    rank, world_size
        Rank of this process, and number of processes; by default those of ``torch.distributed`` when the stream is read, or 0 and 1
        without it. Set 0 and 1 if ``accelerate`` prepares the loader, because it divides the batches itself; batches then have no
        ``corpus``, because ``accelerate`` sends tensors only.
    drop_last
        Whether to leave out the short last step of a split other than ``train``.

    Raises
    ------
    TypeError
        The dataset is not a split of a mixture.
    ValueError
        A number is out of range.

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
        drop_last: bool = False,
    ) -> None:
        require_samples("dataset", dataset)
        position = checked_int("position", position)
        self.dataset = dataset
        self.batch_size = checked_int("batch_size", batch_size, least=1)
        self.samples = checked_bool("samples", samples)
        self.endless = checked_bool("endless", endless)
        self.drop_last = checked_bool("drop_last", drop_last)
        super().__init__(
            rank,
            world_size,
            {
                **_asked_for(position),
                "origin": position,  # position from which steps are counted
                "end": _NO_END,  # end of the current iteration
            },
        )

    @property
    def seq_len(self) -> int:
        """Length of a sample, in tokens."""
        return self.dataset.seq_len

    @property
    def position(self) -> int:
        """The next position, the same for all processes."""
        return self._cursor["position"]

    @position.setter
    def position(self, position: int) -> None:
        position = checked_int("position", position)
        self._cursor.move(origin=position, **_asked_for(position))

    @property
    def step(self) -> int:
        """Number of positions that all processes together read per step."""
        return self.shard.step(self.batch_size)

    @property
    def _trains(self) -> bool:
        """Whether iterations continue from epoch to epoch, instead of each being one pass over the split."""
        return self.dataset.split == "train"

    @property
    def _steps(self) -> Steps:
        return Steps(
            epochs=self.dataset.epochs,
            seq_len=self.seq_len,
            trains=self._trains,
            batch_size=self.batch_size,
            endless=self.endless,
            drop_last=self.drop_last,
        )

    def set_epoch(self, epoch: int) -> None:
        """Move to the start of an epoch of the mixture, unless the position is already there or beyond.

        Persistent loader workers move too.

        Raises
        ------
        ValueError
            A position or state in an earlier epoch was set, and no iteration has begun since then.
        """
        epoch = checked_int("epoch", epoch)
        begins = self.dataset.epochs.start(epoch) if self._trains else 0
        origin, position = self._cursor["origin"], self._cursor["position"]
        target = origin + self.shard.covered(begins - origin, self.batch_size)
        if target > position:
            if self._cursor["is_asked"] and not self._cursor.is_read_by_workers:
                raise ValueError(
                    f"epoch: is {epoch}, which begins at position {target}, but the stream is set to continue at position {position}, in "
                    f"epoch {self.dataset.epochs.at(position)}, so the samples in between would be left out; if a trainer counts the "
                    "epochs, set no position, and let the trainer skip the samples that were read"
                )
            self._cursor.move(position=target, loaded_end=_NO_END, given=0, is_asked=0, is_placed=0)
        elif epoch >= self.dataset.epochs.at(position) and not (self._cursor["is_asked"] and self._cursor.is_read_by_workers):
            self._cursor.move()  # not after workers read from a set position: a caller that counts epochs from 0 would repeat it

    def _end_of(self, begin: int) -> int | None:
        """Return the end of an iteration that begins at a position: the end of the epoch, or of a resumed iteration."""
        loaded_end = self._cursor["loaded_end"]
        return loaded_end if self._trains and not self.endless and loaded_end != _NO_END else self._steps.end(begin)

    def _begin(self) -> tuple[int, int]:
        """Return the position at which the next iteration begins, and the number of samples of its run that were already yielded."""
        cursor = self._cursor
        if not self._trains and not self.endless and not cursor["is_placed"]:
            return 0, 0
        return self._steps.first(cursor["position"]), cursor["given"]

    def __len__(self) -> int:
        """Return the number of batches, or of samples, that this process reads in an iteration from the current position.

        If the position was set or loaded from a state, the batches or samples before it in the epoch are counted too, because
        trainers expect this.

        Raises
        ------
        TypeError
            The stream is endless.
        """
        begin, given = self._begin()
        stop = self._end_of(begin)
        if stop is None:
            raise TypeError("an endless stream has no length")
        steps, shard = self._steps, self.shard
        whole, last = steps.whole(begin, stop, shard), steps.in_last(begin, stop, shard)
        before = steps.before(begin, shard) + given if self._cursor["is_placed"] else 0
        if self.samples:
            return before + whole * self.batch_size + last - given
        return before // self.batch_size + whole + (last > 0)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the batches or samples of this process and loader worker, as `MixedDataset.batch` or `MixedDataset.__getitem__` does.

        Raises
        ------
        ValueError
            ``accelerate`` runs several processes, and the rank and world size of the stream are not set; or a loader would stack the
            batches of the stream. In a loader worker: the stream was already read from this position, or the loader has another batch
            size than the stream.
        """
        if not self.samples and is_stacked_by_loader():
            raise ValueError(
                "batch_size: the stream yields whole batches, and the loader would stack them; use batch_size=None in the DataLoader or, "
                "for a Trainer, samples=True in the stream"
            )
        reader, cursor = self._reader(), self._cursor
        if reader.workers:
            return self._in_worker(reader)
        begin, given = self._begin()
        return self._read(reader, begin, given, self._start_iteration(begin, given), cursor.setter("position", "given"))

    def blocks(self) -> PlannedReads:
        """Return the positions that this process reads, in blocks of several batches for loader workers.

        Raises
        ------
        ValueError
            As in iteration.
        """
        reader, (begin, _) = self._reader(), self._begin()
        tokens = min(_TOKENS_PER_MESSAGE, self.dataset.shards.tokens_per_read(reader.readers))
        self._cursor.put(is_placed=0)
        return PlannedReads(steps=self._steps, reader=reader, begin=begin, stop=self._start_iteration(begin), tokens=tokens)

    def delivery(self) -> Callable[[], None]:
        """Return a function that counts one step of `blocks` as delivered, and ends the iteration with the last step."""
        step, trains, cursor = self.step, self._trains, self._cursor
        put = cursor.setter("position", "end")

        def deliver() -> None:
            following, end = cursor["position"] + step, cursor["end"]
            if end == _NO_END or following < end:
                put(following, end)
            else:
                put(following if trains else 0, _NO_END)

        return deliver

    def _start_iteration(self, begin: int, given: int = 0) -> int | None:
        stop = self._end_of(begin)
        self._cursor.put(position=begin, given=given, end=_NO_END if stop is None else stop, loaded_end=_NO_END, is_asked=0)
        return stop

    def _in_worker(self, reader: Reader) -> Iterator[dict[str, Any]]:
        cursor, moves, is_loaded = self._cursor, self._cursor.moves, self._cursor.is_loaded_here
        if is_loaded:
            begin, given = cursor["position"], cursor["given"]  # unchanged: a worker without further runs is beyond the end
        else:
            cursor.forget_own()
            begin, given = self._begin()
        stop = self._end_of(begin)
        if not is_loaded:
            cursor.put(position=begin, given=given, end=_NO_END)
        return self._read_in_worker(reader, begin, given, stop, moves, is_loaded=is_loaded)

    def _read_in_worker(
        self, reader: Reader, begin: int, given: int, stop: int | None, moves: int, *, is_loaded: bool
    ) -> Iterator[dict[str, Any]]:
        cursor = self._cursor
        has_ended = is_loaded and stop is not None and begin + reader.worker * self.step >= stop
        if has_ended and moves:  # if all workers have ended, the loader begins the iteration that set_epoch asked for, with new workers
            cursor.is_loaded_here = False
            return
        # A loader that counts batches since its last snapshot reads the rest of a finished epoch after set_epoch asked for the next one.
        precedes = is_loaded and stop is not None and stop <= cursor.shared("position")
        # Not before the first batch is requested, because a state may be loaded until then.
        is_first = not precedes and cursor.begin_in_worker(moves)
        if not is_first and not is_loaded:
            if self._trains:
                raise ValueError(
                    f"loader workers have read the mixture from position {begin} before, and how much of it was delivered is "
                    f"unknown here; before the next iteration, call set_epoch({self.dataset.epochs.at(begin) + 1}) (after a resumed epoch, "
                    "with the number of the epoch that follows it) or load a state; or use MixtureLoader, which knows the position"
                )
            begin = given = 0
        if self.samples and reader.workers > 1:
            batch_size = batch_size_of_loader()
            if batch_size not in (None, self.batch_size):
                raise ValueError(
                    f"batch_size: the loader has {batch_size} and the stream has {self.batch_size}; with several loader workers, another "
                    "batch size changes the order; use the same for both (with accelerate and dispatch_batches=False, that of all "
                    "processes together)"
                )
        cursor.is_loaded_here = False
        cursor.put(position=begin, given=given, end=_NO_END if stop is None else stop)
        yield from self._read(reader, begin, given, stop, cursor.setter("position", "given"))

    def _read(self, reader: Reader, begin: int, given: int, stop: int | None, put: Callable[[int, int], None]) -> Iterator[dict[str, Any]]:
        """Read from a position; before each batch or sample is yielded, call `put` with the position that follows it."""
        run, stride = begin, reader.stride * self.step
        # Not before the first batch is requested: some trainers begin an iteration only to check that it is possible.
        self._cursor.put(is_placed=0)
        leaves_out_names = self._leaves_out_names
        tokens = self.dataset.shards.tokens_per_read(reader.readers)
        reads = PlannedReads(steps=self._steps, reader=reader, begin=begin, stop=stop, tokens=tokens)
        for batch in self.dataset.follow(reads):
            following = run + stride
            if leaves_out_names:
                del batch["corpus"]
            if self.samples:
                samples = unstacked(batch)
                for i, sample in enumerate(samples[given:], given + 1):
                    put(*((run, i) if i < len(samples) else (following, 0)))
                    yield sample
            else:
                put(following, 0)
                yield batch
            run, given = following, 0
        if stop is not None:  # the same for all workers, no matter which one yielded the last run
            put(self._steps.following(begin, stop, self.shard), 0)
            if not reader.workers:  # the state of a loader worker tells that the iteration has ended
                self._cursor.put(end=_NO_END)

    @property
    def _leaves_out_names(self) -> bool:
        """Whether batches have no `corpus`, because ``accelerate`` reads them in one process and sends only tensors, even to itself."""
        return self._is_divided_by_accelerate or (accelerate_runs() and is_distributed() and shard_of_process().world_size == 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the next position, its plan and its split.

        During an iteration, the state also contains the end of the iteration, which all resumed loader workers need. The state of a loader
        worker, or inside a run of several processes, also identifies its reader, and only the same reader can resume from it.

        Raises
        ------
        ValueError
            In a training process whose loader workers read the stream, or where ``accelerate`` divides the stream among processes.
        """
        self._require_known()
        cursor, reader = self._cursor, this_reader(self.shard)
        position, given, end = cursor["position"], cursor["given"], cursor["end"]
        if not reader.workers and reader.world_size == 1:
            position, given = position + given, 0
        state = {**state_at(self.dataset.plan, self.dataset.split, position), "end": None if end == _NO_END else end}
        if not reader.workers and not given:
            return state
        return {**state, "given": given, "reader": self._identity(reader)}

    def _identity(self, reader: Reader) -> dict[str, int]:
        """Return the numbers that must be the same for the reader that saved a state and the one that resumes from it."""
        return {"batch_size": self.batch_size, "world_size": reader.world_size, "worker": reader.worker, "workers": reader.workers}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a state.

        Raises
        ------
        ValueError
            The value is not a state of a mixture, it belongs to another split, or its plan and this plan differ in their order up to the
            position; or it belongs to a loader worker or is inside a run, and this is another reader.
        """
        position = position_of(state, self.dataset.plan, self.dataset.split)
        try:
            given, asked, end = checked_int("given", state.get("given", 0)), state.get("reader"), state.get("end")
            end = None if end is None else checked_int("end", end)
        except (TypeError, ValueError, AttributeError) as problem:
            raise ValueError(f"not a state of a mixture: {problem!r}") from None
        reader = this_reader(self.shard)
        if given and not self.samples:
            raise ValueError(
                f"samples: the state is {counted(given, 'sample')} into a run of a stream with samples=True; resume with samples=True"
            )
        if asked is not None:
            for name, value in self._identity(reader).items():
                if asked.get(name) != value:
                    raise ValueError(
                        f"{name}: the state was saved with {asked.get(name)} and is resumed with {value}; a loader worker knows only its "
                        "own part, so resume with the same value, or use MixtureLoader, whose state does not depend on processes and "
                        "workers"
                    )
        elif reader.workers:
            logger.warning(
                "the state of the loader worker is from an earlier release, which did not record the batch size and the number of "
                "processes; it is valid only if both are unchanged"
            )
        numbers = _asked_for(position, given, _NO_END if end is None else end)
        self._cursor.load(**numbers, **({"end": numbers["loaded_end"]} if reader.workers else {"origin": position}))


def _asked_for(position: int, given: int = 0, loaded_end: int = _NO_END) -> dict[str, int]:
    """Return the numbers of a cursor whose next iteration begins at a requested position."""
    return {
        "position": position,  # of the next run; in a loader worker, without one step for each worker before it
        "given": given,  # number of samples of this run that were yielded
        "loaded_end": loaded_end,  # end of the iteration that a loaded state belongs to
        # Whether the position was set or loaded, so that the next iteration begins here. If not, the next pass over a split other than
        # train begins at its start, even if the last pass was not completed.
        "is_placed": 1,
        "is_asked": int(position + given > 0),  # whether a position other than 0 was set, and no iteration has begun since
    }
