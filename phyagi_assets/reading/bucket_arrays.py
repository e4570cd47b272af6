"""The token arrays of a plan in a bucket, read through a cache on this machine."""

import io
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.cache_folder import DOCUMENTS
from phyagi_assets.formats.find_plan import RemotePlan
from phyagi_assets.formats.npy import HEADER_BYTES, read_header
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formats.trained_bits import MASK, mask_between, mask_bytes
from phyagi_assets.objects.bucket import BucketFolder
from phyagi_assets.objects.fetching import FetchingProcess, PartRequest
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.order.permutation import Ints
from phyagi_assets.order.runs import PADDING, Runs
from phyagi_assets.reading.array_maps import REMEDY
from phyagi_assets.reading.block_cache import BlockCache
from phyagi_assets.reading.block_uses import BlockUses
from phyagi_assets.reading.byte_ranges import Ranges, RemoteArray
from phyagi_assets.reading.cache_layout import CacheLayout
from phyagi_assets.reading.range_reader import RangeReader
from phyagi_assets.reading.token_shards import TokenShards, trained_in
from phyagi_assets.settings import CACHE_BYTES_VARIABLE, CACHE_VARIABLE, BucketAddress, CacheSettings
from phyagi_assets.store.bucket_keys import file_key
from phyagi_assets.store.fingerprint import text_digest
from phyagi_assets.store.scratch import scratch_folder

_READ_TIMEOUT = 10.0
"""Time without a byte of an answer after which a request is retried, in seconds."""
_READS_IN_CACHE = 64
"""A read is at most 1/_READS_IN_CACHE of the cache, so that it fits together with the data fetched ahead. In a window, which holds
the samples of all readers, the samples of others between its own count too."""
_ENDS_IN_MEMORY = 256 << 20
"""Number of bytes of document ends to keep in memory."""
_WHOLE = 1 << 40
"""End of the range that is a whole object."""


class BucketSource:
    """The token arrays of a plan in a bucket, and the cache through which they are read.

    Raises
    ------
    StoreError
        The cache folder cannot be written to.
    """

    def __init__(self, remote: RemotePlan, settings: CacheSettings) -> None:
        store = remote.store
        self.remote: RemotePlan | None = remote
        """The plan; None in child processes, which only read token arrays."""
        address = store.bucket.address
        self.fetching = FetchingProcess(BucketFolder(address, store.bucket.retry_policy, read_timeout=_READ_TIMEOUT, waits_for_access=True))
        self.fetching.start()
        home = settings.folder / BucketAddress(address).digest if settings.folder else scratch_folder(address)
        remedy = (
            f"it is the cache of the training data: free some space, name a folder on another disk with cache_dir or ${CACHE_VARIABLE}, "
            f"or set a smaller cache_bytes or ${CACHE_BYTES_VARIABLE}"
        )
        self.cache = BlockCache(home / ".blocks", settings.bytes, remedy)

    def key(self, path: Path) -> str:
        """Return the key of the object of an array, given the path of the array."""
        if self.remote is None:
            raise StoreError(f"{path}: can only be fetched in the process that opened the mixture")
        return file_key(self.remote.version(path), path.name)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "remote": None}


