"""Encode a partition chunk by chunk, each chunk into one file of rows.

A task also reads the rows of its chunk again to check them, and copies the columns that describe whole documents to a small file, so that
the step that joins the chunks reads no rows.
"""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import AccessError, SourceDownError, SourceError, StoreError
from phyagi_assets.execution.executor import OnProgress
from phyagi_assets.execution.ordered import prefetch
from phyagi_assets.formats.token_rows import TRAINED, renumber, rows_in, write_columns
from phyagi_assets.sources.chunks import Spans, chunk_name, cut_into_chunks, numbered
from phyagi_assets.sources.documents import Batch, Documents, SpanTallies, read_batches
from phyagi_assets.sources.readable import Readable, Stamp
from phyagi_assets.sources.row_tally import FileTally, RowTally
from phyagi_assets.steps.checks.tokens import CheckedRows, Rules, examine_rows
from phyagi_assets.steps.chunk_results import ChunkFolder, ChunkResult, chunks_of, clear_chunks
from phyagi_assets.steps.conversations import ConversationRecipe
from phyagi_assets.steps.encoding import RowMaker, encode_in_order
from phyagi_assets.steps.exclusions import without
from phyagi_assets.steps.raw import raw_address
from phyagi_assets.steps.row_numbers import RowNumbers
from phyagi_assets.steps.special_tokens import refuse_special_tokens
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.artifact import Artifact, FinishedFile
from phyagi_assets.tokenizers.engine_pool import Engines
from phyagi_assets.tokenizers.engines import ReferenceEngine
from phyagi_assets.tokenizers.exact import ExactTokenizer
from phyagi_assets.tokenizers.prepared import PreparedTokenizer

_ROWS, _DOCUMENTS = "arrow", "documents"
"""Names of the files of an encoded chunk."""
_DOCUMENT_COLUMNS = ("length", "hash")
"""Columns of the second file."""

logger = logging.getLogger(__name__)

