"""The samples of a mixture as NumPy arrays, in the order of training."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.execution.ordered import prefetch
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formatting import LARGEST, counted
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.order.permutation import Ints
from phyagi_assets.order.segment_order import Located
from phyagi_assets.reading.numbers import checked_bool, checked_int
from phyagi_assets.reading.packed_indices import PackedIndices
from phyagi_assets.reading.sample_documents import SampleDocuments
from phyagi_assets.reading.steps import Epochs, PlannedReads
from phyagi_assets.reading.token_shards import TokenShards

_BLOCK = 4096
"""Number of consecutive positions to locate in one pass; for fewer positions, overhead would dominate."""
_LOCATED = 16
"""Largest number of such passes whose samples are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadSamples:
    """A block of samples that was read from token arrays, with the ids in their dtype."""

    positions: Ints
    """Position of each sample, 1-D."""
    corpora: Ints
    """Index in the plan of the corpus of each sample, 1-D."""
    tokens: npt.NDArray[Any]
    """Token ids, of shape (samples, seq_len), or (samples, seq_len + 1) for shifted labels."""
    starts: Ints | None
    """Index in the flattened `tokens` of each first token of a document, 1-D and ascending; None if not requested. The first
    token of each sample counts, even within a document."""
    filled: Ints | None = None
    """Number of tokens of each sample before its padding, 1-D; None if no sample is padded."""
    trained: npt.NDArray[np.bool_] | None = None
    """Whether each token is trained on, of the same shape as `tokens`; None if all are."""
    packed: npt.NDArray[np.bool_] | None = None
    """Whether each sample is packed, 1-D; None if the mixture has no packed corpora."""


