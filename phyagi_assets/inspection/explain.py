"""Trace a position in the order of training back to its documents."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.declare.document_id import document_id
from phyagi_assets.errors import MissingPackageError, StoreError
from phyagi_assets.formats.cache_folder import HASHES, ORIGINS
from phyagi_assets.formats.cache_tokenizer import load_backend
from phyagi_assets.formats.find_plan import find_plan
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formats.trained_bits import mark_trained
from phyagi_assets.formatting import counted
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.order.runs import PADDING
from phyagi_assets.paths import real_path
from phyagi_assets.reading.array_maps import REMEDY
from phyagi_assets.reading.mixture import open_plan
from phyagi_assets.reading.packed_indices import PackedIndices
from phyagi_assets.reading.token_shards import TokenShards
from phyagi_assets.store.manifest import MANIFEST, Manifest

logger = logging.getLogger(__name__)

_MAX_TEXT = 60
"""Largest number of characters of a text in a table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentSpan:
    """The part of a document that a sample contains."""

    partition: str
    file: str
    """Name of the source file, as the source lists it."""
    row: int
    """0-based row of the document in the file."""
    id: str
    """Document id, as `phyagi-assets remove` takes it."""
    start: int
    """Index in the sample of the first token of the document."""
    end: int
    """Index in the sample after the last token of the document."""
    skipped: int
    """Number of tokens of the document before the part in the sample."""
    length: int
    """Number of tokens of the document, including the EOS."""
    text: str
    """Text of the tokens in the sample, including special tokens."""
    marked: str
    """The same, with ⟦ and ⟧ around the parts that are trained on if the document is a conversation."""

    @property
    def part(self) -> str:
        """The tokens of the document that the sample contains, for display."""
        return f"{self.skipped:,}–{self.skipped + self.end - self.start:,} of {self.length:,}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainedRun:
    """Consecutive tokens of a sample from one token array."""

    partition: str
    array: Path
    """Path of the token array."""
    offset: int
    """Index of the first token in the array."""
    start: int
    """Index of the first token in the sample."""
    end: int
    """Index after the last token in the sample."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainedSample:
    """The origin of a sample."""

    position: int
    corpus: str
    epoch: int
    """Number of complete passes over its shuffle group before this sample."""
    runs: tuple[ExplainedRun, ...]
    """Runs of tokens in order: several if the sample crosses partitions, otherwise one. Padding follows the last run."""
    documents: tuple[DocumentSpan, ...]

    @property
    def partition(self) -> str:
        """Partition of the first token."""
        return self.runs[0].partition

    @property
    def array(self) -> Path:
        """Token array of the first token."""
        return self.runs[0].array

    @property
    def offset(self) -> int:
        """Index of the first token in its array."""
        return self.runs[0].offset


class Explanation(Sequence[ExplainedSample]):
    """A sequence of explained samples, displayed as a table with one row per document."""

    def __init__(self, samples: Sequence[ExplainedSample]) -> None:
        self._samples = tuple(samples)

    def __getitem__(self, index: Any) -> Any:
        return Explanation(self._samples[index]) if isinstance(index, slice) else self._samples[index]

    def __len__(self) -> int:
        return len(self._samples)

    def rows(self) -> Iterator[dict[str, str]]:
        """Yield the rows of the table: one per document of each sample, with the text shortened."""
        for sample in self._samples:
            for document in sample.documents:
                yield {
                    "position": f"{sample.position:,}",
                    "corpus": sample.corpus,
                    "partition": document.partition,
                    "epoch": f"{sample.epoch}",
                    "file": document.file,
                    "row": f"{document.row + 1:,}",
                    "id": document.id,
                    "tokens": f"{document.start}–{document.end}",
                    "of document": document.part,
                    "text": _short(document.marked),
                }

    def __repr__(self) -> str:
        rows = list(self.rows())
        if not rows:
            return "no samples"
        widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
        lines = [dict(zip(widths, widths, strict=True)), *rows]
        return "\n".join("  ".join(line[name].ljust(width) for name, width in widths.items()).rstrip() for line in lines)

    def _repr_html_(self) -> str:
        rows = list(self.rows())
        head = "".join(f"<th>{escape(name)}</th>" for name in rows[0]) if rows else ""
        body = "".join(f"<tr>{''.join(f'<td>{escape(value)}</td>' for value in row.values())}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Explainer:
    """Traces positions of one split of a mixture back to documents.

    Parameters
    ----------
    fetch
        Function that fetches the version that a path leads into, if the store is not on this machine.
    """

    def __init__(self, plan: Plan, order: MixtureOrder, shards: TokenShards, fetch: Callable[[Path], None] | None = None) -> None:
        self.plan = plan
        """The plan."""
        self._order, self._shards, self._fetch = order, shards, fetch
        self._files: dict[Path, list[str]] = {}
        self._decode: Callable[[npt.NDArray[Any]], str] | None = None
        """Decodes ids with the tokenizer of the plan; None before the first document is explained."""

    def explain(self, positions: Sequence[int]) -> Explanation:
        """Explain the samples at some positions.

        Raises
        ------
        IndexError
            A position is negative, or beyond the end of a split other than ``train``.
        StoreError
            A file that the plan names no longer exists.
        """
        split, count = self._order.split, len(self._order)
        for position in positions:
            if position < 0 or (split != "train" and position >= count):
                raise IndexError(f"position {position} is outside the {split} split, which has {counted(count, 'sample')}")
        found = self._order.locate(np.array(positions, dtype=np.int64))
        runs = self._order.runs(found)
        samples: list[list[tuple[int, ...]]] = [[] for _ in positions]
        for sample, *run in zip(*(column.tolist() for column in (runs.sample, runs.shard, runs.at, runs.start, runs.tokens)), strict=True):
            samples[sample].append(tuple(run))
        columns = (positions, found.corpus.tolist(), found.epoch.tolist(), samples)
        return Explanation([self._sample(*values) for values in zip(*columns, strict=True)])

    def _sample(self, position: int, corpus: int, epoch: int, runs: Sequence[tuple[int, ...]]) -> ExplainedSample:
        planned = self.plan.corpora[corpus]
        explained: list[ExplainedRun] = []
        documents: list[DocumentSpan] = []
        for shard, at, offset, tokens in runs:
            if shard != PADDING:
                if self._fetch:
                    self._fetch(self._shards.arrays[shard].path)
                run = ExplainedRun(
                    partition=planned.partitions[self._order.shards[self._order.division.files[shard].shard].partition].key,
                    array=real_path(self._shards.arrays[shard].path),
                    offset=offset,
                    start=at,
                    end=at + tokens,
                )
                explained.append(run)
                documents += self._documents(shard, run)
        return ExplainedSample(position=position, corpus=planned.name, epoch=epoch, runs=tuple(explained), documents=tuple(documents))

    def _documents(self, shard: int, run: ExplainedRun) -> Iterator[DocumentSpan]:
        """Yield the parts of documents that a run of tokens contains."""
        shards, stop = self._shards, run.offset + run.end - run.start
        cache = shards.arrays[shard].path.parent
        decode = self._decode = self._decode or _decoder(cache)
        ends = shards.document_ends(shard)
        origins, hashes = self._document_array(shard, ORIGINS, (len(ends), 2)), self._document_array(shard, HASHES, (len(ends),))
        first, last = int(np.searchsorted(ends, run.offset, side="right")), int(np.searchsorted(ends, stop, side="left"))
        for document in range(first, last + 1):
            document_start, document_end = int(ends[document - 1]) if document else 0, int(ends[document])
            start, end = max(document_start, run.offset), min(document_end, stop)
            file_number, source_row = origins[document].tolist()
            tokens, trained = shards.between(shard, start, end), shards.trained_between(shard, start, end)
            text = decode(tokens)
            yield DocumentSpan(
                partition=run.partition,
                file=self._file(cache, file_number),
                row=source_row,
                id=document_id(int(hashes[document])),
                start=run.start + start - run.offset,
                end=run.start + end - run.offset,
                skipped=start - document_start,
                length=document_end - document_start,
                text=text,
                marked=text if trained is None else mark_trained(tokens, trained, decode),
            )

    def _document_array(self, shard: int, ending: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return an array beside a token array, which has a row per document, and check its shape."""
        array = self._shards.beside(shard, ending)
        if array.shape != shape:
            file = self._shards.arrays[shard].path.with_suffix(ending)
            raise StoreError(f"{file}: has shape {array.shape}, but {shape[0]:,} documents require {shape}; {REMEDY}")
        return array

    def _file(self, cache: Path, number: int) -> str:
        if cache not in self._files:
            try:
                self._files[cache] = Manifest.read(cache).details["files"]
            except KeyError:
                raise StoreError(f"{cache / MANIFEST}: does not list the source files; {REMEDY}") from None
        names = self._files[cache]
        if not 0 <= number < len(names):
            raise StoreError(f"{cache / MANIFEST}: lists {len(names):,} source files, but a document refers to file {number}; {REMEDY}")
        return names[number]