class BucketShards(TokenShards):
    """Token arrays of one split in a bucket, given the arrays as they would be on this machine."""

    def __init__(self, source: BucketSource, shards: TokenShards, plan: Plan, order: MixtureOrder) -> None:
        super().__init__(shards.arrays, dtype=plan.dtype, pad_id=plan.pad_id or 0)
        self._source = source
        self._count = len(self.arrays)
        described = [(array, array.path, array.tokens * self._dtype.itemsize) for array in self.arrays]
        described += [(array, array.path.with_suffix(MASK), mask_bytes(array.tokens)) for array in self.arrays]
        size = sum(size for array, path, size in described if array.has_mask or path == array.path)
        layout = CacheLayout(plan, order, size, source.cache.bound)
        arrays: list[RemoteArray] = []
        for number, (array, path, content) in enumerate(described):
            key = source.key(path)
            described_array = RemoteArray(key=key, digest=text_digest(key)[:32], size=HEADER_BYTES + content)
            if array.has_mask or path == array.path:
                described_array = layout.placed(described_array, number % self._count, is_mask=path != array.path)
            arrays.append(described_array)
        self._in_blocks = layout.in_blocks
        uses = BlockUses(layout.blocks, arrays, text_digest(f"{plan.fingerprint} {plan.seq_len} {order.split}")[:32])
        self._reader = RangeReader(arrays, source.fetching, source.cache, uses, plan.sample_bytes)
        self._keys = [array.key for array in arrays[: self._count]]
        self._ends: OrderedDict[int, npt.NDArray[Any]] = OrderedDict()
        self._masks: dict[int, tuple[Runs, Ints, npt.NDArray[np.uint8]]] = {}
        """Runs, sizes and bytes of the masks that each thread read last, until `trained` takes them."""

    def tokens_per_read(self, readers: int) -> int:
        most = self._source.cache.bound // _READS_IN_CACHE // self._dtype.itemsize
        return max(1, min(super().tokens_per_read(readers), most // readers if self._in_blocks else most))

    @property
    def expects(self) -> bool:
        """Whether future reads are known."""
        return self._reader.expects

    def expect(self, future: Iterator[tuple[int, Runs]]) -> None:
        """Fetch ahead for future reads, given their first positions and their runs, in order."""
        self._reader.expect((position, self._ranges(runs)) for position, runs in future)

    def samples(self, runs: Runs, *, width: int, position: int = 0) -> npt.NDArray[Any]:
        """Return the tokens of samples, as `TokenShards.samples` does."""
        ranges = self._ranges(runs)
        joined = self._reader.read(ranges, position)
        real = runs.shard != PADDING
        size = int(runs.tokens[real].sum()) * self._dtype.itemsize
        if self.has_masks:
            masked = slice(int(real.sum()), None)
            self._masks[get_ident()] = runs, ranges.end[masked] - ranges.begin[masked], np.frombuffer(joined, np.uint8)[size:]
        tokens = np.frombuffer(joined, self._dtype, count=size // self._dtype.itemsize)
        if real.all():
            return tokens.reshape(-1, width)
        padded = np.full(int(runs.tokens.sum()), self._pad_id, self._dtype)
        padded[np.repeat(real, runs.tokens)] = tokens
        return padded.reshape(-1, width)

    def _ranges(self, runs: Runs) -> Ranges:
        """Return the byte ranges of the tokens of runs, followed by those of their masks."""
        real = np.flatnonzero(runs.shard != PADDING)
        shard, start, tokens = runs.shard[real], runs.start[real], runs.tokens[real]
        begin = HEADER_BYTES + start * self._dtype.itemsize
        end = begin + tokens * self._dtype.itemsize
        if not self.has_masks:
            return Ranges(shard, begin, end)
        masked = self._masked[shard]
        first, last = start[masked] // 8, -(-(start[masked] + tokens[masked]) // 8)
        return Ranges(
            np.concatenate([shard, shard[masked] + self._count]),
            np.concatenate([begin, HEADER_BYTES + first]),
            np.concatenate([end, HEADER_BYTES + last]),
        )

    @property
    def on_disk(self) -> bool:
        return False

    def trained(self, runs: Runs, samples: int, *, width: int) -> npt.NDArray[np.bool_]:
        """Return which tokens of the samples that were read last are trained on, as `TokenShards.trained` does."""
        read, sizes, octets = self._masks.pop(get_ident(), (None, None, None))
        if read is not runs or sizes is None or octets is None:
            raise ValueError("runs: are not those of the samples that this thread read last")
        masked = np.flatnonzero((runs.shard != PADDING) & self._masked[runs.shard])
        return trained_in(octets, sizes, masked, runs).reshape(samples, width)

    def trained_between(self, shard: int, start: int, stop: int) -> npt.NDArray[np.bool_] | None:
        if not self._masked[shard]:
            return None
        octets = self._part(shard, MASK, HEADER_BYTES + start // 8, HEADER_BYTES + -(-stop // 8))
        return mask_between(np.frombuffer(octets, np.uint8), start % 8, start % 8 + stop - start)

    def between(self, shard: int, start: int, stop: int) -> npt.NDArray[Any]:
        size = self._dtype.itemsize
        return np.frombuffer(self._part(shard, "", HEADER_BYTES + start * size, HEADER_BYTES + stop * size), self._dtype)

    def document_ends(self, shard: int) -> npt.NDArray[Any]:
        ends = self._ends.get(shard)
        if ends is None:
            content = self._part(shard, DOCUMENTS, 0, _WHOLE)
            path = self.arrays[shard].path.with_suffix(DOCUMENTS)
            ends = self._ends[shard] = self._checked_ends(_parsed(content, path), shard)
            while len(self._ends) > 1 and sum(ends.nbytes for ends in self._ends.values()) > _ENDS_IN_MEMORY:
                self._ends.popitem(last=False)
        else:
            with suppress(KeyError):  # another thread has removed it
                self._ends.move_to_end(shard)
        return ends

    def beside(self, shard: int, suffix: str) -> npt.NDArray[Any]:
        path = self.arrays[shard].path.with_suffix(suffix)
        return _parsed(self._part(shard, suffix, 0, _WHOLE), path)

    def _part(self, shard: int, suffix: str, start: int, stop: int) -> bytes:
        """Fetch a part of an array, or of one beside it."""
        key = self._keys[shard]
        request = PartRequest(key=key.removesuffix(".npy") + suffix if suffix else key, start=start, stop=stop, size=0)
        return self._source.fetching.submit([request])[0].result()


def _parsed(content: bytes, path: Path) -> npt.NDArray[Any]:
    file = io.BytesIO(content)
    try:
        shape, dtype = read_header(file)
        return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape)
    except Exception as problem:  # NumPy documents no exception types for damaged headers
        raise StoreError(f"{path}: is not a valid .npy array: {problem}; {REMEDY}") from None
