"""Encode a partition chunk by chunk, each chunk into one file of rows.

The rows of a chunk are a function of the partition's fingerprint and the chunk's number. A chunk of a large partition is written to a
folder of the store that is named for both, so that any process can encode it, and a build that was interrupted goes on with the chunks
that are missing.
"""

import logging
import os
import re
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceDownError, SourceError, StoreError
from phyagi_assets.execution.prefetch import prefetch
from phyagi_assets.execution.progress import OnProgress
from phyagi_assets.formats.token_rows import TRAINED, renumber, rows_file
from phyagi_assets.sources.chunks import Spans, chunk_name, cut_into_chunks, numbered
from phyagi_assets.sources.documents import Batch, Documents, RowTally, SpanTallies, read_batches
from phyagi_assets.sources.readable import Readable, Stamp
from phyagi_assets.steps.conversations import ConversationRecipe
from phyagi_assets.steps.encoding import RowMaker, encode_in_order, refuse_special_tokens
from phyagi_assets.steps.exclusions import without
from phyagi_assets.steps.raw import raw_address
from phyagi_assets.steps.row_numbers import RowNumbers
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.base import Artifact
from phyagi_assets.store.disk import link
from phyagi_assets.store.fingerprint import file_digest
from phyagi_assets.store.state import State
from phyagi_assets.tokenizers.engines import ReferenceEngine
from phyagi_assets.tokenizers.exact import Engines, ExactTokenizer
from phyagi_assets.tokenizers.prepare import PreparedTokenizer