def _decoder(cache: Path) -> Callable[[npt.NDArray[Any]], str]:
    """Return a function that decodes ids with the tokenizer in a cache. It returns empty text if the package that decodes is missing."""
    try:
        tokenizer = load_backend(cache)
    except MissingPackageError as problem:
        logger.warning("documents are shown without their text: %s", problem)
        return _no_text
    return partial(_text, tokenizer)


def _text(tokenizer: Any, ids: npt.NDArray[Any]) -> str:
    return str(tokenizer.decode(ids.tolist(), skip_special_tokens=False))


def _no_text(_ids: npt.NDArray[Any]) -> str:
    return ""


def open_explainer(mixture: str | Path, store: str | Path, *, seq_len: int | None = None) -> Explainer:
    """Open the training split of a materialized mixture.

    Parameters
    ----------
    mixture
        Name of the mixture, or the path of a ``mixture.json`` or of its folder.
    seq_len
        Tokens per sample; by default, the declared number.

    Raises
    ------
    StoreError
        The mixture does not exist, or its plan cannot be read.
    ValueError
        A corpus has too few tokens for one sample of this length.
    """
    found = find_plan(mixture, store)
    plan = open_plan(found, seq_len)
    order = MixtureOrder(plan, "train", PackedIndices(plan, found.file.parent))
    fetch = found.remote.fetch if found.remote else None
    return Explainer(plan, order, TokenShards.of_plan(plan, found.file.parent, order), fetch)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _MAX_TEXT else f"{flat[: _MAX_TEXT - 1]}…"
