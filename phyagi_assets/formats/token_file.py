"""Splits of cache folders of either library, opened by the path of their ``.npy`` file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.cache_folder import (
    DOCUMENTS,
    IDS,
    LABELS,
    SplitArrays,
    manifest_beside,
    pieces_of,
    require_as_written,
)
from phyagi_assets.formats.cache_tokenizer import BACKEND
from phyagi_assets.formats.joined_array import JoinedArray
from phyagi_assets.formats.trained_bits import MASK, mask_bytes, with_ignored
from phyagi_assets.formats.vocabulary import Vocabulary
from phyagi_assets.paths import real_path
from phyagi_assets.store.manifest import MANIFEST, Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenFile:
    """The token array of a split, with the labels, document ends and vocabulary that belong to it."""

    ids: npt.NDArray[Any] | JoinedArray
    """Token ids, 1-D, memory-mapped."""
    labels: npt.NDArray[Any] | None
    """Label of each token id, 1-D; None if the cache has no labels."""
    ends: npt.NDArray[np.int64] | None
    """End of each document in `ids`, from ``<split>.documents.npy``; None without that file."""
    vocabulary: Vocabulary | None
    """Vocabulary of the tokenizer; None if the cache has no manifest, or the manifest does not describe the tokenizer."""

    def divided(self, part: float) -> tuple["TokenFile", "TokenFile"]:
        """Divide the tokens: return those after the first `part`, and that part, which is a fraction below 1 or a number of tokens.

        The cut is between documents, if their ends are known.

        Raises
        ------
        ValueError
            One of the two would be empty.
        """
        total = len(self.ids)
        size = part * total if part < 1 else part
        setting = f"validation_split: {part} of {total} tokens"
        if size >= total:
            raise ValueError(f"{setting} leave nothing to train on")
        cut = round(size)
        if self.ends is not None:
            if len(self.ends) < 2:
                raise ValueError(
                    f"{setting} cannot be split off: there is only one document, and documents are not cut; give a validation_file"
                )
            cut = _nearest(self.ends[:-1], cut)
        if cut == 0:
            raise ValueError(f"{setting} leave nothing to validate on")
        return self._part(cut, total), self._part(0, cut)

    def _part(self, start: int, end: int) -> "TokenFile":
        labels, ends = self.labels, self.ends
        if labels is not None:
            labels = labels[start:end]
        if ends is not None:
            first, last = np.searchsorted(ends, [start, end], side="right")
            ends = ends[first:last] - start
        return replace(self, ids=self.ids[start:end], labels=labels, ends=ends)


def is_split(path: Path) -> bool:
    """Return whether a split can be opened by the path of its ``.npy`` file, even if the array is in pieces and the file does not exist."""
    return path.exists() or pieces_of(path.parent, path.stem) is not None


def open_tokens(path: Path) -> TokenFile:
    """Open a split by its ``.npy`` file.

    Raises
    ------
    StoreError
        The file is not an array of token ids, differs from the folder's manifest, or does not fit an array beside it.
    """
    path = real_path(path.parent) / path.name  # read a single version, even if another one is published meanwhile
    if pieces := pieces_of(path.parent, path.stem):
        return _open_pieces(pieces)
    rows, manifest = _rows(path), manifest_beside(path)
    ids, vocabulary = rows[0], None
    if manifest is not None:
        require_as_written(manifest, path)
        dtype, vocabulary = _dtype_and_vocabulary(manifest, path.parent)
        if ids.dtype != dtype:
            raise StoreError(
                f"{path}: holds {ids.dtype}, but its manifest says {dtype}: it belongs to another cache; build the cache again"
            )
    ends = _beside(path, manifest, DOCUMENTS)
    if ends is not None and (int(ends[-1]) if len(ends) else 0) != len(ids):
        raise StoreError(f"{path}: has {len(ids)} tokens, but {path.stem}.documents.npy describes another array; build the cache again")
    return TokenFile(ids=ids, labels=_labels(path, rows, manifest), ends=ends, vocabulary=vocabulary)


def _labels(path: Path, rows: Sequence[npt.NDArray[Any]], manifest: Manifest | None) -> npt.NDArray[Any] | None:
    """Return the labels of token ids: the second of the rows of their file, a file beside it, or the ids that a mask selects."""
    ids, labels, mask = rows[0], *(_beside(path, manifest, ending) for ending in (LABELS, MASK))
    if len(rows) > 1:
        if labels is not None:
            raise StoreError(f"{path}: its second row holds labels, and so does {path.stem}_labels.npy beside it; remove one of them")
        labels = rows[1]
    if labels is not None and len(labels) != len(ids):
        raise StoreError(
            f"{path}: has {len(ids)} tokens, but {path.stem}_labels.npy beside it has {len(labels)} labels; they should be as many"
        )
    if mask is None and manifest is not None and "trained" in manifest.counts.get(path.stem, {}):
        raise StoreError(f"{path.with_suffix(MASK)}: is missing; it records which tokens to train on, so build the cache again")
    if mask is not None:
        if labels is not None or mask.dtype != np.uint8 or len(mask) != mask_bytes(len(ids)):
            raise StoreError(
                f"{path.with_suffix(MASK)}: is not a mask of {path.name}, or there are labels beside it; build the cache again"
            )
        labels = with_ignored(ids, mask)
    return labels


def _open_pieces(pieces: SplitArrays) -> TokenFile:
    """Open a split in pieces."""
    for ending in (IDS, DOCUMENTS, MASK):
        for path in pieces.paths(ending):
            if ending != MASK or path.name in pieces.manifest.files:
                require_as_written(pieces.manifest, path)
    vocabulary, labels, mask = _dtype_and_vocabulary(pieces.manifest, pieces.cache)[1], None, pieces.mask
    if mask is not None:
        ids = pieces.ids
        labels = np.concatenate([with_ignored(ids.piece(number), octets) for number, octets in enumerate(mask.octets)])
    return TokenFile(ids=pieces.ids, labels=labels, ends=pieces.ends, vocabulary=vocabulary)


def _dtype_and_vocabulary(manifest: Manifest, cache: Path) -> tuple[np.dtype[Any], Vocabulary | None]:
    try:
        dtype, tokenizer = np.dtype(manifest.details["dtype"]), manifest.details["tokenizer"]
        if tokenizer is None:  # not a tokenizer of transformers
            return dtype, None
        backend = manifest.files.get(BACKEND)
        return dtype, Vocabulary(
            size=tokenizer["vocab_size"],
            max_id=tokenizer["max_id"],
            eos_token_id=tokenizer["eos_token_id"],
            file=cache / BACKEND,
            checksum=backend.xxh3_128 if backend else None,
        )
    except (TypeError, KeyError) as problem:
        raise StoreError(f"{cache / MANIFEST}: is not the manifest of a cache: {problem!r}; build the cache again") from None


def _beside(path: Path, manifest: Manifest | None, ending: str) -> npt.NDArray[Any] | None:
    beside = path.with_name(path.stem + ending)
    if manifest is not None and beside.name in manifest.files:
        require_as_written(manifest, beside)
    if not beside.is_file():
        return None
    rows = _rows(beside)
    if len(rows) > 1:
        raise StoreError(f"{beside}: has {len(rows)} rows; the file should have one")
    return rows[0]


def _rows(path: Path) -> list[npt.NDArray[Any]]:
    """Open the token ids of a file, and the labels of the tokens if the file has a second row."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as problem:
        raise StoreError(f"{path}: is not an .npy array that can be mapped: {problem}") from None
    if not isinstance(array, np.ndarray) or array.ndim not in (1, 2) or array.dtype.kind not in "iu":
        found = f"an array of {array.dtype} with shape {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise StoreError(
            f"{path}: is {found}; token ids are a 1-D array of integers, or the first of two rows, whose second row holds labels"
        )
    if array.ndim == 1:
        return [array]
    if len(array) not in (1, 2):
        raise StoreError(f"{path}: has shape {array.shape}; a cache has one row of token ids, and optionally a second row of labels")
    return list(array)


def _nearest(ends: npt.NDArray[np.int64], cut: int) -> int:
    after = int(np.searchsorted(ends, cut))
    return min((int(end) for end in ends[max(after - 1, 0) : after + 1]), key=lambda end: abs(end - cut))