_FOLDER, _FILE = re.compile(r"[0-9a-f]{32}(-\w+)?"), re.compile(r"[0-9]+\.[\w.]+")
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
    removed: npt.NDArray[np.uint64]
    """Text hashes of the excluded documents, 1-D."""
    prepared: PreparedTokenizer
    trusts_fast: bool = True
    """Whether the fast engine may be used."""
    maker: RowMaker
    conversations: ConversationRecipe | None = None
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
    def folder(self) -> str:
        """Name of the folder of the chunks among all of the partition. Those of the reference engine are kept apart."""
        engine = "" if self.trusts_fast else f"-{ReferenceEngine.name.split()[0]}"
        return f"{self.fingerprint}{engine}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The result of encoding one chunk."""

    path: Path
    """The file with the chunk's rows."""
    counts: Mapping[str, int]
    """Counts of the chunk, by the names in `COUNTS` and, for conversations, `TRAINED`."""
    tallies: Sequence[tuple[int, RowTally]]
    """Index of a file and row counts of its part in this chunk, for files with rows without text and for files split over chunks."""


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
        if self.is_encoded(workspace):
            return
        written = self.write(workspace, _engines(self.recipe, workspace), on_progress)
        if workspace.store.exchange:  # they were sent, and another machine goes on with them
            written.path.unlink(missing_ok=True)
            self._record(workspace).forget()

    def is_encoded(self, workspace: Workspace) -> bool:
        """Return whether the chunk is encoded, and is where all machines of the run find it."""
        return (self._recall_elsewhere if workspace.store.exchange else self._recall_here)(workspace) is not None

    def recall(self, workspace: Workspace) -> Written | None:
        """Return the encoded chunk; None if it is not encoded yet, or its files have changed since. It is fetched if it is not here."""
        written = self._recall_here(workspace)
        if written is None and (elsewhere := self._recall_elsewhere(workspace)) and (exchange := workspace.store.exchange):
            size, digest, written = elsewhere
            try:
                with workspace.store.writing():
                    exchange.receive(written.path, size, digest)
            except StoreError as problem:
                logger.warning("%s is encoded again: %s", self.name, problem)
                return None
        return written

    def _recall_here(self, workspace: Workspace) -> Written | None:
        record = self._record(workspace).recall()
        with suppress(OSError, ValueError, TypeError, KeyError):
            if record["stamps"] == self._stamps(workspace) and record["digest"] == file_digest(self._rows(workspace)):
                return self._written(record, workspace)
        return None

    def _recall_elsewhere(self, workspace: Workspace) -> tuple[int, str, Written] | None:
        """Return the size and the digest of the rows that another machine has encoded, and what it counted."""
        exchange = workspace.store.exchange
        record: Any = exchange.record(self._record(workspace).path) if exchange else None
        with suppress(ValueError, TypeError, KeyError):
            if record["stamps"] == self._stamps(workspace):
                return int(record["bytes"]), str(record["digest"]), self._written(record, workspace)
        return None

    def _written(self, record: Mapping[str, Any], workspace: Workspace) -> Written:
        tallies = [(index, RowTally(**tally)) for index, tally in record["tallies"]]
        counts = {**dict.fromkeys(COUNTS), **record["counts"]}
        return Written(path=self._rows(workspace), counts={name: int(count) for name, count in counts.items()}, tallies=tallies)

    def write(self, workspace: Workspace, engines: Engines, on_progress: OnProgress) -> Written:
        """Encode the chunk into its folder in the store."""
        snapshot = self._snapshot(workspace)
        stamps, rows = self._stamps(workspace), self._rows(workspace)
        with workspace.store.writing():
            rows.parent.mkdir(parents=True, exist_ok=True)
            draft = rows.with_suffix(f".{uuid.uuid4().hex}")  # another machine may be writing this chunk
            try:
                written = encode_chunk(self.recipe, self.number, self.spans, draft, engines, on_progress)
                _flush(draft)
                draft.replace(rows)
            finally:
                draft.unlink(missing_ok=True)
        del snapshot
        tallies = [(index, asdict(of)) for index, of in written.tallies]
        digest, state = file_digest(rows), self._record(workspace)
        record = {"stamps": stamps, "digest": digest, "bytes": rows.stat().st_size, "counts": dict(written.counts), "tallies": tallies}
        state.remember(record)
        if exchange := workspace.store.exchange:
            exchange.send(rows, digest)
            exchange.send_record(state.path, record)
        return replace(written, path=rows)

    def _snapshot(self, workspace: Workspace) -> Artifact | None:
        """Fetch the files of the chunk that lie in a snapshot in a bucket. They stay here as long as the snapshot is referenced."""
        if not workspace.store.is_remote:
            return None
        raw = workspace.store.find(raw_address(self.recipe.corpus, self.recipe.partition), self.recipe.raw)
        if raw is None:
            return None
        paths = [span.file.path for span in self.spans if span.file.path]
        inside = [path.relative_to(raw.path).as_posix() for path in paths if path.is_relative_to(raw.path)]
        if inside:
            raw.folder(*inside)
        return raw

    def _stamps(self, workspace: Workspace) -> list[list[Any]]:
        """Return the places of the spans, and the stamps of the files that may change: not of those in a snapshot."""
        raw = workspace.store.version_path(raw_address(self.recipe.corpus, self.recipe.partition), self.recipe.raw)
        stamps: list[list[Any]] = []
        with suppress(OSError):  # a file is missing, which its reader reports
            for span in self.spans:
                path = span.file.path
                stamp: Stamp = () if path and path.is_relative_to(raw) else span.file.stamp()
                stamps.append([span.index, span.start, span.stop, span.first, *stamp])
            return stamps
        return []

    def _rows(self, workspace: Workspace) -> Path:
        return _all_chunks(self.recipe, workspace) / self.recipe.folder / f"{self.number}.arrow"

    def _record(self, workspace: Workspace) -> State:
        return State(self._rows(workspace).with_suffix(".json"))


def missing_chunks(recipe: Recipe, files: Sequence[Readable], workspace: Workspace) -> list[TokenChunk]:
    """Return the chunks of a partition that are not encoded yet.

    The engines are loaded, and compared with each other if they were not before, so that the processes that encode need not do it.

    Parameters
    ----------
    recipe
        Settings of the encoding.
    files
        Files of the partition, in the order of the source's listing.
    workspace
        The data folder and the store.
    """
    return [chunk for chunk in _chunks(recipe, files, workspace) if not chunk.is_encoded(workspace)]


def _chunks(recipe: Recipe, files: Sequence[Readable], workspace: Workspace) -> Iterator[TokenChunk]:
    """Cut a partition into chunks, after the engines are loaded and chunks of other versions are deleted."""
    _engines(recipe, workspace)
    clear_chunks(_all_chunks(recipe, workspace), keeping=recipe.fingerprint)
    for number, spans in enumerate(cut_into_chunks(recipe.corpus, files, workspace.chunk_bytes)):
        yield TokenChunk(recipe=recipe, number=number, spans=spans)


