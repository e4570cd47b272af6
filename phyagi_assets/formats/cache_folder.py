"""Cache folders: the token arrays of each split, and the tokenizer that produced the ids.

::

    train.npy              token ids, one document after the other
    train.documents.npy    end of each document in the token array
    train.origins.npy      source file and row of each document
    train.hashes.npy       text hash of each document
    train.trained.npy      for conversations: one bit per token, set if the token is trained on
    train_labels.npy       label of each token id, if the labels were given
    tokenizer/             the tokenizer, written by save_pretrained
    tokenizer.pkl          the same tokenizer as a pickle
    config.json            settings, in a readable form
    manifest.json          inputs of the cache, and the checksum of each file

The arrays of a partition of several chunks are in pieces, one per chunk (``train-00000.npy``, ``train-00000.documents.npy``, …); the
manifest lists them. See `phyagi_assets.formats.pieces`.

Caches are written by the pipeline, by `LMDatasetProvider.from_hub`, and by the reference library, whose arrays are the rows of a 2-D array
(the ids, then their labels if there are any) and which have no manifest.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.joined_array import JoinedArray
from phyagi_assets.formats.npy import REMEDY, ArrayWriter, open_array
from phyagi_assets.formats.pieces import piece_stem
from phyagi_assets.formats.trained_bits import MASK, MaskWriter, SplitMask
from phyagi_assets.store.manifest import MANIFEST, Manifest

IDS = ".npy"
DOCUMENTS = ".documents.npy"
ORIGINS = ".origins.npy"
HASHES = ".hashes.npy"
LABELS = "_labels.npy"
ARRAYS = (IDS, DOCUMENTS, ORIGINS, HASHES, MASK, LABELS)
"""Endings of the names of a split's arrays."""
PIECES = "pieces"
"""Detail of a manifest that lists the pieces of each split in pieces: the number of each, with its counts."""
_CONFIG = "config.json"


def array_path(cache: Path, split: str, ending: str = IDS) -> Path:
    """Return the path of an array of a split; by default, of its token array."""
    return cache / f"{split}{ending}"


def counts_of_files(manifest: Manifest, split: str) -> Mapping[str, Mapping[str, int]]:
    """Return the counts of a split, or of each of its pieces in order, by the stem of their file names."""
    pieces = manifest.details.get(PIECES, {}).get(split)
    if pieces is None:
        return {split: manifest.counts[split]}
    return {piece_stem(split, piece["number"]): piece for piece in pieces}


def array_files(manifest: Manifest, split: str, ending: str = IDS) -> list[str]:
    """Return the names of the files of an array of a split, in order; by default, of its token array."""
    return [array_path(Path(), stem, ending).name for stem in counts_of_files(manifest, split)]