COUNTS = ("documents", "empty", "invalid", "removed", "tokens", "text_bytes")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that a process needs, apart from the engines, to encode a chunk of a partition."""

    corpus: Corpus
    partition: str
    """Key of the partition."""
    fingerprint: str
    """Fingerprint of the tokenized artifact. It determines, together with the number of a chunk, the sample of its documents that is
    encoded both ways."""
    raw: str
    """Fingerprint of the raw artifact."""
    size: int
    """Size of the source files of the partition, in bytes."""
    removed: npt.NDArray[np.uint64]
    """Text hashes of the excluded documents, 1-D."""
    prepared: PreparedTokenizer
    trusts_fast: bool = True
    """Whether the fast engine may be used."""
    maker: RowMaker
    rules: Rules
    """Requirements on the token ids of the rows."""
    conversations: ConversationRecipe | None
    """Settings of the encoding of conversations; None if the documents are text."""

    @property
    def encoding(self) -> PreparedTokenizer:
        """The tokenizer of the engines: for conversations, the declared one without the tokens that it adds around every text."""
        return self.prepared if self.conversations is None else self.conversations.prepared.bare

    def tokenizer(self, engines: Engines, chunk: int) -> ExactTokenizer:
        """Return the tokenizer for a chunk, given its number. Its sample depends on the number alone, not on the process."""
        if not self.trusts_fast:
            return ExactTokenizer(engines.without_fast())
        return ExactTokenizer(engines, verify=self.corpus.config.verify, seed=(int(self.fingerprint[:12], 16), chunk))

    @property
    def name(self) -> str:
        """Name of the corpus and key of the partition, as ``corpus/partition``."""
        return f"{self.corpus.config.name}/{self.partition}"

    @property
    def folder(self) -> str:
        """Name of the folder of the chunks. Chunks that the reference engine encodes have a folder of their own."""
        engine = "" if self.trusts_fast else f"-{ReferenceEngine.name.split()[0]}"
        return f"{self.fingerprint}{engine}"


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenChunk:
    """An encoded chunk and its files."""

    counts: Mapping[str, int]
    """Counts of the chunk, by the names in `COUNTS` and, for conversations, `TRAINED`."""
    tallies: Sequence[FileTally]
    """Counts of the parts of files in this chunk, for files with rows without text and for files split over chunks."""
    documents: Path
    """File with the columns of its rows that describe whole documents."""
    rows: FinishedFile | Path
    """File with its rows: as its task wrote it, or a path in the folder of the artifact."""
    checked: CheckedRows | None = None
    """Findings of reading the rows again; None if they were not read again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenChunk:
    """A chunk of a partition that any process can encode."""

    recipe: Recipe
    number: int
    spans: Spans
    """The spans of files that the chunk consists of."""

    @property
    def name(self) -> str:
        """Name of the chunk for messages."""
        return f"{self.recipe.corpus.path}: partition {self.recipe.partition!r}, {chunk_name(self.spans)}"

    def run(self, workspace: Workspace, on_progress: OnProgress) -> None:
        """Encode the chunk, unless it is encoded already."""
        results = _results(self.recipe, workspace)
        if not self.is_encoded(workspace, results):
            result = self.write(workspace, results, engines_of(self.recipe, workspace), on_progress)
            results.release(self.number, result)

    def is_encoded(self, workspace: Workspace, results: ChunkFolder) -> bool:
        """Return whether the chunk is encoded and available to all machines of the run."""
        return results.recall(self.number, self._stamps(workspace)) is not None

    def written(self, workspace: Workspace, results: ChunkFolder, engines: Engines, on_progress: OnProgress) -> WrittenChunk:
        """Return the encoded chunk, and encode it if necessary. The file of its documents is then on this machine."""
        result = results.recall(self.number, self._stamps(workspace))
        if result is not None:
            try:
                return _written(result, results)
            except StoreError as problem:
                logger.warning("%s is encoded again: %s", self.name, problem)
        return _written(self.write(workspace, results, engines, on_progress), results)

    def write(self, workspace: Workspace, results: ChunkFolder, engines: Engines, on_progress: OnProgress) -> ChunkResult:
        """Encode the chunk, and check what was written."""
        snapshot = self._snapshot(workspace)
        stamps = self._stamps(workspace)

        def write(path: Callable[[str], Path]) -> Mapping[str, Any]:
            encoded = encode_chunk(self.recipe, self.number, self.spans, path(_ROWS), engines, on_progress)
            write_columns(path(_ROWS), path(_DOCUMENTS), _DOCUMENT_COLUMNS)
            decoder = workspace.engines.decoder(self.recipe.encoding, self.recipe.corpus.config.special_tokens)
            seed = (int(self.recipe.fingerprint[:12], 16), self.number)
            checked = examine_rows(rows_in(path(_ROWS)), self.recipe.rules, decoder, encoded.counts["documents"], seed)
            tallies = [(tally.file, asdict(tally.rows)) for tally in encoded.tallies]
            return {"counts": dict(encoded.counts), "tallies": tallies, "checked": asdict(checked)}

        result = results.write(self.number, stamps, write)
        del snapshot
        return result

    def _snapshot(self, workspace: Workspace) -> Artifact | None:
        """Fetch the files of the chunk from a snapshot in a bucket. They stay on this machine while the returned artifact is referenced."""
        paths = [span.file.path for span in self.spans if span.file.path]
        if not workspace.store.is_remote or not paths:
            return None
        raw = workspace.store.find(raw_address(self.recipe.corpus, self.recipe.partition), self.recipe.raw)
        if raw and (inside := [path.relative_to(raw.path).as_posix() for path in paths if path.is_relative_to(raw.path)]):
            raw.folder(*inside)
        return raw

    def _stamps(self, workspace: Workspace) -> list[list[Any]]:
        """Return the offsets of the spans, and the stamps of their files; files in a snapshot do not change and have no stamp."""
        raw = workspace.store.version_path(raw_address(self.recipe.corpus, self.recipe.partition), self.recipe.raw)
        stamps: list[list[Any]] = []
        with suppress(OSError):  # a file is missing, which its reader reports
            for span in self.spans:
                path = span.file.path
                stamp: Stamp = () if path and path.is_relative_to(raw) else span.file.stamp()
                stamps.append([span.index, span.start, span.stop, span.first, *stamp])
            return stamps
        return []


def _results(recipe: Recipe, workspace: Workspace) -> ChunkFolder:
    return ChunkFolder(workspace.store, recipe.name, recipe.folder)


def _written(result: ChunkResult, results: ChunkFolder) -> WrittenChunk:
    found = result.found
    return WrittenChunk(
        counts={**dict.fromkeys(COUNTS, 0), **found["counts"]},
        tallies=[FileTally(file=file, rows=RowTally(**rows)) for file, rows in found["tallies"]],
        documents=results.fetch(result.files[_DOCUMENTS]),
        rows=result.files[_ROWS],
        checked=CheckedRows.of_record(found["checked"]),
    )


def missing_chunks(recipe: Recipe, files: Sequence[Readable], workspace: Workspace) -> list[TokenChunk]:
    """Return the chunks of a partition that are not encoded yet.

    The engines are loaded, and compared if necessary, so that the processes that encode need not do it.
    """
    engines_of(recipe, workspace)
    results = _results(recipe, workspace)
    return [chunk for chunk in _chunks(recipe, files, workspace) if not chunk.is_encoded(workspace, results)]