def write_chunks(
    recipe: Recipe, files: Sequence[Readable], folder: Path, workspace: Workspace, on_progress: OnProgress, *, in_place: bool
) -> Generator[Written, None, None]:
    """Write a partition's rows, each chunk into a file of its own. Chunks that are encoded already are taken from the store.

    Parameters
    ----------
    recipe
        Settings of the encoding.
    files
        Files of the partition, in the order of the source's listing.
    folder
        Folder to write the files of rows to.
    workspace
        The data folder and the store.
    on_progress
        Called with the bytes of source read since the last call.
    in_place
        Whether the rows are written to the folder alone. Otherwise each chunk is kept in the store, for a later build to go on from.

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
    """
    numbers = RowNumbers()
    with closing(prefetch(_chunks(recipe, files, workspace))) as chunks:
        for chunk in chunks:
            engines, path = _engines(recipe, workspace), rows_file(folder, chunk.number)
            if in_place:
                yield encode_chunk(recipe, chunk.number, chunk.spans, path, engines, on_progress)
                continue
            written = chunk.recall(workspace) or chunk.write(workspace, engines, on_progress)
            offsets, tallies = numbers.of_chunk(chunk.spans, written.tallies)
            if offsets:
                renumber(written.path, path, offsets)
            else:
                link(written.path, path)
            yield replace(written, path=path, tallies=tallies)


def forget_chunks(corpus: Corpus, partition: str, workspace: Workspace) -> None:
    """Delete the chunks of a partition."""
    folder = workspace.store.scratch("chunks", f"{corpus.config.name}/{partition}")
    clear_chunks(folder)
    if exchange := workspace.store.exchange:
        exchange.forget(folder)


def clear_chunks(folder: Path, keeping: str = "") -> None:
    """Delete the chunks in the folder of a partition, and the folders that are then empty. Files of another kind are left alone.

    Parameters
    ----------
    folder
        The folder of the partition's chunks.
    keeping
        Fingerprint of the artifact whose chunks are kept; by default, all are deleted.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    for made in folder.iterdir():
        if _FOLDER.fullmatch(made.name) and made.is_dir() and not made.is_symlink() and not (keeping and made.name.startswith(keeping)):
            for path in made.iterdir():
                if _FILE.fullmatch(path.name):
                    path.unlink(missing_ok=True)
            with suppress(OSError):
                made.rmdir()
    with suppress(OSError):
        folder.rmdir()


def _all_chunks(recipe: Recipe, workspace: Workspace) -> Path:
    return workspace.store.scratch("chunks", f"{recipe.corpus.config.name}/{recipe.partition}")


def encode_chunk(recipe: Recipe, number: int, spans: Spans, path: Path, engines: Engines, on_progress: OnProgress) -> Written:
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
    except SourceDownError:
        raise
    except SourceError:
        if not all(span.is_numbered for span in spans):
            _encode_spans(recipe, number, numbered(spans), path, engines, on_progress)
        raise


def _encode_spans(recipe: Recipe, number: int, spans: Spans, path: Path, engines: Engines, on_progress: OnProgress) -> Written:
    corpus, maker, tokenizer = recipe.corpus, recipe.maker, recipe.tokenizer(engines, number)
    refused = [token.content for token in recipe.prepared.special_tokens] if corpus.config.special_tokens == "error" else []
    names = {span.index: span.file.name for span in spans}

    def encode(place: int, batch: Batch) -> tuple[Documents, pa.RecordBatch]:
        if recipe.conversations is not None:
            found = recipe.conversations.encode(batch.documents(), recipe.removed, tokenizer, place)
            return refuse_special_tokens(found.documents, refused, names, corpus), maker.rows(found.documents, found.encoded, found.trained)
        documents = refuse_special_tokens(without(batch.documents(), recipe.removed), refused, names, corpus)
        return documents, maker.rows(documents, tokenizer.encode(documents.texts, place))

    tallies, span_tallies = list[tuple[int, RowTally]](), SpanTallies(corpus)
    counts = dict.fromkeys(COUNTS, 0)
    with (
        closing(encode_in_order(read_batches(corpus, spans), encode, size=lambda batch: batch.size)) as encoded,
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
    return Written(path=path, counts=counts, tallies=tallies)


def _engines(recipe: Recipe, workspace: Workspace) -> Engines:
    return workspace.engines.engines(recipe.encoding, workspace.store, recipe.corpus.config.special_tokens, recipe.corpus.config.engine)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


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
