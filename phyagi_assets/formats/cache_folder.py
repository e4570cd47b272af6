"""Cache folders: the token arrays of each split, and the tokenizer that produced the ids.

::

    train.npy              token ids, one document after the other
    train.documents.npy    end of each document in the token array
    train.origins.npy      source file and row of each document
    train.hashes.npy       text hash of each document
    train.trained.npy      for conversations: which tokens are trained on, one bit per token
    train_labels.npy       label of each token id, where the labels are given
    tokenizer/             the tokenizer, written by save_pretrained, and the same as a pickle: tokenizer.pkl
    config.json            settings, in a readable form
    manifest.json          inputs of the cache, and the checksum of each file

The arrays of a partition of several chunks are in pieces, one per chunk (``train-00000.npy``, ``train-00000.documents.npy``, …); the
manifest lists them. See `phyagi_assets.formats.pieces`.

Caches are written by the pipeline, by `LMDatasetProvider.from_hub`, and by the reference library, whose arrays are the rows of a 2-D array
(the ids, then their labels if there are any) and which have no manifest.
"""

import json
import logging
import pickle
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import MissingPackageError, StoreError, translate_missing_packages
from phyagi_assets.formats.joined_array import JoinedArray
from phyagi_assets.formats.npy import REMEDY, ArrayWriter, open_array
from phyagi_assets.formats.pieces import piece_stem
from phyagi_assets.formats.trained_bits import TRAINED, MaskWriter, SplitMask, mask_bytes, with_ignored
from phyagi_assets.formats.vocabulary import Vocabulary
from phyagi_assets.paths import real_path
from phyagi_assets.store.fingerprint import file_digest
from phyagi_assets.store.manifest import MANIFEST, Manifest

logger = logging.getLogger(__name__)

IDS = ".npy"
DOCUMENTS = ".documents.npy"
ORIGINS = ".origins.npy"
HASHES = ".hashes.npy"
LABELS = "_labels.npy"
ARRAYS = (IDS, DOCUMENTS, ORIGINS, HASHES, TRAINED, LABELS)
"""Endings of the names of a split's arrays."""
SAVED = "tokenizer"
PICKLED = "tokenizer.pkl"
BACKEND = f"{SAVED}/tokenizer.json"
"""The tokenizer as a JSON file of the ``tokenizers`` library."""
_CONFIG = "config.json"


def array_path(cache: Path, split: str, ending: str = IDS) -> Path:
    """Return the path of an array of a split; by default, of its token array."""
    return cache / f"{split}{ending}"


PIECES = "pieces"
"""Detail of a manifest that lists the pieces of each split in pieces: the number of each, with its counts."""


def counts_of_files(manifest: Manifest, split: str) -> Mapping[str, Mapping[str, int]]:
    """Return the counts of a split by the beginning of the names of its files: those of the split, or of each of its pieces, in order."""
    pieces = manifest.details.get(PIECES, {}).get(split)
    if pieces is None:
        return {split: manifest.counts[split]}
    return {piece_stem(split, piece["number"]): piece for piece in pieces}


def array_files(manifest: Manifest, split: str, ending: str = IDS) -> list[str]:
    """Return the names of the files of an array of a split, in order; by default, of its token array."""
    return [array_path(Path(), stem, ending).name for stem in counts_of_files(manifest, split)]


class SplitWriter(ExitStack):
    """Writer of the arrays of one split.

    Parameters
    ----------
    has_origins
        Whether origins and text hashes are written.
    has_mask
        Whether a mask of the tokens that are trained on is written.
    """

    def __init__(self, cache: Path, split: str, dtype: npt.DTypeLike, *, has_origins: bool = True, has_mask: bool = False) -> None:
        super().__init__()
        self._ids = self.enter_context(ArrayWriter(array_path(cache, split, IDS), dtype))
        self._ends = self.enter_context(ArrayWriter(array_path(cache, split, DOCUMENTS), np.int64))
        if has_origins:
            self._origins = self.enter_context(ArrayWriter(array_path(cache, split, ORIGINS), np.int64, row=(2,)))
            self._hashes = self.enter_context(ArrayWriter(array_path(cache, split, HASHES), np.uint64))
        self._mask = self.enter_context(MaskWriter(array_path(cache, split, TRAINED))) if has_mask else None

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