class SplitWriter(ExitStack):
    """Writer of the arrays of one split."""

    def __init__(self, cache: Path, split: str, dtype: npt.DTypeLike, *, has_origins: bool = True, has_mask: bool = False) -> None:
        super().__init__()
        self._ids = self.enter_context(ArrayWriter(array_path(cache, split, IDS), dtype))
        self._ends = self.enter_context(ArrayWriter(array_path(cache, split, DOCUMENTS), np.int64))
        if has_origins:
            self._origins = self.enter_context(ArrayWriter(array_path(cache, split, ORIGINS), np.int64, row=(2,)))
            self._hashes = self.enter_context(ArrayWriter(array_path(cache, split, HASHES), np.uint64))
        self._mask = self.enter_context(MaskWriter(array_path(cache, split, MASK))) if has_mask else None

    def append(
        self,
        ids: npt.NDArray[Any],
        lengths: npt.NDArray[np.int64],
        origins: npt.NDArray[np.int64] | None = None,
        hashes: npt.NDArray[np.uint64] | None = None,
        trained: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Append documents.

        Parameters
        ----------
        ids
            Token ids, one document after the other, 1-D.
        lengths
            Number of tokens of each document, 1-D.
        origins
            Source file and row of each document, shape ``(documents, 2)``.
        hashes
            Text hash of each document, 1-D.
        trained
            Whether each token is trained on, 1-D.
        """
        self._ends.append(self._ids.length + np.cumsum(lengths))
        self._ids.append(ids)
        if origins is not None and hashes is not None:
            self._origins.append(origins)
            self._hashes.append(hashes)
        if self._mask is not None and trained is not None:
            self._mask.append(trained)

    @property
    def counts(self) -> dict[str, int]:
        """Number of documents and of tokens written so far and, with a mask, of the tokens that are trained on."""
        counts = {"documents": self._ends.length, "tokens": self._ids.length}
        return counts if self._mask is None else {**counts, "trained": self._mask.trained}


def write_config(cache: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a cache in a readable form."""
    (cache / _CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class SplitArrays:
    """The arrays of a split of a cache with a manifest, each in one file or in pieces, mapped into memory on first use.

    Reading an array raises `StoreError` if a file is missing or damaged.
    """

    cache: Path
    manifest: Manifest
    split: str

    @classmethod
    def of(cls, cache: Path, split: str) -> "SplitArrays":
        """Return the arrays of a split of a cache in the store."""
        return cls(cache, Manifest.read(cache), split)

    @property
    def _counts(self) -> Mapping[str, Mapping[str, int]]:
        return counts_of_files(self.manifest, self.split)

    def paths(self, ending: str) -> list[Path]:
        """Return the paths of the files of an array."""
        return [array_path(self.cache, stem, ending) for stem in self._counts]

    def _joined(self, ending: str, dtype: npt.DTypeLike, row: tuple[int, ...] = (), count: str = "documents") -> JoinedArray:
        """Return an array, given the name of the count that is its length."""
        return JoinedArray(self.paths(ending), [counts[count] for counts in self._counts.values()], np.dtype(dtype), row)

    @cached_property
    def ids(self) -> JoinedArray:
        """The token array."""
        return self._joined(IDS, self.manifest.details["dtype"], count="tokens")

    @cached_property
    def ends(self) -> npt.NDArray[np.int64]:
        """End of each document in the token array, 1-D."""
        tokens = [counts["tokens"] for counts in self._counts.values()]
        ends = self._joined(DOCUMENTS, np.int64)
        for number, end in enumerate(tokens):
            piece = ends.piece(number)
            if (int(piece[-1]) if len(piece) else 0) != end:
                raise StoreError(f"{ends.paths[number]}: its last document does not end at token {end:,}, the end of its array; {REMEDY}")
        if len(tokens) == 1:
            return ends[:]
        before = np.cumsum(tokens, dtype=np.int64) - tokens
        return ends[:] + np.repeat(before, [counts["documents"] for counts in self._counts.values()])

    @cached_property
    def origins(self) -> npt.NDArray[np.int64]:
        """Source file and row of each document, shape ``(documents, 2)``."""
        return self._joined(ORIGINS, np.int64, (2,))[:]

    @cached_property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """Text hash of each document, 1-D."""
        return self._joined(HASHES, np.uint64)[:]

    @cached_property
    def mask(self) -> SplitMask | None:
        """The mask; None if all tokens are trained on."""
        counts = list(self._counts.values())
        if not all("trained" in count for count in counts):
            return None
        octets = [open_array(path, mapped=True) for path in self.paths(MASK)]
        return SplitMask(octets, [count["tokens"] for count in counts])


def pieces_of(cache: Path, split: str) -> SplitArrays | None:
    """Return the arrays of a split if they are in pieces; None if they are single files or missing."""
    if array_path(cache, split).exists() or not (cache / MANIFEST).is_file():
        return None
    arrays = SplitArrays.of(cache, split)
    return arrays if split in arrays.manifest.details.get(PIECES, {}) else None


def manifest_beside(file: Path) -> Manifest | None:
    """Return the manifest in the folder of a file, or None if there is none.

    Raises
    ------
    StoreError
        The manifest is damaged.
    """
    if not file.with_name(MANIFEST).is_file():
        return None
    try:
        return Manifest.read(file.parent)
    except StoreError as problem:
        raise StoreError(f"{problem}; build the cache again, or move the foreign files away") from None


def require_as_written(manifest: Manifest, path: Path) -> None:
    """Raise `StoreError` if a file, or any file in a folder, differs from the manifest. Checksums of arrays are not compared."""
    names = [name for name in manifest.files if name == path.name or name.startswith(f"{path.name}/")]
    if not names:
        raise StoreError(f"{path}: the cache's manifest does not name it: the cache is unfinished, or the file is foreign")
    arrays = {name: manifest.files[name] for name in names if name.endswith(IDS)}
    others = {name: manifest.files[name] for name in names if name not in arrays}
    damage = replace(manifest, files=arrays).damage(path.parent) or replace(manifest, files=others).damage(path.parent, checksums=True)
    if damage:
        raise StoreError(f"{damage[0]}; build the cache again")
