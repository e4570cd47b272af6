"""From a position in the order of training back to the documents that were read there."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from phyagi_assets.datasets.mixed_dataset import MixedDataset
from phyagi_assets.document_id import document_id
from phyagi_assets.errors import StoreError

_SHOWN = 60
"""Characters of a text in a table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentSpan:
    """What a sample holds of one document."""

    file: str
    """The source file, as its source lists it."""
    row: int
    """0-based row of the document in the file."""
    id: str
    """What `phyagi-assets remove` calls it."""
    start: int
    """Where in the sample it begins."""
    end: int
    """Where in the sample it ends."""
    skipped: int
    """Tokens of the document that come before."""
    length: int
    """Tokens of the document, the EOS included."""
    text: str
    """What the sample's tokens say, special tokens included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainedSample:
    """Where a sample comes from."""

    position: int
    corpus: str
    partition: str
    epoch: int
    """How often the samples that it is shuffled with were read whole before."""
    array: Path
    """The token array."""
    offset: int
    """Where in the array the sample begins."""
    documents: tuple[DocumentSpan, ...]


class Explanation(Sequence[ExplainedSample]):
    """Explained samples; printed, and shown by a notebook, as a table with a row a document."""

    def __init__(self, samples: Sequence[ExplainedSample]) -> None:
        self._samples = tuple(samples)

    def __getitem__(self, index: Any) -> Any:
        return Explanation(self._samples[index]) if isinstance(index, slice) else self._samples[index]

    def __len__(self) -> int:
        return len(self._samples)

    def rows(self) -> Iterator[dict[str, str]]:
        """The table: a row for each document of each sample, the text cut short."""
        for sample in self._samples:
            for document in sample.documents:
                yield {
                    "position": f"{sample.position:,}",
                    "corpus": sample.corpus,
                    "partition": sample.partition,
                    "epoch": f"{sample.epoch}",
                    "file": document.file,
                    "row": f"{document.row + 1:,}",
                    "id": document.id,
                    "tokens": f"{document.start}–{document.end}",
                    "of document": f"{document.skipped:,}–{document.skipped + document.end - document.start:,} of {document.length:,}",
                    "text": _short(document.text),
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
    """Leads positions of a dataset back to documents.

    Parameters
    ----------
    dataset
        The samples.
    """

    def __init__(self, dataset: MixedDataset) -> None:
        self._dataset = dataset
        self._files: dict[Path, list[str]] = {}

    def explain(self, positions: Sequence[int]) -> Explanation:
        """Explain the samples at some positions.

        Raises
        ------
        IndexError
            A position is negative, or beyond the end of a split that has one.
        StoreError
            A file that the plan names is gone.
        """
        dataset = self._dataset
        for position in positions:
            if position < 0 or (dataset.split != "train" and position >= len(dataset)):
                raise IndexError(
                    f"position {position} is outside the {dataset.split} split, which begins at 0 and has {len(dataset)} samples"
                )
        found = dataset.order.locate(np.array(positions, dtype=np.int64))
        columns = (positions, found.corpus.tolist(), found.epoch.tolist(), found.shard.tolist(), found.row.tolist())
        return Explanation([self._sample(*values) for values in zip(*columns, strict=True)])

    def _sample(self, position: int, corpus: int, epoch: int, shard: int, row: int) -> ExplainedSample:
        dataset = self._dataset
        planned = dataset.plan.corpora[corpus]
        array = dataset.shards.paths[shard]
        offset = row * dataset.plan.seq_len
        return ExplainedSample(
            position=position,
            corpus=planned.name,
            partition=planned.partitions[dataset.order.shards[shard].partition].key,
            epoch=epoch,
            array=array.resolve(),
            offset=offset,
            documents=tuple(self._documents(shard, array, offset)),
        )

    def _documents(self, shard: int, array: Path, offset: int) -> Iterator[DocumentSpan]:
        stop = offset + self._dataset.plan.seq_len
        shards = self._dataset.shards
        tokens, origins, hashes = (shards.mapped(array.with_suffix(suffix)) for suffix in (".npy", ".origins.npy", ".hashes.npy"))
        ends = shards.document_ends(shard)
        first = int(np.searchsorted(ends, offset, side="right"))
        for document in range(first, int(np.searchsorted(ends, stop, side="left")) + 1):
            begins, ends_at = int(ends[document - 1]) if document else 0, int(ends[document])
            start, end = max(begins, offset), min(ends_at, stop)
            file, source_row = origins[document].tolist()
            yield DocumentSpan(
                file=self._names(array.parent)[file],
                row=source_row,
                id=document_id(int(hashes[document])),
                start=start - offset,
                end=end - offset,
                skipped=start - begins,
                length=ends_at - begins,
                text=self._tokenizer.decode(tokens[start:end].tolist(), skip_special_tokens=False),
            )

    def _names(self, cache: Path) -> list[str]:
        if cache not in self._files:
            try:
                self._files[cache] = json.loads((cache / "manifest.json").read_text(encoding="utf-8"))["details"]["files"]
            except (OSError, ValueError, KeyError) as problem:
                raise StoreError(f"{cache / 'manifest.json'}: does not tell the source's files: {problem!r}") from None
        return self._files[cache]

    @cached_property
    def _tokenizer(self) -> Any:
        import tokenizers

        folder = next(path.parent for path in self._dataset.shards.paths) / "tokenizer"
        return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN else f"{flat[: _SHOWN - 1]}…"
