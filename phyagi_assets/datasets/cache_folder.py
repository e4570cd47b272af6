"""Opening a cache folder: the arrays of its splits, checked against what the folder says of itself.

Read are caches that the pipeline wrote, those of `LMDatasetProvider.from_hub`, and those of the reference library, whose arrays may be
one row of a 2-D array and which have no manifest.
"""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import StoreError

SAVED = "tokenizer"
PICKLED = "tokenizer.pkl"


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenFile:
    """One split's array and what lies beside it."""

    ids: npt.NDArray[Any]
    """1-D, memory-mapped."""
    labels: npt.NDArray[Any] | None
    """As long, where ``<split>_labels.npy`` is there."""
    ends: npt.NDArray[np.int64] | None
    """Where each document ends, where ``<split>.documents.npy`` tells."""
    tokenizer: Mapping[str, Any] | None
    """What the manifest tells of the tokenizer: ``name``, ``vocab_size``, ``max_id``, ``eos_token_id``."""

    def divided(self, part: float) -> tuple["TokenFile", "TokenFile"]:
        """All but the last `part` of the tokens, and that: a fraction below 1 or a number; cut between documents where they are known.

        Raises
        ------
        ValueError
            The part leaves nothing.
        """
        total = len(self.ids)
        wanted = part * total if part < 1 else part
        if wanted >= total:
            raise ValueError(f"validation_split: {part} of {total} tokens leave nothing to train on")
        cut = total - round(wanted)
        if self.ends is not None and len(self.ends) > 1:
            cut = int(self.ends[:-1][np.abs(self.ends[:-1] - cut).argmin()])
        return self._part(0, cut), self._part(cut, total)

    def _part(self, start: int, end: int) -> "TokenFile":
        labels = self.labels[start:end] if self.labels is not None else None
        ends = self.ends[(self.ends > start) & (self.ends <= end)] - start if self.ends is not None else None
        return replace(self, ids=self.ids[start:end], labels=labels, ends=ends)


def open_tokens(path: Path) -> TokenFile:
    """Open a split by its ``.npy`` file.

    Raises
    ------
    StoreError
        It is no array of token ids, or not the one that the folder's manifest describes.
    """
    ids = _array(path)
    labels = path.with_name(f"{path.stem}_labels.npy")
    ends = path.with_name(f"{path.stem}.documents.npy")
    manifest = _manifest(path.parent)
    if manifest:
        _check(path, ids.dtype, manifest)
    return TokenFile(
        ids=ids,
        labels=_array(labels) if labels.is_file() else None,
        ends=np.load(ends) if ends.is_file() else None,
        tokenizer=manifest["details"]["tokenizer"] if manifest else None,
    )


def _check(path: Path, dtype: np.dtype[Any], manifest: Mapping[str, Any]) -> None:
    described = manifest["files"].get(path.name)
    if described is None:
        raise StoreError(f"{path}: the manifest beside it knows of no such file: the cache is unfinished, or the file is foreign to it")
    size, wanted = path.stat().st_size, manifest["details"]["dtype"]
    if size != described["bytes"] or dtype != np.dtype(wanted):
        raise StoreError(
            f"{path}: has {size} bytes of {dtype}, and its manifest says {described['bytes']} of {wanted}: the file was changed, or is of "
            "another cache; make the cache again"
        )


def load_tokenizer(folder: Path, *, allow_pickle: bool) -> Any:
    """Load the tokenizer that a cache carries.

    Raises
    ------
    StoreError
        There is none; or there is only a pickle, which can run anything when it is loaded, and it was not asked for.
    """
    saved, pickled = (folder / SAVED, folder / PICKLED) if folder.is_dir() else (folder, folder)
    if not saved.is_dir() and (folder / "tokenizer_config.json").is_file():
        saved = folder
    if saved.is_dir():
        from transformers import AutoTokenizer

        _check_tokenizer(saved)
        return AutoTokenizer.from_pretrained(saved, local_files_only=True)
    if not pickled.is_file():
        raise StoreError(f"{folder}: has no tokenizer, neither a folder tokenizer/ nor a tokenizer.pkl")
    if not allow_pickle:
        raise StoreError(
            f"{pickled}: is a pickle, and loading it runs whatever it holds; if you trust who wrote it, say allow_pickle=True, "
            "or put a folder tokenizer/ of save_pretrained beside it"
        )
    return pickle.loads(pickled.read_bytes())


def _check_tokenizer(saved: Path) -> None:
    for name, described in _manifest(saved.parent).get("files", {}).items():
        path = saved.parent / name
        if path.parent == saved and (not path.is_file() or path.stat().st_size != described["bytes"]):
            raise StoreError(f"{path}: is not the file that the cache's manifest describes; its tokens may be of another tokenizer")


def _array(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as problem:
        raise StoreError(f"{path}: is no .npy array that can be mapped: {problem}") from None
    if array.ndim not in (1, 2) or array.dtype.kind not in "iu":
        raise StoreError(f"{path}: is an array of {array.dtype} with shape {array.shape}; token ids are integers in 1-D, or rows of them")
    return array.reshape(-1)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        return {"files": dict(manifest["files"]), "details": dict(manifest["details"])}
    except (ValueError, TypeError, KeyError) as problem:
        raise StoreError(f"{path}: is no manifest: {problem!r}") from None
