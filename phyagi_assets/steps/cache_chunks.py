"""Write the token arrays of a partition chunk by chunk, each file of rows into one piece per array and split.

A document's split depends on the document alone, so the pieces of a chunk depend on its rows alone. A task also reads its pieces again to
check them, so that the step that joins the pieces reads none of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phyagi_assets.declare.splits import SPLITS
from phyagi_assets.errors import StoreError
from phyagi_assets.execution.executor import OnProgress
from phyagi_assets.execution.ordered import prefetch
from phyagi_assets.formats.cache_folder import DOCUMENTS, HASHES, IDS, ORIGINS, SplitWriter
from phyagi_assets.formats.npy import REMEDY, open_array
from phyagi_assets.formats.token_rows import TRAINED, rows_in
from phyagi_assets.formats.trained_bits import MASK, mask_between
from phyagi_assets.steps.checks.arrays import CheckedArrays, examine_arrays
from phyagi_assets.steps.chunk_results import ChunkFolder, ChunkResult
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.addresses import Version
from phyagi_assets.store.artifact import FinishedFile
from phyagi_assets.store.manifest import FileRecord

PREVIEWED = 256
"""Number of ids at the start of a split that a task reports."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """The division of the documents of a partition into splits."""

    shares: Mapping[Any, float]
    """Share of the documents that each split other than train gets, by name of the split."""
    fixed: npt.NDArray[np.int8]
    """Split that the source assigns to each file, as an index into `SPLITS`; -1 for a file without one."""

    def assign(self, hashes: npt.NDArray[np.uint64], files: npt.NDArray[np.int32]) -> npt.NDArray[np.int8]:
        """Return the split of each document, given the hash of its text and the index of its file."""
        split = split_of(hashes, self.shares)
        if (self.fixed >= 0).any():
            fixed = self.fixed[files]
            split = np.where(fixed >= 0, fixed, split)
        return split


def split_of(hashes: npt.NDArray[np.uint64], shares: Mapping[Any, float]) -> npt.NDArray[np.int8]:
    """Return the split of each document, as an index into `SPLITS`.

    The hashes are uniform over 64 bits. The lowest ones go to validation, the next ones to test, and the rest to train.

    Parameters
    ----------
    hashes
        Hashes of the documents' texts, shape ``(documents,)``.
    shares
        Share of the documents that each split other than train gets, from 0 to 1, by name of the split.
    """
    place = hashes.astype(np.float64) / 2.0**64
    split = np.full(len(hashes), SPLITS.index("train"), dtype=np.int8)
    start = 0.0
    for name in SPLITS[1:]:
        end = start + shares.get(name, 0.0)
        split[(place >= start) & (place < end)] = SPLITS.index(name)
        start = end
    return split


def write_splits(rows: Iterator[pa.RecordBatch], writer: Callable[[str, bool], SplitWriter], splits: Splits) -> dict[str, dict[str, int]]:
    """Write rows to the arrays of their splits, and return the counts of each split.

    Parameters
    ----------
    writer
        Returns the writer of a split, given its name and whether the rows say which tokens are trained on.
    """
    writers: dict[int, SplitWriter] = {}
    with ExitStack() as open_files:
        batches = open_files.enter_context(closing(prefetch(rows, size=lambda batch: batch.nbytes)))
        for batch in batches:
            ids = batch.column("input_ids").flatten().to_numpy()
            lengths, hashes, *origins = (batch.column(name).to_numpy() for name in ("length", "hash", "file", "row"))
            trained = batch.column(TRAINED).flatten().to_numpy(zero_copy_only=False) if TRAINED in batch.schema.names else None
            split = splits.assign(hashes, origins[0])
            for code in np.unique(split[lengths > 0]).tolist():
                if code not in writers:
                    writers[code] = open_files.enter_context(writer(SPLITS[code], trained is not None))
                kept = (split == code) & (lengths > 0)
                split_tokens = slice(None) if kept.sum() == (lengths > 0).sum() else np.repeat(kept, lengths)
                token_mask = None if trained is None else trained[split_tokens]
                split_origins = np.stack([column[kept] for column in origins], axis=1)
                writers[code].append(ids[split_tokens], lengths[kept], split_origins, hashes[kept], token_mask)
    return {SPLITS[code]: writers[code].counts for code in sorted(writers)}


class FirstIds(NamedTuple):
    """The first ids of a split, which are shown as text."""

    ids: Sequence[int]
    trained: Sequence[bool] | None
    """Whether each id is trained on; None if all are."""

    @classmethod
    def of(cls, ids: npt.NDArray[Any], trained: npt.NDArray[np.bool_] | None) -> "FirstIds":
        """Return the first ids, given whether each is trained on."""
        return cls(ids=ids.tolist(), trained=None if trained is None else trained.tolist())


@dataclass(frozen=True, kw_only=True, slots=True)
class PiecesOfChunk:
    """The pieces of the token arrays that were made from one chunk."""

    number: int
    counts: Mapping[str, Mapping[str, int]]
    """Counts by split."""
    files: Mapping[str, FinishedFile]
    """Files, by the names that they would have if an array were one file."""
    checked: CheckedArrays
    """Findings of reading the arrays again."""
    first: Mapping[str, FirstIds]
    """First ids of each split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheChunk:
    """One file of rows, from which any process can write the pieces of the token arrays."""

    partition: str
    """Name of the corpus and key of the partition, as ``corpus/partition``."""
    fingerprint: str
    """Fingerprint of the cache."""
    tokenized: Version
    file: str
    """Name of the file of rows in it."""
    number: int
    splits: Splits

    @property
    def name(self) -> str:
        """Name of the chunk for messages."""
        return f"{self.tokenized.address}, {self.file}"

    def run(self, workspace: Workspace, on_progress: OnProgress) -> None:
        """Write the pieces, unless they are written already."""
        del on_progress  # the step is as fast as the disk
        results = self._results(workspace)
        if results.recall(self.number, ()) is None:
            results.release(self.number, self._write(workspace, results))

    def is_written(self, workspace: Workspace) -> bool:
        """Return whether the pieces are written and available to all machines of the run."""
        return self._results(workspace).recall(self.number, ()) is not None

    def _results(self, workspace: Workspace) -> ChunkFolder:
        return ChunkFolder(workspace.store, self.partition, self.fingerprint)

    def pieces(self, workspace: Workspace, results: ChunkFolder) -> PiecesOfChunk:
        """Return the pieces, and write them if necessary."""
        result = results.recall(self.number, ()) or self._write(workspace, results)
        found = result.found
        checked, first = CheckedArrays.of_record(found["checked"]), {split: FirstIds(*ids) for split, ids in found["first"].items()}
        return PiecesOfChunk(number=self.number, counts=found["counts"], files=result.files, checked=checked, first=first)

    def _write(self, workspace: Workspace, results: ChunkFolder) -> ChunkResult:
        artifact = workspace.store.find(self.tokenized.address, self.tokenized.fingerprint)
        if artifact is None:
            raise StoreError(f"{self.tokenized.address}: is gone or damaged; materialize it again")
        rows, manifest = artifact.folder(self.file) / self.file, artifact.manifest
        if not artifact.remote and FileRecord.of(rows) != manifest.files[self.file]:  # a file that was fetched is verified already
            raise StoreError(damaged([f"{rows}: its content is not what was written (checksum differs)"]))

        def write(path: Callable[[str], Path]) -> Mapping[str, Any]:
            def writer(split: str, has_mask: bool) -> SplitWriter:
                for ending in (IDS, DOCUMENTS, ORIGINS, HASHES, *([MASK] if has_mask else [])):
                    path(f"{split}{ending}")
                ids = path(f"{split}{IDS}")
                return SplitWriter(ids.parent, ids.name.removesuffix(IDS), manifest.details["dtype"], has_mask=has_mask)

            counts = write_splits(rows_in(rows), writer, self.splits)
            checked = examine_arrays(path, counts, manifest.details["tokenizer"], append_eos=bool(manifest.settings["append_eos"]))
            first = {split: _first_ids(path, split, has_mask="trained" in split_counts) for split, split_counts in counts.items()}
            return {"counts": counts, "checked": asdict(checked), "first": first}

        return results.write(self.number, (), write)


def _first_ids(path: Callable[[str], Path], split: str, *, has_mask: bool) -> FirstIds:
    ids = open_array(path(f"{split}{IDS}"), mapped=True)[:PREVIEWED]
    return FirstIds.of(ids, mask_between(open_array(path(f"{split}{MASK}"), mapped=True), 0, len(ids)) if has_mask else None)


def damaged(problems: Iterable[str]) -> str:
    """Return the message about a damaged input."""
    return f"{'; '.join(problems)}; {REMEDY}"
