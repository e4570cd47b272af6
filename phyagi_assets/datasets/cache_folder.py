"""Open a cache folder: the arrays of its splits, checked against its manifest.

Reads caches written by the pipeline, by `LMDatasetProvider.from_hub`, and by the reference library, whose arrays are the rows of a 2-D
array (the ids, then their labels if there are any) and which have no manifest.
"""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from phyagi_assets.datasets.vocabulary import Vocabulary
from phyagi_assets.errors import StoreError
from phyagi_assets.paths import real_path

MANIFEST = "manifest.json"
SAVED = "tokenizer"
PICKLED = "tokenizer.pkl"


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenFile:
    """The token array of a split, and the arrays beside it."""

    ids: npt.NDArray[Any]
    """1-D, memory-mapped."""
    labels: npt.NDArray[Any] | None
    """1-D, as long as `ids`; None if the cache has no labels."""
    ends: npt.NDArray[np.int64] | None
    """End of each document, from ``<split>.documents.npy``; None without that file."""
    vocabulary: Vocabulary | None
    """The tokenizer's tokens, from the manifest; None without a manifest."""

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


def open_tokens(path: Path) -> TokenFile:
    """Open a split by its ``.npy`` file.

    Raises
    ------
    StoreError
        The file is not an array of token ids, or not the one that the folder's manifest describes; or an array beside it does not fit it.
    """
    path = real_path(path.parent) / path.name  # one version of it all, whatever is published meanwhile
    rows, manifest = _rows(path), _Manifest.beside(path)
    ids = rows[0]
    if manifest is not None:
        manifest.require(path)
        if ids.dtype != manifest.dtype:
            raise StoreError(f"{path}: holds {ids.dtype}, and its manifest says {manifest.dtype}: it is of another cache; make it again")
    labels, ends = (_beside(path, manifest, ending) for ending in ("_labels.npy", ".documents.npy"))
    if len(rows) > 1:
        if labels is not None:
            raise StoreError(f"{path}: its second row is its labels, and {path.stem}_labels.npy beside it holds others; remove one")
        labels = rows[1]
    if labels is not None and len(labels) != len(ids):
        raise StoreError(
            f"{path}: has {len(ids)} tokens, and {path.stem}_labels.npy beside it has {len(labels)}; there is a label for each"
        )
    if ends is not None and (int(ends[-1]) if len(ends) else 0) != len(ids):
        raise StoreError(
            f"{path}: has {len(ids)} tokens, and {path.stem}.documents.npy beside it is of another array; make the cache again"
        )
    return TokenFile(ids=ids, labels=labels, ends=ends, vocabulary=manifest.vocabulary if manifest is not None else None)


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
        There is no tokenizer, it is not the one that the cache's manifest describes, or it cannot be loaded; or there is only a pickle,
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
    manifest = _Manifest.beside(found)
    if manifest is not None:
        manifest.require(found)
    try:
        if found is pickled:
            return pickle.loads(pickled.read_bytes())
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(saved, local_files_only=True, trust_remote_code=False)
    except Exception as problem:  # whatever a pickle does, and whatever transformers makes of a damaged file
        raise StoreError(f"{found}: no tokenizer can be loaded from it: {problem!r}") from problem


@dataclass(frozen=True, kw_only=True, slots=True)
class _Manifest:
    """What a cache's ``manifest.json`` says of the files beside it."""

    files: Mapping[str, Mapping[str, Any]]
    """``bytes`` and ``xxh3_128`` of each, by its path; there are none while the cache is being written."""
    dtype: np.dtype[Any] | None
    vocabulary: Vocabulary | None

    @classmethod
    def beside(cls, file: Path) -> Self | None:
        path = file.parent / MANIFEST
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            files = {name: {key: of[key] for key in ("bytes", "xxh3_128")} for name, of in record["files"].items()}
            if not files:
                return cls(files={}, dtype=None, vocabulary=None)
            told = record["details"]["tokenizer"]
            vocabulary = Vocabulary(
                size=told["vocab_size"],
                max_id=told["max_id"],
                eos_token_id=told["eos_token_id"],
                file=file.parent / SAVED / "tokenizer.json",
                checksum=files.get(f"{SAVED}/tokenizer.json", {}).get("xxh3_128"),
            )
            return cls(files=files, dtype=np.dtype(record["details"]["dtype"]), vocabulary=vocabulary)
        except (ValueError, TypeError, KeyError, AttributeError) as problem:
            raise StoreError(
                f"{path}: is no manifest of a cache: {problem!r}; make the cache again, or move what is foreign away"
            ) from None

    def require(self, path: Path) -> None:
        """Refuse a file, or a folder of them, that is not what was written; a tokenizer's are read for that, arrays are too large."""
        names = [name for name in self.files if name == path.name or name.startswith(f"{path.name}/")]
        if not names:
            raise StoreError(f"{path}: the manifest beside it knows nothing of it: the cache is unfinished, or this is foreign to it")
        for name in names:
            file, written = path.parent / name, self.files[name]
            if not file.is_file():
                raise StoreError(f"{file}: is missing, and the manifest beside it names it; make the cache again")
            if (size := file.stat().st_size) != written["bytes"]:
                raise StoreError(
                    f"{file}: has {size} bytes, and its manifest says {written['bytes']}: it was changed; make the cache again"
                )
            if file.suffix != ".npy" and _digest(file) != written["xxh3_128"]:
                raise StoreError(f"{file}: is not what its manifest describes (checksum differs): it was changed; make the cache again")


def _beside(path: Path, manifest: _Manifest | None, ending: str) -> npt.NDArray[Any] | None:
    beside = path.with_name(path.stem + ending)
    if manifest is not None and beside.name in manifest.files:
        manifest.require(beside)
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
        raise StoreError(f"{path}: is no .npy array that can be mapped: {problem}") from None
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


def _digest(file: Path) -> str:
    import xxhash

    return xxhash.xxh3_128(file.read_bytes()).hexdigest()
