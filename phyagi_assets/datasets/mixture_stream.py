"""A mixture as a stream: shared by ranks and loader workers, and resumed from one integer."""

import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from phyagi_assets.datasets.cursor import DividedStream, Epochs, Reader, Shard, accelerate_runs, checked_epoch
from phyagi_assets.datasets.mixed_dataset import MixedDataset
from phyagi_assets.datasets.read_samples import ReadSamples
from phyagi_assets.formatting import counted
from phyagi_assets.order.permutation import Ints

logger = logging.getLogger(__name__)

_TOGETHER = 1 << 21
"""Tokens that are gathered at once: as many as it takes for the overhead of an array to vanish among the batches."""
_SENT = 1 << 19
"""Tokens that a loader worker sends at once: a message costs the time of several batches, and all under way have room in 64 MB."""
_SAMPLES = 4096
"""Samples that are read at once at most, however short they are."""
_NO_END = -1


class MixtureStream(DividedStream):
    """The batches of a mixture for one of several training processes.

    Step by step, the processes share the next ``world_size · batch_size`` positions, each a run of `batch_size`. Loader workers take the
    runs in turn, so that a ``DataLoader`` gives them in one order for any number of workers.

    In training, an iteration ends with the first step that reaches the end of an epoch of the mixture, and the next one goes on from there.
    Loader workers cannot tell how much of an iteration was delivered: where they read, call `set_epoch` before each iteration, as trainers
    do; without it, a second iteration is refused. A `MixtureLoader` needs no such call.

    Of a split other than ``train``, each iteration is one pass over the whole split in order. The last step is short: its samples are
    shared evenly, and where they don't divide evenly, up to ``world_size − 1`` first samples come again, at positions of ``len(dataset)``
    and more.

    Parameters
    ----------
    dataset
        The samples.
    batch_size
        Samples per run.
    samples
        Whether to give samples one by one, for a ``DataLoader(batch_size=batch_size)`` to stack, as trainers do; by default whole
        batches, for ``DataLoader(batch_size=None)``. Loader workers refuse to read for a loader of another batch size.
    position
        The position to begin at.
    endless
        Whether an iteration never ends. Leave it out with Lightning, which reads one batch ahead where a loader has no length, so that a
        resumed run skips that batch.
    rank, world_size
        Rank of this process, and the number of processes; by default those of ``torch.distributed`` when the stream is read, or the only
        one. Give 0 and 1 where ``accelerate`` prepares the loader, because it divides the batches itself; batches then have no ``corpus``,
        since ``accelerate`` sends tensors only.
    drop_last
        Whether to leave out the short last step of a split other than ``train``.

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
        drop_last: bool = False,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("position", position, 0)):
            if value < least:
                raise ValueError(f"{name}: is {value}; it is {least} or more")
        self.dataset = dataset
        self.batch_size = batch_size
        self.samples = samples
        self.endless = endless
        self.drop_last = drop_last
        # `origin`: the position that steps are counted from. `end`: that of the iteration under way. `loaded_end`: that of the iteration
        # that a loaded state belongs to. `given`: samples that were given of the run at `position`. In a loader worker, the next run
        # begins at `position` plus one step for each worker before it.
        numbers = {"position": position, "origin": position, "end": _NO_END, "loaded_end": _NO_END, "given": 0}
        super().__init__(rank, world_size, numbers)

    @property
    def seq_len(self) -> int:
        """Length of a sample, in tokens."""
        return self.dataset.seq_len

    @property
    def position(self) -> int:
        """The position that is next for all processes together."""
        return self._cursor["position"]

    @position.setter
    def position(self, position: int) -> None:
        self._cursor.move(position=position, origin=position, loaded_end=_NO_END, given=0)

    @property
    def step(self) -> int:
        """Positions that all processes together read per step."""
        return self.shard.step(self.batch_size)

    @property
    def _trains(self) -> bool:
        """Whether epoch follows epoch, rather than each pass being the whole split."""
        return self.dataset.split == "train"

    @property
    def _epochs(self) -> Epochs:
        return self.dataset.epochs

    def set_epoch(self, epoch: int) -> None:
        """Go on where an epoch of the mixture begins, unless the position is there or beyond already.

        Loader workers that outlive an epoch go there too.
        """
        begins = self._epochs.start(checked_epoch(epoch)) if self._trains else 0
        origin, position = self._cursor["origin"], self._cursor["position"]
        target = origin + self.shard.covered(begins - origin, self.batch_size)
        if target > position:
            self._cursor.move(position=target, loaded_end=_NO_END, given=0)
        elif epoch >= self._epochs.at(position):
            self._cursor.move()

    def _stop(self, position: int, loaded_end: int) -> int | None:
        """Return where an iteration from a position on ends: with the epoch of the mixture, or with the interrupted iteration."""
        if self.endless:
            return None
        if not self._trains:
            return len(self.dataset)
        if loaded_end != _NO_END:
            return loaded_end
        return self._epochs.start(self._epochs.at(position) + 1)

    def _whole_steps(self, begin: int, stop: int) -> int:
        """Return the number of steps up to an end in which every process reads `batch_size` samples."""
        return self.shard.steps(stop - begin, self.batch_size) if self._trains else (stop - begin) // self.step

    def _last_share(self, begin: int, stop: int) -> int:
        """Return the number of samples that each process reads in a short last step."""
        rest = stop - begin - self._whole_steps(begin, stop) * self.step
        return 0 if self._trains or self.drop_last else self.shard.steps(rest)

    def _begin(self) -> int:
        position = self._cursor["position"]
        return position if self._trains or self.endless or position < len(self.dataset) else 0

    def __len__(self) -> int:
        """Return the number of batches, or samples, that this process reads in the iteration that begins at the position.

        Raises
        ------
        TypeError
            The stream is endless.
        """
        begin = self._begin()
        stop = self._stop(begin, self._cursor["loaded_end"])
        if stop is None:
            raise TypeError("an endless stream has no length")
        whole, last = max(0, self._whole_steps(begin, stop)), self._last_share(begin, stop)
        return whole * self.batch_size + last - self._cursor["given"] if self.samples else whole + (last > 0)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Read the part of this process and loader worker, as `MixedDataset.batch` or `MixedDataset.__getitem__` gives it.

        Raises
        ------
        ValueError
            ``accelerate`` runs several processes, and the rank and world size of the stream are not set. In a loader worker: the stream was
            read from this position before, or the loader's batch size is not the stream's.
        """
        reader, cursor = self._reader(), self._cursor
        if reader.workers:
            return self._in_worker(reader)
        begin, given = self._begin(), cursor["given"]
        return self._read(reader, begin, given, self._note_begin(begin), cursor.setter("position", "given"))

    def blocks(self) -> Iterator[Ints]:
        """Return the positions that this process reads, some batches together, for others to read in their order.

        Raises
        ------
        ValueError
            As iterating does.
        """
        reader, begin = self._reader(), self._begin()
        return self._positions(reader, begin, self._note_begin(begin), _SENT)

    def delivery(self) -> Callable[[], None]:
        """Return a function that counts one step of `blocks` as delivered, and with the last step the iteration."""
        step, trains, cursor = self.step, self._trains, self._cursor
        put = cursor.setter("position", "end")

        def deliver() -> None:
            following, end = cursor["position"] + step, cursor["end"]
            if end == _NO_END or following < end:
                put(following, end)
            else:
                put(following if trains else 0, _NO_END)

        return deliver

    def _note_begin(self, begin: int) -> int | None:
        stop = self._stop(begin, self._cursor["loaded_end"])
        self._cursor.put(position=begin, end=_NO_END if stop is None else stop, loaded_end=_NO_END)
        return stop

    def _in_worker(self, reader: Reader) -> Iterator[dict[str, Any]]:
        cursor, moves, is_loaded = self._cursor, self._cursor.moves, self._cursor.is_loaded_here
        if is_loaded:
            begin = cursor["position"]  # as it is: a worker that has nothing left is beyond the end
        else:
            cursor.forget_own()
            begin = self._begin()
        given, stop = cursor["given"], self._stop(begin, cursor["loaded_end"])
        if not is_loaded:
            cursor.put(position=begin, given=given, end=_NO_END)
        return self._read_in_worker(reader, begin, given, stop, moves, is_loaded=is_loaded)

    def _read_in_worker(
        self, reader: Reader, begin: int, given: int, stop: int | None, moves: int, *, is_loaded: bool
    ) -> Iterator[dict[str, Any]]:
        cursor = self._cursor
        is_first = cursor.begin_in_worker(moves)  # when the first batch is asked for: before that, a state may be loaded
        if not is_first and not is_loaded:
            if self._trains:
                raise ValueError(
                    f"loader workers have read the mixture from position {begin} before, and how much of it was delivered is "
                    f"unknown here; call set_epoch({self._epochs.at(begin) + 1}), or load a state, before the next iteration, or "
                    "use MixtureLoader, which knows"
                )
            begin = given = 0
        if self.samples and reader.workers > 1:
            self._require_batch_size(_batch_size_of_loader())
        cursor.is_loaded_here = False
        cursor.put(position=begin, given=given, end=_NO_END if stop is None else stop)
        yield from self._read(reader, begin, given, stop, cursor.setter("position", "given"))

    def _require_batch_size(self, batch_size: int | None) -> None:
        if batch_size is not None and batch_size != self.batch_size:
            raise ValueError(
                f"batch_size: the loader's is {batch_size} and the stream's is {self.batch_size}; with several loader workers, another "
                "batch size changes the order; give both the same"
            )

    def _read(self, reader: Reader, begin: int, given: int, stop: int | None, put: Callable[[int, int], None]) -> Iterator[dict[str, Any]]:
        """Read from a position on; before each batch or sample is given, put where it goes on after it."""
        run, stride = begin, reader.stride * self.step
        for batch in self._batches(reader, begin, stop):
            following = run + stride
            if self.samples:
                samples = unstacked(batch)
                for i, sample in enumerate(samples[given:], given + 1):
                    put(*((run, i) if i < len(samples) else (following, 0)))
                    yield sample
            else:
                put(following, 0)
                yield batch
            run, given = following, 0
        if stop is not None:  # the same for all workers, whichever of them gave the last run
            put(begin + self.shard.covered(stop - begin, self.batch_size) if self._trains else 0, 0)
            self._cursor.put(end=_NO_END)

    def _batches(self, reader: Reader, begin: int, stop: int | None) -> Iterator[dict[str, Any]]:
        leaves_out_names = accelerate_runs() and reader.world_size < Shard.of_process().world_size
        for positions, then in _with_next(self._positions(reader, begin, stop, _TOGETHER)):
            for number, batch in enumerate(self.cut(self.dataset.read(positions))):
                if leaves_out_names:
                    del batch["corpus"]
                yield batch
                if not number and then is not None:  # behind the first batch, which may be waited for
                    self.dataset.announce(then)

    def cut(self, samples: ReadSamples) -> Iterator[dict[str, Any]]:
        """Yield the batches of a block of positions that was read."""
        return self.dataset.batches(samples, min(self.batch_size, len(samples.positions)))

    def _positions(self, reader: Reader, begin: int, stop: int | None, tokens: int) -> Iterator[Ints]:
        """Return the positions of a reader, some runs at a time, of not many more tokens than that.

        The first run is alone, for somebody waits for it; then they are four times as many each time. A short last step is alone.
        """
        most = max(1, min(_SAMPLES, tokens // self.seq_len) // self.batch_size)
        whole = sys.maxsize if stop is None else self._whole_steps(begin, stop)
        turns, together = reader.turns(whole), 1
        while turns:
            yield begin + reader.positions(turns[:together], self.batch_size)
            turns, together = turns[together:], min(4 * together, most)
        last = 0 if stop is None else self._last_share(begin, stop)
        if last and whole in reader.turns(whole + 1):
            yield begin + whole * self.step + reader.positions([0], last)

    def state_dict(self) -> dict[str, Any]:
        """Return the position that is next, and the plan that it is a position in.

        While an iteration is under way, its end too: loader workers that go on together have to agree on it. The state of a loader worker,
        and one inside a run that several processes share, also say whose they are: these are resumed as they were taken.

        Raises
        ------
        ValueError
            In a training process: its loader workers read the stream.
        """
        self._require_known()
        plan, cursor, reader = self.dataset.plan, self._cursor, Reader.here(self.shard)
        position, given, end = cursor["position"], cursor["given"], cursor["end"]
        if not reader.workers and reader.world_size == 1:
            position, given = position + given, 0
        state = {"position": position, "plan": plan.fingerprint, "mixture": plan.name, "end": None if end == _NO_END else end}
        if not reader.workers and not given:
            return state
        asked = {"batch_size": self.batch_size, "world_size": reader.world_size, "worker": reader.worker, "workers": reader.workers}
        return {**state, "given": given, "reader": asked}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a state.

        Raises
        ------
        ValueError
            It is not a state of a mixture; or of another plan, and not of an earlier one that this one agrees with up to the position; or
            of a loader worker, or inside a run, and this reader is another one.
        """
        plan = self.dataset.plan
        try:
            fingerprint, position, end = state["plan"], int(state["position"]), state.get("end")
            given, asked = int(state.get("given", 0)), state.get("reader")
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise ValueError(f"the state is none that a mixture gave: {problem!r}") from None
        if not plan.agrees(fingerprint, position):
            raise ValueError(
                f"the state is of plan {fingerprint} of mixture {state.get('mixture')!r} at position {position}, and this is plan "
                f"{plan.fingerprint} of {plan.name!r}, whose order up to there is another one; open the plan that the state is of"
            )
        reader = Reader.here(self.shard)
        if given and not self.samples:
            raise ValueError(
                f"samples: the state is {counted(given, 'sample')} into a run of a stream with samples=True; resume it with samples=True"
            )
        if asked is not None:
            self._require_same(asked, reader)
        elif reader.workers:
            logger.warning(
                "the state of the loader worker is of an earlier release, which did not note batch size and number of processes; it is "
                "right only if they are the same as when it was taken"
            )
        loaded_end = _NO_END if end is None else int(end)
        numbers = {"position": position, "given": given, "loaded_end": loaded_end}
        self._cursor.load(**numbers, **({"end": loaded_end} if reader.workers else {"origin": position}))

    def _require_same(self, asked: Mapping[str, Any], reader: Reader) -> None:
        now = {"batch_size": self.batch_size, "world_size": reader.world_size, "worker": reader.worker, "workers": reader.workers}
        for name, value in now.items():
            if asked.get(name) != value:
                raise ValueError(
                    f"{name}: the state was taken with {asked.get(name)} and is resumed with {value}; a loader worker knows only its own "
                    "part, so resume as it was taken, or use MixtureLoader, whose state any number of processes and workers can resume"
                )


def unstacked(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the samples of a batch."""
    return [{name: column[i] for name, column in batch.items()} for i in range(len(batch["position"]))]


def _with_next(blocks: Iterator[Ints]) -> Iterator[tuple[Ints, Ints | None]]:
    """Return each block with the one after it."""
    block = next(blocks, None)
    while block is not None:
        then = next(blocks, None)
        yield block, then
        block = then


def _batch_size_of_loader() -> int | None:
    """Return the batch size of the loader whose worker asks for samples, or None if something else asks.

    ``DataLoader`` doesn't tell its dataset; the frame of its fetcher is the only place where a worker finds it. What ``accelerate`` puts
    in between asks for the batches of all processes.
    """
    frame = inspect.currentframe()
    while frame is not None and not frame.f_globals.get("__name__", "").startswith("accelerate."):
        if frame.f_code.co_name == "fetch" and frame.f_globals.get("__name__") == _FETCHER:
            asked = frame.f_locals.get("possibly_batched_index")
            return len(asked) if isinstance(asked, list) else None
        frame = frame.f_back
    return None


_FETCHER = "torch.utils.data._utils.fetch"