def add_tokenizer(prepared: Path, cache: Path, add: Callable[[Path, Path], object]) -> None:
    """Add both forms of a tokenizer to a cache.

    Parameters
    ----------
    prepared
        Folder that holds the tokenizer under the same names as a cache.
    add
        Copies or links a file, given the file and the new path.
    """
    for path in (*sorted((prepared / SAVED).rglob("*")), prepared / PICKLED):
        if path.is_file():
            target = cache / path.relative_to(prepared)
            target.parent.mkdir(parents=True, exist_ok=True)
            add(path, target)


@dataclass(frozen=True, kw_only=True, slots=True)
class Documents:
    """The documents of a split, as arrays mapped into memory."""

    ids: npt.NDArray[Any] | JoinedArray
    """Token ids, one document after the other, 1-D."""
    ends: npt.NDArray[np.int64]
    """End of each document in `ids`, 1-D."""
    origins: npt.NDArray[np.int64]
    """Source file and row of each document, shape ``(documents, 2)``."""
    hashes: npt.NDArray[np.uint64]
    """Text hash of each document, 1-D."""


def open_documents(cache: Path, split: str) -> Documents:
    """Open the documents of a split of a cache in the store.

    Raises
    ------
    StoreError
        An array is missing or damaged, or the arrays do not fit each other.
    """
    pieces = _pieces(cache, split)
    if pieces is None:
        ids: npt.NDArray[Any] | JoinedArray = open_array(array_path(cache, split), mapped=True)
        ends, origins, hashes = (open_array(array_path(cache, split, ending), mapped=True) for ending in (DOCUMENTS, ORIGINS, HASHES))
    else:
        ids, ends = pieces.ids, pieces.ends
        origins, hashes = pieces.joined(ORIGINS, np.dtype(np.int64), (2,))[:], pieces.joined(HASHES, np.dtype(np.uint64))[:]
    if not len(ends) == len(origins) == len(hashes) or (int(ends[-1]) if len(ends) else 0) != len(ids):
        raise StoreError(f"{cache}: the documents of {split} do not fit its tokens; {REMEDY}")
    return Documents(ids=ids, ends=ends, origins=origins, hashes=hashes)


def open_ids(cache: Path, split: str) -> npt.NDArray[Any] | JoinedArray:
    """Open the token array of a split of a cache in the store, mapped into memory.

    Raises
    ------
    StoreError
        The array is missing or damaged.
    """
    pieces = _pieces(cache, split)
    return open_array(array_path(cache, split), mapped=True) if pieces is None else pieces.ids


