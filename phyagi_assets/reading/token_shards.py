"""Reading of many samples at once from many token arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.cache_folder import DOCUMENTS
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formats.plan_paths import PlanPaths
from phyagi_assets.formats.trained_bits import MASK, mask_between, mask_bytes
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.order.permutation import Ints
from phyagi_assets.order.ranges import concatenated_ranges, grouped
from phyagi_assets.order.runs import PADDING, Runs
from phyagi_assets.reading.array_maps import REMEDY, ArrayMap, ArrayMaps, maps_allowed
from phyagi_assets.reading.readahead import DiskReads, announce
from phyagi_assets.reading.run_copies import joined_runs
from phyagi_assets.reading.steps import TOKENS_PER_READ

_SHORT = 1024
"""Mean size of runs, in bytes, below which they are not joined one by one. Nor are those of more arrays than may be mapped at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenArray:
    """A file with a token array of a plan, or a piece of one."""

    path: Path
    """Path of the ``.npy`` file; the files with document ends, origins and hashes are in the same folder."""
    tokens: int
    """Number of tokens."""
    has_mask: bool = False
    """Whether a mask beside the array says which tokens are trained on; without one, all are."""


class TokenShards:
    """Token arrays and the arrays that describe their documents, memory-mapped by each process that reads them.

    Parameters
    ----------
    arrays
        The token arrays; `Runs.shard` contains indices into this list.

    Raises
    ------
    StoreError
        The limit on open files is too low.

    Examples
    --------
    >>> from phyagi_assets.order.runs import Piece, Pieces
    >>> np.save("tokens.npy", np.arange(7, dtype=np.uint16))
    >>> shards = TokenShards([TokenArray(path=Path("tokens.npy"), tokens=7)], dtype="uint16")
    >>> pieces = Pieces([Piece(shard=0, start=0, stop=7, is_last=True)])
    >>> shards.samples(pieces.runs(np.array([0, 0]), np.array([3, 0]), 4), width=4).tolist()
    [[3, 4, 5, 6], [0, 1, 2, 3]]
    """

    @classmethod
    def of_plan(cls, plan: Plan, home: Path, order: MixtureOrder) -> "TokenShards":
        """Return the files with the token arrays of one split of a plan, given the folder of the plan and the order of the split."""
        paths = PlanPaths(plan, home)
        arrays = [TokenArray(path=paths.resolve(file.path), tokens=file.tokens, has_mask=file.has_mask) for file in order.division.files]
        return cls(arrays, dtype=plan.dtype, pad_id=plan.pad_id or 0)

    def __init__(self, arrays: Sequence[TokenArray], *, dtype: str, pad_id: int = 0) -> None:
        self.arrays = list(arrays)
        self._dtype = np.dtype(dtype)
        self._pad_id = pad_id
        self._masked = np.array([array.has_mask for array in self.arrays], dtype=bool)
        self._maps = ArrayMaps(maps_allowed(2 * len(self.arrays) + int(self._masked.sum())))
        self.has_masks = bool(self._masked.any())
        """Whether any of the arrays has a mask."""
        self._beside: dict[tuple[int, str], Path] = {}
        self._disk = DiskReads()

    def tokens_per_read(self, readers: int) -> int:
        """Return the number of tokens to read at once, given the number of readers that take the samples in turn."""
        del readers
        return TOKENS_PER_READ

    @property
    def expects(self) -> bool:
        """Whether future reads are known, or need not be known."""
        return True

    def expect(self, future: Iterator[tuple[int, Runs]]) -> None:
        """Fetch ahead for future reads, if the arrays are not on this machine."""

    def samples(self, runs: Runs, *, width: int, position: int = 0) -> npt.NDArray[Any]:
        """Return the tokens of samples.

        Parameters
        ----------
        runs
            Locations of the tokens; the runs of each sample together have `width` tokens.

        Returns
        -------
        array of shape (samples, width)
            Token ids, in the dtype of the token arrays.
        """
        del position
        self.announce(runs)
        size = self._dtype.itemsize
        is_short = int(runs.tokens.sum()) * size < _SHORT * len(runs.tokens)
        numbers: list[int] = [] if is_short else runs.shard.tolist()
        different = set(numbers) - {PADDING}
        if is_short or len(different) > self._maps.most:
            joined = joined_runs(self._tokens, runs.shard, runs.start, runs.tokens, self._dtype, absent=PADDING)
            padding = np.flatnonzero(runs.shard == PADDING)
            starts = runs.sample[padding] * width + runs.at[padding]
            for start, tokens in zip(starts.tolist(), runs.tokens[padding].tolist(), strict=True):
                joined[start : start + tokens] = self._pad_id
        else:
            octets = {number: self._token_map(number).octets for number in different}
            octets[PADDING] = memoryview(np.full(width, self._pad_id, self._dtype).tobytes())
            begins, ends = (runs.start * size).tolist(), ((runs.start + runs.tokens) * size).tolist()
            joined = np.frombuffer(_join([octets[number] for number in numbers], begins, ends), self._dtype)
        self._disk.observe()
        return joined.reshape(-1, width)

    @property
    def on_disk(self) -> bool:
        """Whether reads seem to come from disk rather than from memory."""
        return self._disk.expected

    def announce(self, runs: Runs) -> None:
        """Ask the system to read runs from disk, without waiting for them, if reads come from disk."""
        if self.on_disk:
            size, chosen = self._dtype.itemsize, runs.shard != PADDING
            announce(self._mapping, runs.shard[chosen], runs.start[chosen] * size, runs.tokens[chosen] * size)

    def _mapping(self, shard: int) -> tuple[mmap, int]:
        opened = self._token_map(shard)
        return opened.mapping, opened.offset

    def document_starts(self, runs: Runs, *, width: int, only_packed: bool) -> Ints:
        """Return the first tokens of documents in samples. The first token of a sample always counts, even within a document.

        A document begins at the start of each partition and of padding. The samples are given as in `samples`.

        Parameters
        ----------
        only_packed
            Whether a sample that is not packed counts as one document.

        Returns
        -------
        Ints
            Index of each first token in the flattened samples, 1-D and ascending.
        """
        begins = runs.sample * width + runs.at
        looked_up = runs.shard != PADDING
        if runs.single is not None:
            looked_up &= ~runs.single
        if only_packed and (runs.packed is None or not runs.packed.all()):
            packed = np.zeros(len(begins), dtype=bool) if runs.packed is None else runs.packed
            looked_up &= packed
            begins = begins[packed | (runs.at == 0)]
        chosen = np.flatnonzero(looked_up)
        if not len(chosen):
            return begins
        found = [begins]
        for number, of_shard in grouped(runs.shard[chosen]):
            own = chosen[of_shard]
            ends, start = self.document_ends(number), runs.start[own]
            low, high = (np.searchsorted(ends, at, side="right") for at in (start, start + runs.tokens[own] - 1))
            counts = high - low
            inner = concatenated_ranges(low, counts)
            found.append(ends[inner].astype(np.int64) + np.repeat(runs.sample[own] * width + runs.at[own] - start, counts))
        return np.sort(np.concatenate(found))

    def trained(self, runs: Runs, samples: int, *, width: int) -> npt.NDArray[np.bool_]:
        """Return which tokens of samples are trained on, given the samples as in `samples`.

        Returns
        -------
        bool array of shape (samples, width)
            Whether each token is trained on; true for tokens of arrays without a mask, and for padding.
        """
        masked = np.flatnonzero((runs.shard != PADDING) & self._masked[runs.shard])
        first = runs.start[masked] // 8
        sizes = -(-(runs.start[masked] + runs.tokens[masked]) // 8) - first
        octets = joined_runs(self._mask, runs.shard[masked], first, sizes, np.uint8)
        return trained_in(octets, sizes, masked, runs).reshape(samples, width)

    def trained_between(self, shard: int, start: int, stop: int) -> npt.NDArray[np.bool_] | None:
        """Return which tokens of a part of a token array are trained on, 1-D; None if the array has no mask."""
        return mask_between(self._mask(shard), start, stop) if self._masked[shard] else None

    def _mask(self, shard: int) -> npt.NDArray[Any]:
        array, mask = self.arrays[shard], self.beside(shard, MASK)
        if mask.dtype != np.uint8 or mask.shape != (mask_bytes(array.tokens),):
            path = array.path.with_suffix(MASK)
            raise StoreError(f"{path}: has shape {mask.shape} and dtype {mask.dtype}, and is not the mask of {array.path.name}; {REMEDY}")
        return mask

    def document_ends(self, shard: int) -> npt.NDArray[Any]:
        """Return the end of every document of a token array, in tokens."""
        return self._checked_ends(self.beside(shard, DOCUMENTS), shard)

    def _checked_ends(self, ends: npt.NDArray[Any], shard: int) -> npt.NDArray[Any]:
        array = self.arrays[shard]
        if ends.ndim != 1 or ends.dtype.kind not in "iu" or (int(ends[-1]) if len(ends) else 0) != array.tokens:
            path = array.path.with_suffix(DOCUMENTS)
            raise StoreError(f"{path}: its last document does not end at token {array.tokens:,}, the end of {array.path.name}; {REMEDY}")
        return ends

    def beside(self, shard: int, suffix: str) -> npt.NDArray[Any]:
        """Return an array from the folder of a token array, by the ending of its name."""
        key = (shard, suffix)
        path = self._beside.get(key)
        if path is None:  # deriving a path takes longer than reading an entry of its array
            path = self._beside[key] = self.arrays[shard].path.with_suffix(suffix)
        return self._maps.opened(key, path).array

    def between(self, shard: int, start: int, stop: int) -> npt.NDArray[Any]:
        """Return a part of a token array, 1-D."""
        return self._token_map(shard).array[start:stop]

    def _tokens(self, shard: int) -> npt.NDArray[Any]:
        return self._token_map(shard).array

    def _token_map(self, shard: int) -> ArrayMap:
        wanted = self.arrays[shard]
        found = self._maps.opened(shard, wanted.path)
        array = found.array
        if array.dtype != self._dtype:
            raise StoreError(f"{wanted.path}: contains {array.dtype}, but the mixture's plan requires {self._dtype}; {REMEDY}")
        if array.shape != (wanted.tokens,):
            what = "is shorter than in the mixture's plan" if array.size < wanted.tokens else "does not match the mixture's plan"
            raise StoreError(f"{wanted.path}: {what}: shape {array.shape} instead of ({wanted.tokens},); {REMEDY}")
        return found


def _join(sources: Sequence[memoryview], begins: Sequence[int], ends: Sequence[int]) -> bytearray:
    """Return the bytes of runs, each from its source: `join` takes two thirds of the time of NumPy's concatenation."""
    return bytearray().join([source[begin:end] for source, begin, end in zip(sources, begins, ends, strict=True)])


def trained_in(octets: npt.NDArray[np.uint8], sizes: Ints, masked: Ints, runs: Runs) -> npt.NDArray[np.bool_]:
    """Return which tokens of runs are trained on, 1-D.

    Parameters
    ----------
    octets
        The bytes of masks that contain the bits of the masked runs, run by run.
    sizes
        Number of these bytes of each masked run, 1-D.
    masked
        Indices of the masked runs, 1-D and ascending. All tokens of the others are trained on.
    """
    begins = 8 * (np.cumsum(sizes) - sizes) + runs.start[masked] % 8
    whole = len(masked) == len(runs.tokens)
    if not whole:
        in_bits = np.full(len(runs.tokens), 8 * len(octets), dtype=np.int64)
        in_bits[masked] = begins
        begins, longest = in_bits, int(runs.tokens.max())
        octets = np.concatenate([octets, np.full(-(-longest // 8), 255, dtype=np.uint8)])
    bits = np.unpackbits(octets, bitorder="little").view(bool)
    return joined_runs(lambda _: bits, np.zeros(len(begins), dtype=np.int64), begins, runs.tokens, bool)