def _chunks(recipe: Recipe, files: Sequence[Readable], workspace: Workspace) -> Iterator[TokenChunk]:
    """Cut a partition into chunks, after chunks of other versions are deleted."""
    clear_chunks(chunks_of(workspace.store, recipe.name), keeping=recipe.fingerprint)
    for number, spans in enumerate(cut_into_chunks(recipe.corpus, files, workspace.chunk_bytes)):
        yield TokenChunk(recipe=recipe, number=number, spans=spans)


def write_chunks(
    recipe: Recipe, files: Sequence[Readable], folder: Path, workspace: Workspace, on_progress: OnProgress, *, in_place: bool
) -> Generator[WrittenChunk, None, None]:
    """Write a partition's rows, each chunk into its own file. Chunks that are encoded already are taken from the store.

    Parameters
    ----------
    in_place
        Whether the rows are written to the folder alone. Otherwise each chunk is kept in the store, so that a later build can continue.
    """
    results, numbers, engines = _results(recipe, workspace), RowNumbers(), engines_of(recipe, workspace)
    with closing(prefetch(_chunks(recipe, files, workspace))) as chunks:
        for chunk in chunks:
            path = folder / f"{chunk.number}"
            if in_place:
                yield encode_chunk(recipe, chunk.number, chunk.spans, path, engines, on_progress)
                continue
            written = chunk.written(workspace, results, engines, on_progress)
            offsets, tallies = numbers.of_chunk(chunk.spans, written.tallies)
            if offsets and isinstance(written.rows, FinishedFile):  # only this process knows how many lines come before the chunk
                renumber(results.fetch(written.rows), path, offsets)
                written = replace(written, rows=path)
            yield replace(written, tallies=tallies)


def encode_chunk(recipe: Recipe, number: int, spans: Spans, path: Path, engines: Engines, on_progress: OnProgress) -> WrittenChunk:
    """Encode the documents of a chunk, and write their rows to a file.

    Raises
    ------
    SourceError
        A file cannot be read, or a row does not match the declaration. The lines before the chunk are counted to name the row.
    EngineMismatch
        The fast engine gives other ids than the reference engine, or failed.
    """
    try:
        return _encode_spans(recipe, number, spans, path, engines, on_progress)
    except (AccessError, SourceDownError):
        raise
    except SourceError:
        if not all(span.is_numbered for span in spans):
            _encode_spans(recipe, number, numbered(spans), path, engines, on_progress)
        raise


def _encode_spans(recipe: Recipe, number: int, spans: Spans, path: Path, engines: Engines, on_progress: OnProgress) -> WrittenChunk:
    corpus, maker, tokenizer = recipe.corpus, recipe.maker, recipe.tokenizer(engines, number)
    refused = [token.content for token in recipe.prepared.special_tokens] if corpus.config.special_tokens == "error" else []
    names = {span.index: span.file.name for span in spans}

    def encode(place: int, batch: Batch) -> tuple[Documents, pa.RecordBatch]:
        if recipe.conversations is not None:
            found = recipe.conversations.encode(batch.documents(), recipe.removed, tokenizer, place)
            return refuse_special_tokens(found.documents, refused, names, corpus), maker.rows(found.documents, found.encoded, found.trained)
        documents = refuse_special_tokens(without(batch.documents(), recipe.removed), refused, names, corpus)
        return documents, maker.rows(documents, tokenizer.encode(documents.texts, place))

    tallies, span_tallies = list[FileTally](), SpanTallies(corpus)
    counts = dict.fromkeys(COUNTS, 0)
    batches = read_batches(corpus, spans)
    with (
        closing(encode_in_order(batches, encode, size=lambda batch: batch.size, renders=recipe.conversations is not None)) as encoded,
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_stream(file, maker.schema) as writer,
    ):
        for documents, rows in encoded:
            batch = span_tallies.checked(documents)
            writer.write_batch(rows)
            for name, more in _counted(batch, rows).items():
                counts[name] = counts.get(name, 0) + more
            tallies += batch.tallies
            on_progress(batch.consumed)
            del documents, batch, rows  # otherwise they would stay in memory until the next ones are encoded
    return WrittenChunk(counts=counts, tallies=tallies, documents=path, rows=path)


def engines_of(recipe: Recipe, workspace: Workspace) -> Engines:
    """Return the engines that encode a partition; load and compare them if necessary."""
    config = recipe.corpus.config
    return workspace.engines.engines(recipe.encoding, workspace.store, config.special_tokens, config.engine, size=recipe.size)


def _counted(batch: Documents, rows: pa.RecordBatch) -> dict[str, int]:
    lengths = rows.column("length").to_numpy()
    trained = {TRAINED: pc.sum(rows.column(TRAINED).flatten()).as_py() or 0} if TRAINED in rows.schema.names else {}
    return {
        "documents": len(lengths),
        "empty": int((lengths == 0).sum()),
        "invalid": batch.invalid,
        "removed": batch.removed,
        "tokens": int(lengths.sum()),
        "text_bytes": batch.text_bytes,
        **trained,
    }
