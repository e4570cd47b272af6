"""The pieces of a partition → files of rows: one after the other in this process, or side by side in several."""

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
    """All that it takes to encode a piece, in whatever process."""

    corpus: Corpus
    partition: str
    """Key of the partition."""
    file_names: tuple[str, ...]
    """Of the partition's files, as the source lists them."""
    removed: npt.NDArray[np.uint64]
    """Hashes of the documents that are left out."""
    prepared: PreparedTokenizer
    store: Store
    """Where what is known of the engines is kept."""
    choice: EngineChoice
    trusts_fast: bool = True
    """Whether the fast engine is used."""
    seed: int
    """With a piece's number, which of its documents the judge looks at."""
    maker: RowMaker

    def tokenizer(self, engines: Engines, piece: int) -> ExactTokenizer:
        """What encodes a piece, by its number alone: what the judge sees is the same in whatever process."""
        if not self.trusts_fast:
            return ExactTokenizer(engines.without_fast())
        return ExactTokenizer(engines, verify=self.corpus.config.verify, seed=(self.seed, piece))


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What is known of a piece that was written."""

    path: Path
    """The file of its rows."""
    counts: dict[str, int]
    """Of `COUNTS`."""
    tallies: list[tuple[int, RowTally]]
    """Of files that have rows without text, or of which other pieces hold a part: the file's index, and what its rows in this piece are."""


def write_pieces(
    recipe: Recipe, files: Sequence[LocalFile], folder: Path, engines: Engines, processes: int, on_progress: OnProgress
) -> Generator[Written, None, None]:
    """Encode a partition's files, each piece into a file of its own, in the order of the pieces.

    Parameters
    ----------
    engines
        Of this process.
    processes
        How many may be at it, as far as there are pieces; this one alone where that is 1.

    Raises
    ------
    SourceError
        A file cannot be read.
    EngineMismatch
        The fast engine is not to be trusted with this text.
    PhyagiAssetsError
        A process died.
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
            while given in done:  # the error that comes first in the files is the one that is told
                following = done.pop(given)
                if isinstance(following, Exception):
                    raise following
                yield following
                given += 1


def _name(declared: Path, partition: str, part: tuple[int, Piece]) -> str:
    return f"{declared}: partition {partition!r}, {piece_name(part[1])}"


def _threads(processes: int) -> int:
    """Of each process: its share of the processors, or what this one has been given, if that is less."""
    share, given = max(1, processors() // processes), os.environ.get(THREADS, "")
    return min(share, int(given)) if given.isdecimal() and int(given) else share


@contextmanager
def _prepared(recipe: Recipe, folder: Path, on_progress: OnProgress) -> Iterator["_Writer"]:
    """What writes a piece in a process of its own."""
    logging.disable()  # what there is to say of the engine, the process that hands out the pieces has said
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
                del batch, rows  # else they would stay in memory until the next are there
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
