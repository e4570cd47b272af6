"""Encode the chunks of a partition into one file of rows per chunk, in this process or in several processes at once."""

import logging
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.execution.prefetch import prefetch
from phyagi_assets.execution.process_pool import THREADS, Died, ProcessPool, processors
from phyagi_assets.execution.progress import OnProgress
from phyagi_assets.formats.token_rows import rows_file
from phyagi_assets.sources.chunks import Piece, piece_name, pieces
from phyagi_assets.sources.documents import Documents, RowTally, read_spans
from phyagi_assets.sources.files import LocalFile
from phyagi_assets.steps.encoding import RowMaker, encode_documents, refuse_special_tokens
from phyagi_assets.steps.exclusions import without
from phyagi_assets.store.local import Store
from phyagi_assets.tokenizers.exact import EngineChoice, EnginePool, Engines, ExactTokenizer
from phyagi_assets.tokenizers.prepare import PreparedTokenizer

COUNTS = ("documents", "empty", "invalid", "removed", "tokens", "text_bytes")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that a process needs to encode a chunk of a partition."""

    corpus: Corpus
    partition: str
    """Key of the partition."""
    file_names: tuple[str, ...]
    """Names of the partition's files, in the order of the source's listing."""
    removed: npt.NDArray[np.uint64]
    """Text hashes of the excluded documents, 1-D."""
    prepared: PreparedTokenizer
    store: Store
    """Store that keeps the conformance reports of the engines."""
    choice: EngineChoice
    """Choice of the engine."""
    trusts_fast: bool = True
    """Whether the fast engine may be used."""
    seed: int
    """Seed that determines, together with the number of a chunk, the sample of its documents that is encoded both ways."""
    maker: RowMaker

    def tokenizer(self, engines: Engines, piece: int) -> ExactTokenizer:
        """Return the tokenizer for a chunk, given its number. Its sample depends on the number alone, not on the process."""
        if not self.trusts_fast:
            return ExactTokenizer(engines.without_fast())
        return ExactTokenizer(engines, verify=self.corpus.config.verify, seed=(self.seed, piece))


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The result of encoding one chunk."""

    path: Path
    """The file with the chunk's rows."""
    counts: dict[str, int]
    """Counts of the chunk, by the names in `COUNTS`."""
    tallies: list[tuple[int, RowTally]]
    """Index of a file and row counts of its part in this chunk, for files with rows without text and for files split over chunks."""


def write_pieces(
    recipe: Recipe, files: Sequence[LocalFile], folder: Path, engines: Engines, processes: int, on_progress: OnProgress
) -> Generator[Written, None, None]:
    """Encode a partition's files, each chunk into a file of its own.

    Parameters
    ----------
    recipe
        Settings of the encoding.
    files
        Files of the partition, in the order of the source's listing.
    folder
        Folder to write the files of rows to.
    engines
        Engines of this process, used if `processes` is 1.
    processes
        Number of worker processes; with 1, this process encodes the chunks.
    on_progress
        Called with the bytes of source read since the last call.

    Yields
    ------
    Written
        The result of each chunk, in the order of the chunks.

    Raises
    ------
    SourceError
        A file cannot be read, or a row does not match the declaration.
    EngineMismatch
        The fast engine gives other ids than the reference engine, or failed.
    PhyagiAssetsError
        A worker process died.
    """
    with closing(prefetch(enumerate(pieces(recipe.corpus, files)), depth=processes)) as parts:
        if processes > 1:
            yield from _side_by_side(recipe, parts, folder, processes, on_progress)
        else:
            yield from map(_Writer(recipe, engines, folder, on_progress), parts)


def _side_by_side(
    recipe: Recipe, parts: Iterator[tuple[int, Piece]], folder: Path, processes: int, on_progress: OnProgress
) -> Iterator[Written]:
    prepare = partial(_prepared, recipe, folder)
    name = partial(_name, recipe.corpus.path, recipe.partition)
    pool = ProcessPool[tuple[int, Piece], Written](
        prepare=prepare, size=processes, threads=_threads(processes), on_progress=on_progress, name=name
    )
    done: dict[int, Written | Exception] = {}
    given = 0
    with closing(pool.do(parts)) as ended:
        for (number, piece), result in ended:
            if isinstance(result, Died):
                remedy = "build it again, with fewer processes if they took more memory than there is"
                raise PhyagiAssetsError(f"{name((number, piece))}: the process that encoded it {result}; {remedy}")
            done[number] = result
            while given in done:  # in order, so that the error raised is the first one in the files
                following = done.pop(given)
                if isinstance(following, Exception):
                    raise following
                yield following
                given += 1


def _name(declared: Path, partition: str, part: tuple[int, Piece]) -> str:
    return f"{declared}: partition {partition!r}, {piece_name(part[1])}"


def _threads(processes: int) -> int:
    """Return the number of engine threads per process: its share of the processors, or the limit set for this process if it is lower."""
    share, given = max(1, processors() // processes), os.environ.get(THREADS, "")
    return min(share, int(given)) if given.isdecimal() and int(given) else share


@contextmanager
def _prepared(recipe: Recipe, folder: Path, on_progress: OnProgress) -> Iterator["_Writer"]:
    """Load the engines in a worker process, and return the writer of chunks."""
    logging.disable()  # the parent process has already logged the messages about the engine
    engines = EnginePool(recipe.choice).engines(recipe.prepared, recipe.store, recipe.corpus.config.special_tokens)
    logging.disable(logging.NOTSET)
    yield _Writer(recipe, engines, folder, on_progress)


@dataclass(frozen=True, slots=True)
class _Writer:
    recipe: Recipe
    engines: Engines
    folder: Path
    on_progress: OnProgress

    def __call__(self, part: tuple[int, Piece]) -> Written:
        number, piece = part
        corpus, recipe = self.recipe.corpus, self.recipe
        refused = [token.content for token in recipe.prepared.special_tokens] if corpus.config.special_tokens == "error" else []
        documents = (
            refuse_special_tokens(without(batch, recipe.removed), refused, recipe.file_names, corpus) for batch in read_spans(corpus, piece)
        )
        tokenizer, maker = self.recipe.tokenizer(self.engines, number), self.recipe.maker
        path = rows_file(self.folder, number)
        tallies: list[tuple[int, RowTally]] = []
        counts = dict.fromkeys(COUNTS, 0)
        with (
            closing(encode_documents(documents, tokenizer, maker)) as batches,
            pa.OSFile(str(path), "wb") as file,
            pa.ipc.new_stream(file, maker.schema) as writer,
        ):
            for batch, rows in batches:
                writer.write_batch(rows)
                for name, more in _counted(batch, rows.column("length").to_numpy()).items():
                    counts[name] += more
                tallies += batch.tallies
                self.on_progress(batch.consumed)
                del batch, rows  # otherwise they would stay in memory until the next ones are encoded
        return Written(path=path, counts=counts, tallies=tallies)


def _counted(batch: Documents, lengths: npt.NDArray[np.int64]) -> dict[str, int]:
    return {
        "documents": len(lengths),
        "empty": int((lengths == 0).sum()),
        "invalid": batch.invalid,
        "removed": batch.removed,
        "tokens": int(lengths.sum()),
        "text_bytes": batch.text_bytes,
    }