def open_ends(cache: Path, manifest: Manifest, split: str) -> npt.NDArray[np.int64]:
    """Return the end of each document of a split in its token array, 1-D, given the folder and the manifest of the cache.

    Raises
    ------
    StoreError
        A file is missing or damaged.
    """
    if split not in manifest.details.get(PIECES, {}):
        return open_array(array_path(cache, split, DOCUMENTS), mapped=True)
    return _Pieces(cache, manifest, split).ends


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The arrays of a split in pieces."""

    cache: Path
    manifest: Manifest
    split: str

    @property
    def _counts(self) -> Mapping[str, Mapping[str, int]]:
        return counts_of_files(self.manifest, self.split)

    def paths(self, ending: str) -> list[Path]:
        """Return the paths of the pieces of an array."""
        return [array_path(self.cache, stem, ending) for stem in self._counts]

    def joined(self, ending: str, dtype: np.dtype[Any], row: tuple[int, ...] = (), count: str = "documents") -> JoinedArray:
        """Return an array, given the count that is its length."""
        return JoinedArray(self.paths(ending), [of[count] for of in self._counts.values()], dtype, row)

    @property
    def ids(self) -> JoinedArray:
        """The token array."""
        return self.joined(IDS, np.dtype(self.manifest.details["dtype"]), count="tokens")

    @property
    def ends(self) -> npt.NDArray[np.int64]:
        """End of each document in the token array."""
        tokens = [of["tokens"] for of in self._counts.values()]
        ends = self.joined(DOCUMENTS, np.dtype(np.int64))
        for number, of in enumerate(tokens):
            piece = ends.piece(number)
            if (int(piece[-1]) if len(piece) else 0) != of:
                raise StoreError(f"{ends.paths[number]}: its last document does not end at token {of:,}, the end of its piece; {REMEDY}")
        before = np.cumsum(tokens, dtype=np.int64) - tokens
        return ends[:] + np.repeat(before, [of["documents"] for of in self._counts.values()])

    @property
    def mask(self) -> SplitMask | None:
        """The mask; None if everything is trained on."""
        counts = list(self._counts.values())
        if not all("trained" in of for of in counts):
            return None
        octets = [open_array(path, mapped=True) for path in self.paths(TRAINED)]
        return SplitMask(octets, [of["tokens"] for of in counts])


def _pieces(cache: Path, split: str) -> _Pieces | None:
    """Return the pieces of a split of a cache; None if its arrays are one file each, or are not there."""
    if array_path(cache, split).exists() or not (cache / MANIFEST).is_file():
        return None
    manifest = Manifest.read(cache)
    return _Pieces(cache, manifest, split) if split in manifest.details.get(PIECES, {}) else None


def load_backend(cache: Path) -> Any:
    """Load the tokenizer of a cache as a `tokenizers.Tokenizer`.

    Raises
    ------
    StoreError
        The tokenizer is missing or damaged.
    """
    try:
        return _backend((cache / BACKEND).read_bytes())
    except MissingPackageError:
        raise
    except Exception as problem:  # tokenizers raises nothing narrower
        raise StoreError(f"{cache / BACKEND}: is missing or damaged: {problem}; {REMEDY}") from None


@lru_cache(maxsize=2)
def _backend(definition: bytes) -> Any:
    """Return the tokenizer that a ``tokenizer.json`` defines. Loading takes longer than building a small partition, and most share one."""
    with translate_missing_packages():
        import tokenizers

    return tokenizers.Tokenizer.from_str(definition.decode())


def decode(cache: Path, ids: npt.NDArray[Any]) -> str:
    """Decode token ids with the tokenizer of a cache; special tokens are kept.

    Raises
    ------
    StoreError
        The tokenizer is missing or damaged.
    """
    return str(load_backend(cache).decode(ids.tolist(), skip_special_tokens=False))


def decode_for_display(cache: Path, ids: npt.NDArray[Any]) -> str:
    """Decode ids as `decode` does; return an empty string and log a warning if the package that decodes is not installed."""
    try:
        return decode(cache, ids)
    except MissingPackageError as problem:
        _warn_once(str(problem))
        return ""


def open_mask(cache: Path, split: str) -> SplitMask | None:
    """Map the mask of a split of a cache in the store into memory; return None if everything is trained on.

    Raises
    ------
    StoreError
        The mask is damaged.
    """
    if pieces := _pieces(cache, split):
        return pieces.mask
    path = array_path(cache, split, TRAINED)
    return SplitMask([open_array(path, mapped=True)], [len(open_array(array_path(cache, split), mapped=True))]) if path.is_file() else None


@lru_cache
def _warn_once(problem: str) -> None:
    logger.warning("documents are shown without their text: %s", problem)


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
    """Vocabulary of the tokenizer; None if the cache has no manifest."""

    def divided(self, part: float) -> tuple["TokenFile", "TokenFile"]:
        """Return the tokens after the first `part` of them, a fraction below 1 or a number, and that part.

        The cut is between documents where they are known.

        Raises
        ------
        ValueError
            The part leaves nothing on one side.
        """
        total = len(self.ids)
        wanted = part * total if part < 1 else part
        said = f"validation_split: {part} of {total} tokens"
        if wanted >= total:
            raise ValueError(f"{said} leave nothing to train on")
        cut = round(wanted)
        if self.ends is not None:
            if len(self.ends) < 2:
                raise ValueError(f"{said} cannot be divided: they are one document, and documents are not cut; give a validation_file")
            cut = _nearest(self.ends[:-1], cut)
        if cut == 0:
            raise ValueError(f"{said} are none; there would be nothing to validate on")
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
    """Return whether a split can be opened by the path of its ``.npy`` file, which an array in pieces does not have."""
    return path.exists() or _pieces(path.parent, path.stem) is not None


def open_tokens(path: Path) -> TokenFile:
    """Open a split by its ``.npy`` file.

    Raises
    ------
    StoreError
        The file is not an array of token ids, or not the one that the folder's manifest describes; or an array beside it does not fit it.
    """
    path = real_path(path.parent) / path.name  # one version of it all, whatever is published meanwhile
    if pieces := _pieces(path.parent, path.stem):
        return _open_pieces(pieces)
    rows, manifest = _rows(path), _manifest_beside(path)
    ids, vocabulary = rows[0], None
    if manifest is not None:
        _require(manifest, path)
        dtype, vocabulary = _dtype_and_vocabulary(manifest, path.parent)
        if ids.dtype != dtype:
            raise StoreError(f"{path}: holds {ids.dtype}, and its manifest says {dtype}: it is of another cache; make it again")
    labels, ends = (_beside(path, manifest, ending) for ending in (LABELS, DOCUMENTS))
    if len(rows) > 1:
        if labels is not None:
            raise StoreError(f"{path}: its second row is its labels, and {path.stem}_labels.npy beside it holds others; remove one")
        labels = rows[1]
    if labels is not None and len(labels) != len(ids):
        raise StoreError(
            f"{path}: has {len(ids)} tokens, and {path.stem}_labels.npy beside it has {len(labels)}; there is a label for each"
        )
    mask = _beside(path, manifest, TRAINED)
    if mask is None and manifest is not None and "trained" in manifest.counts.get(path.stem, {}):
        raise StoreError(f"{path.with_suffix(TRAINED)}: is missing, and tells which tokens to train on; build the cache again")
    if mask is not None:
        if labels is not None or mask.dtype != np.uint8 or len(mask) != mask_bytes(len(ids)):
            raise StoreError(
                f"{path.with_suffix(TRAINED)}: is not a mask of {path.name}, or there are labels beside it; build the cache again"
            )
        labels = with_ignored(ids, mask)
    if ends is not None and (int(ends[-1]) if len(ends) else 0) != len(ids):
        raise StoreError(f"{path}: has {len(ids)} tokens, and {path.stem}.documents.npy describes another array; build the cache again")
    return TokenFile(ids=ids, labels=labels, ends=ends, vocabulary=vocabulary)


def _open_pieces(pieces: _Pieces) -> TokenFile:
    """Open a split in pieces."""
    for ending in (IDS, DOCUMENTS, TRAINED):
        for path in pieces.paths(ending):
            if ending != TRAINED or path.name in pieces.manifest.files:
                _require(pieces.manifest, path)
    vocabulary, labels, mask = _dtype_and_vocabulary(pieces.manifest, pieces.cache)[1], None, pieces.mask
    if mask is not None:
        ids = pieces.ids
        labels = np.concatenate([with_ignored(ids.piece(number), octets) for number, octets in enumerate(mask.octets)])
    return TokenFile(ids=pieces.ids, labels=labels, ends=pieces.ends, vocabulary=vocabulary)


def carries_tokenizer(folder: Path) -> bool:
    """Return whether a cache has a tokenizer, of either form."""
    return (folder / SAVED).is_dir() or (folder / PICKLED).is_file() or (folder / "tokenizer_config.json").is_file()


def load_tokenizer(folder: Path, *, allow_pickle: bool) -> Any:
    """Load the tokenizer that a cache carries.

    Parameters
    ----------
    folder
        The cache folder, a folder written by ``save_pretrained``, or a pickle.
    allow_pickle
        Whether a pickle may be loaded if there is nothing else.

    Raises
    ------
    StoreError
        The tokenizer is missing, is not the one that the cache's manifest describes, or it cannot be loaded; or there is only a pickle,
        and `allow_pickle` is false: loading a pickle runs whatever it holds.
    """
    saved, pickled = (folder / SAVED, folder / PICKLED) if folder.is_dir() else (folder.with_name(SAVED), folder)
    if not saved.is_dir() and (folder / "tokenizer_config.json").is_file():
        saved = folder
    found = saved if saved.is_dir() else pickled
    if not found.exists():
        raise StoreError(f"{folder}: has no tokenizer, neither a folder {SAVED}/ nor a {PICKLED}")
    if found is pickled and not allow_pickle:
        raise StoreError(
            f"{pickled}: is a pickle, and loading it runs whatever it holds; if you trust who wrote it, say allow_pickle=True, "
            f"or put a folder {SAVED}/ of save_pretrained beside it"
        )
    if (manifest := _manifest_beside(found)) is not None:
        _require(manifest, found)
    try:
        if found is pickled:
            return pickle.loads(pickled.read_bytes())
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(saved, local_files_only=True, trust_remote_code=False)
    except Exception as problem:  # whatever a pickle does, and whatever transformers makes of a damaged file
        raise StoreError(f"{found}: no tokenizer can be loaded from it: {problem!r}") from problem


def _manifest_beside(file: Path) -> Manifest | None:
    if not file.with_name(MANIFEST).is_file():
        return None
    try:
        return Manifest.read(file.parent)
    except StoreError as problem:
        raise StoreError(f"{problem}; build the cache again, or move the foreign files away") from None


def _dtype_and_vocabulary(manifest: Manifest, cache: Path) -> tuple[np.dtype[Any], Vocabulary]:
    try:
        of = manifest.details["tokenizer"]
        backend = manifest.files.get(BACKEND)
        return np.dtype(manifest.details["dtype"]), Vocabulary(
            size=of["vocab_size"],
            max_id=of["max_id"],
            eos_token_id=of["eos_token_id"],
            file=cache / BACKEND,
            checksum=backend.xxh3_128 if backend else None,
        )
    except (TypeError, KeyError) as problem:
        raise StoreError(f"{cache / MANIFEST}: is not the manifest of a cache: {problem!r}; build the cache again") from None


def _require(manifest: Manifest, path: Path) -> None:
    """Raise `StoreError` if a file, or a file in a folder, differs from the manifest. Checksums of arrays are not compared."""
    names = [name for name in manifest.files if name == path.name or name.startswith(f"{path.name}/")]
    if not names:
        raise StoreError(f"{path}: the cache's manifest does not name it: the cache is unfinished, or the file is foreign")
    for name in names:
        file, written = path.parent / name, manifest.files[name]
        if not file.is_file():
            raise StoreError(f"{file}: is missing, and the manifest beside it names it; build the cache again")
        if (size := file.stat().st_size) != written.bytes:
            raise StoreError(f"{file}: has {size} bytes, and its manifest says {written.bytes}: it was changed; build the cache again")
        if file.suffix != IDS and file_digest(file) != written.xxh3_128:
            raise StoreError(f"{file}: is not what its manifest describes (checksum differs): it was changed; build the cache again")


def _beside(path: Path, manifest: Manifest | None, ending: str) -> npt.NDArray[Any] | None:
    beside = path.with_name(path.stem + ending)
    if manifest is not None and beside.name in manifest.files:
        _require(manifest, beside)
    return _array(beside) if beside.is_file() else None


def _array(path: Path) -> npt.NDArray[Any]:
    rows = _rows(path)
    if len(rows) > 1:
        raise StoreError(f"{path}: has {len(rows)} rows; it holds one")
    return rows[0]


def _rows(path: Path) -> list[npt.NDArray[Any]]:
    """Open the token ids of a file, and the labels of the same tokens if they are its second row."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as problem:
        raise StoreError(f"{path}: is not an .npy array that can be mapped: {problem}") from None
    if not isinstance(array, np.ndarray) or array.ndim not in (1, 2) or array.dtype.kind not in "iu":
        found = f"an array of {array.dtype} with shape {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise StoreError(f"{path}: is {found}; token ids are integers in 1-D, or the first of two rows of which the second is their labels")
    if array.ndim == 1:
        return [array]
    if len(array) not in (1, 2):
        raise StoreError(f"{path}: has shape {array.shape}; a cache has one row of token ids, and a second one of labels if there are any")
    return list(array)


def _nearest(ends: npt.NDArray[np.int64], cut: int) -> int:
    after = int(np.searchsorted(ends, cut))
    return min((int(end) for end in ends[max(after - 1, 0) : after + 1]), key=lambda end: abs(end - cut))