class MixtureSamples:
    """The samples of one split of a mixture, as NumPy arrays.

    The sample at a position depends only on the plan and the position, and equals that of `phyagi_assets.datasets.MixedDataset`, whose
    parameters are the same.

    Examples
    --------
    >>> from phyagi_assets.reading import load_mixture
    >>> samples = load_mixture("demo").train
    >>> samples.batch(np.arange(4))["input_ids"].shape
    (4, 512)
    """

    def __init__(
        self,
        plan: Plan,
        home: Path,
        split: str = "train",
        *,
        shift_labels: bool = False,
        boundaries: bool = False,
        mask_boundaries: bool = False,
        ignore_index: int = -100,
    ) -> None:
        self.plan = plan
        self.split = split
        self.shift_labels = checked_bool("shift_labels", shift_labels)
        self.boundaries = checked_bool("boundaries", boundaries)
        self.mask_boundaries = checked_bool("mask_boundaries", mask_boundaries)
        self.ignore_index = checked_int("ignore_index", ignore_index, least=-LARGEST)
        self.order = MixtureOrder(plan, split, PackedIndices(plan, home))
        self.shards = TokenShards.of_plan(plan, home, self.order)
        self._has_packed = plan.has_packed
        self._names = np.array([corpus.name for corpus in plan.corpora], dtype=object)
        self._blocks: dict[int, Located] = {}
        """Recently located blocks of samples, by first position: they include samples of future reads."""
        self._last_read = (0, 0, 0)
        """Number of samples and first position of the last read, and its distance from the first position of the read before."""

    def __repr__(self) -> str:
        samples = counted(len(self), "sample")
        return f"{type(self).__name__}({self.plan.name!r}, {self.split!r}, {samples} of {counted(self.seq_len, 'token')})"

    @property
    def seq_len(self) -> int:
        """Length of a sample, in tokens."""
        return self.plan.seq_len

    @property
    def epochs(self) -> Epochs:
        """Start positions and lengths of the epochs of the mixture."""
        return Epochs(first=len(self.order), later=self.order.epoch_length)

    def __len__(self) -> int:
        """Return the number of samples in the first epoch of the mixture, or in another split."""
        return self.epochs.first

    def batch(self, positions: Ints) -> dict[str, Any]:
        """Return the samples at an array of positions, stacked.

        Parameters
        ----------
        positions
            1-D array of non-negative positions. Positions beyond ``len`` belong to later epochs.

        Returns
        -------
        dict
            ``input_ids`` and ``labels``, int64 of shape (samples, seq_len); ``position``; ``dataset_idx``, the index of the
            corpus in the plan, and ``corpus``, its name; with `boundaries`, ``position_ids``, which restart at 0 in each document, and
            ``document_ids``, which count documents from 0 in each sample, both of shape (samples, seq_len).

        Raises
        ------
        StoreError
            A file named in the plan does not exist, or does not match the plan.
        """
        return next(self.batches(self.read(positions), max(1, len(positions))))

    def read(self, positions: Ints) -> ReadSamples:
        """Read the tokens of the samples at an array of positions in one pass.

        Parameters
        ----------
        positions
            1-D array of non-negative positions, as in `batch`.

        Returns
        -------
        ReadSamples
            The samples, with the ids in the dtype of the token arrays.
        """
        positions = _checked(positions)
        if not self.shards.expects:
            self._guess(positions)
        found, ahead = self._located(positions), int(self.shift_labels)
        runs, width = self.order.runs(found, ahead), self.seq_len + ahead
        tokens = self.shards.samples(runs, width=width, position=int(positions[0]) if len(positions) else 0)
        packed = self.order.packed(found) if self._has_packed else None
        in_all = self.boundaries or self.mask_boundaries
        has_starts = in_all or packed is not None
        starts = self.shards.document_starts(runs, width=width, only_packed=not in_all) if has_starts else None
        filled = runs.filled(len(positions), width)
        trained = self.shards.trained(runs, len(positions), width=width) if self.shards.has_masks else None
        return ReadSamples(
            positions=positions,
            corpora=found.corpus,
            tokens=tokens,
            starts=starts,
            filled=filled,
            trained=trained,
            packed=packed,
        )

    def expect(self, reads: Iterator[Ints]) -> None:
        """Fetch ahead for future reads, given the positions of each, if the arrays are not on this machine."""
        self.shards.expect((int(positions[0]), self.order.runs(self._located(positions), int(self.shift_labels))) for positions in reads)

    def _guess(self, positions: Ints) -> None:
        """Expect reads to continue as before if they have the same number of consecutive positions and the same distance."""
        count = len(positions)
        if not count or int(positions[-1]) - int(positions[0]) != count - 1:
            return
        first, (last_count, last, distance) = int(positions[0]), self._last_read
        self._last_read = count, first, first - last
        if count == last_count and first - last == distance > 0:
            stop = self.epochs.start(self.epochs.at(first) + 1)
            self.expect(begin + np.arange(min(count, stop - begin)) for begin in range(first, stop, distance))

    def announce(self, positions: Ints) -> None:
        """Announce the positions that will be read next, so that the system starts to read them from disk."""
        if self.shards.on_disk:
            self.shards.announce(self.order.runs(self._located(positions), int(self.shift_labels)))

    def batches(self, samples: ReadSamples, batch_size: int) -> Iterator[dict[str, Any]]:
        """Yield samples that were read in batches of `batch_size`, which divides their number."""
        names = self._names[samples.corpora].tolist()
        positions, corpora = samples.positions.copy(), samples.corpora.copy()
        documents, padded = self._documents(samples), self._padded(samples)
        for begin in range(0, len(positions), batch_size) or [0]:  # one at a time, so that each reuses the memory of the one before
            end = min(begin + batch_size, len(positions))
            batch = self._arrays(samples.tokens[begin:end], None if samples.trained is None else samples.trained[begin:end])
            while padded and padded[0][0] < end:
                sample, first = padded.popleft()
                batch["labels"][sample - begin, first:] = self.ignore_index
            if documents is not None:
                documents.ignore(batch["labels"], begin, end, self.ignore_index)
                if self.boundaries or samples.packed is not None:
                    batch["position_ids"], batch["document_ids"] = documents.numbered(begin, end)
            batch["position"], batch["dataset_idx"], batch["corpus"] = positions[begin:end], corpora[begin:end], names[begin:end]
            yield batch

    def follow(self, reads: PlannedReads) -> Generator[dict[str, Any], None, None]:
        """Yield the batches of planned reads in order; the next reads are fetched or announced meanwhile."""
        self.expect(iter(reads))
        if not self.shards.on_disk:
            with closing(prefetch((self.read(positions) for positions in reads), depth=1)) as blocks:  # a read takes as long as a batch
                for samples in blocks:
                    yield from self.batches(samples, min(reads.steps.batch_size, len(samples.positions)))
            return
        planned = iter(reads)
        then = next(planned, None)
        while (positions := then) is not None:
            then = next(planned, None)
            samples = self.read(positions)
            for number, batch in enumerate(self.batches(samples, min(reads.steps.batch_size, len(positions)))):
                yield batch
                if not number and then is not None:  # after the first batch, which may be urgent
                    self.announce(then)

    def _documents(self, samples: ReadSamples) -> SampleDocuments | None:
        """Return the documents of a block of samples; None if neither an option nor a packed corpus needs them."""
        if samples.starts is None:
            return None
        packed = None if samples.packed is None or samples.packed.all() else samples.packed
        split, masked = (None if in_all else packed for in_all in (self.boundaries, self.mask_boundaries))
        if samples.packed is None and not self.mask_boundaries:
            masked = np.zeros(len(samples.positions), dtype=bool)
        return SampleDocuments(samples.starts, samples.tokens.shape, self.seq_len, split=split, masked=masked)

    def _padded(self, samples: ReadSamples) -> deque[tuple[int, int]]:
        """Return the index of each padded sample of a block, and its first label that is padding."""
        if samples.filled is None:
            return deque()
        padded = np.flatnonzero(samples.filled < samples.tokens.shape[1])
        return deque(zip(padded.tolist(), np.maximum(samples.filled[padded] - self.shift_labels, 0).tolist(), strict=True))

    def _arrays(self, tokens: npt.NDArray[Any], trained: npt.NDArray[np.bool_] | None) -> dict[str, Any]:
        ahead = int(self.shift_labels)
        labels = tokens[:, ahead:].astype(np.int64)  # a copy, because labels are edited in place
        if trained is not None:
            np.copyto(labels, self.ignore_index, where=~trained[:, ahead:])
        return {"input_ids": tokens[:, : self.seq_len].astype(np.int64), "labels": labels}

    def _located(self, positions: Ints) -> Located:
        """Return the samples at positions, which are located together with those that follow them."""
        if not len(positions):
            return self.order.locate(positions)
        low, high = int(positions.min()), int(positions.max())
        if high - low >= _BLOCK:
            return self.order.locate(positions)
        blocks = self._blocks  # replaced, never changed: several threads may read
        start = next((first for first in blocks if first <= low <= high < first + _BLOCK), None)
        if start is None:
            start, kept = low, list(blocks.items())[1 - _LOCATED :]
            blocks = self._blocks = {**dict(kept), start: self.order.locate(np.arange(low, low + _BLOCK))}
        return blocks[start][positions - start]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_blocks": {}}


def require_samples(name: str, value: object) -> None:
    """Check that the argument of a reader is a split of a mixture.

    Raises
    ------
    TypeError
        The value is not a split of a mixture.
    """
    if not isinstance(value, MixtureSamples):
        found = "None, which stands for a split without documents" if value is None else f"of type {type(value).__name__}"
        raise TypeError(f"{name}: is {found}; give a split of a mixture, such as mixture.train")


def _checked(positions: Ints) -> Ints:
    """Return positions as 64-bit integers; they may be anything that NumPy converts to an array."""
    found = np.asarray(positions)
    if found.ndim != 1 or (len(found) and found.dtype.kind not in "iu"):
        raise TypeError(f"positions: is an array of {found.dtype} with shape {found.shape}; give a 1-D array of integers")
    found = found.astype(np.int64, copy=False)
    if len(found) and found.min() < 0:
        raise IndexError(f"position {found.min()} does not exist; positions count from 0")
    return found
