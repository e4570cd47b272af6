"""A loader of batches of a mixture as NumPy arrays, whose state is the position after the last delivered batch."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from phyagi_assets.execution.ordered import prefetch
from phyagi_assets.reading.mixture_samples import MixtureSamples, require_samples
from phyagi_assets.reading.numbers import checked_bool, checked_int
from phyagi_assets.reading.position import position_of, state_at
from phyagi_assets.reading.steps import PlannedReads, Reader, Shard, Steps


class MixtureLoader:
    """A loader of batches of a mixture as NumPy arrays, whose state counts delivered batches only.

    Order, epochs and states are those of `phyagi_assets.datasets.MixtureLoader`: a state of one resumes the other.

    In training, an iteration ends with the first batch that reaches the end of an epoch of the mixture, and the next iteration continues
    from there. In other splits, each iteration is one pass over the whole split in order, with a short last batch.

    Parameters
    ----------
    samples
        The samples, such as ``load_mixture("demo").train``.
    batch_size
        Samples per batch.
    position
        First position.
    endless
        Whether iterations have no end.
    rank, world_size
        Rank of this process, and number of processes; by default 0 and 1. With JAX: ``jax.process_index()`` and ``jax.process_count()``.
    drop_last
        Whether to leave out the short last step of a split other than ``train``.
    prefetch
        Number of batches that a thread prepares ahead of the caller; 0 for none.

    Raises
    ------
    TypeError
        The samples are not a split of a mixture.
    ValueError
        A number is out of its range.

    Examples
    --------
    >>> from phyagi_assets.reading import load_mixture
    >>> loader = MixtureLoader(load_mixture("demo").train, batch_size=4)
    >>> next(iter(loader))["input_ids"].shape, loader.state_dict()["position"]
    ((4, 512), 4)
    """

    def __init__(
        self,
        samples: MixtureSamples,
        *,
        batch_size: int,
        position: int = 0,
        endless: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
        prefetch: int = 2,
    ) -> None:
        require_samples("samples", samples)
        self.samples = samples
        self.position = position
        self._shard = Shard.given(rank, world_size) or Shard()
        self._prefetch = checked_int("prefetch", prefetch)
        self._steps = Steps(
            epochs=samples.epochs,
            seq_len=samples.seq_len,
            trains=samples.split == "train",
            batch_size=checked_int("batch_size", batch_size, least=1),
            endless=checked_bool("endless", endless),
            drop_last=checked_bool("drop_last", drop_last),
        )

    @property
    def seq_len(self) -> int:
        """Length of a sample, in tokens."""
        return self.samples.seq_len

    @property
    def position(self) -> int:
        """The next position, the same for all processes."""
        return self._position

    @position.setter
    def position(self, position: int) -> None:
        self._position = checked_int("position", position)
        self._is_placed = True

    def _begin(self) -> int:
        """Return the first position of the next iteration; a pass over a split other than train begins at 0 unless a position was set."""
        steps = self._steps
        return steps.first(self.position) if steps.trains or steps.endless or self._is_placed else 0

    def __len__(self) -> int:
        """Return the number of batches up to the end of the epoch of the mixture, or of the pass over another split.

        If the position was set or loaded from a state, the batches before it in the epoch are counted too, because trainers expect this.

        Raises
        ------
        TypeError
            The loader is endless.
        """
        begin, steps = self._begin(), self._steps
        stop = steps.end(begin)
        if stop is None:
            raise TypeError("an endless loader has no length")
        rest = steps.whole(begin, stop, self._shard) + (steps.in_last(begin, stop, self._shard) > 0)
        return rest + (steps.before(begin, self._shard) // steps.batch_size if self._is_placed else 0)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the batches that follow the last delivered one, as `MixtureSamples.batch` returns them."""
        begin, stride = self._begin(), self._shard.step(self._steps.batch_size)
        stop = self._steps.end(begin)
        reader = Reader(rank=self._shard.rank, world_size=self._shard.world_size)
        tokens = self.samples.shards.tokens_per_read(reader.readers)
        batches = self.samples.follow(PlannedReads(steps=self._steps, reader=reader, begin=begin, stop=stop, tokens=tokens))
        with closing(prefetch(batches, depth=self._prefetch) if self._prefetch else batches) as ready:
            self._position, self._is_placed = begin, False
            for batch in ready:
                following = self._position + stride
                self._position = following if stop is None or following < stop else self._steps.following(begin, stop, self._shard)
                yield batch
            if stop is not None:  # skip the samples that drop_last leaves out
                self._position = self._steps.following(begin, stop, self._shard)

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last delivered batch: the position, the same on every rank, its plan and its split."""
        return state_at(self.samples.plan, self.samples.split, self.position)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a state, with any number of processes and samples per batch.

        Raises
        ------
        ValueError
            The value is not a state of a mixture, or it is that of another split, or its plan has another order up to the position than
            this plan; or it belongs to a loader worker, or to a stream of single samples that has read a part of a batch.
        """
        position = position_of(state, self.samples.plan, self.samples.split)
        if state.get("reader") is not None:
            raise ValueError(
                "reader: the state belongs to a loader worker, or to a MixtureStream(samples=True) that has read a part of a batch, and "
                "only the same reader can resume from it; save the state of a MixtureLoader"
            )
        self.position = position
