"""Write and load the tokenizer of a cache folder, and decode ids with it."""

import logging
import pickle
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy.typing as npt

from phyagi_assets.errors import MissingPackageError, StoreError, translate_missing_packages
from phyagi_assets.formats.cache_folder import manifest_beside, require_as_written
from phyagi_assets.formats.npy import REMEDY

logger = logging.getLogger(__name__)

SAVED = "tokenizer"
PICKLED = "tokenizer.pkl"
BACKEND = f"{SAVED}/tokenizer.json"
"""The tokenizer as a JSON file of the ``tokenizers`` library."""


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


def load_backend(cache: Path) -> Any:
    """Load the tokenizer of a cache as a `tokenizers.Tokenizer`.

    Raises
    ------
    StoreError
        The tokenizer is missing or damaged.
    """
    try:
        return shared_backend((cache / BACKEND).read_bytes())
    except MissingPackageError:
        raise
    except Exception as problem:  # tokenizers raises nothing narrower
        raise StoreError(f"{cache / BACKEND}: is missing or damaged: {problem}; {REMEDY}") from None


@lru_cache(maxsize=2)
def shared_backend(definition: bytes) -> Any:
    """Return the tokenizer that a ``tokenizer.json`` defines; it must not be changed.

    Loading takes longer than building a small partition, and most share one.
    """
    with translate_missing_packages():
        import tokenizers

    return tokenizers.Tokenizer.from_str(definition.decode())


def decode(cache: Path, ids: npt.NDArray[Any]) -> str:
    """Decode token ids with the tokenizer of a cache; special tokens are kept."""
    return str(load_backend(cache).decode(ids.tolist(), skip_special_tokens=False))


def decode_for_display(cache: Path, ids: npt.NDArray[Any]) -> str:
    """Decode ids as `decode` does; return an empty string and log a warning if the package that decodes is not installed."""
    try:
        return decode(cache, ids)
    except MissingPackageError as problem:
        _warn_once(str(problem))
        return ""


@lru_cache
def _warn_once(problem: str) -> None:
    logger.warning("documents are shown without their text: %s", problem)


def carries_tokenizer(folder: Path) -> bool:
    """Return whether a cache has a tokenizer in either form."""
    return (folder / SAVED).is_dir() or (folder / PICKLED).is_file() or (folder / "tokenizer_config.json").is_file()


def load_tokenizer(folder: Path, *, allow_pickle: bool) -> Any:
    """Load the tokenizer of a cache.

    Parameters
    ----------
    folder
        The cache folder, a folder written by ``save_pretrained``, or a pickle.
    allow_pickle
        Whether a pickle may be loaded if there is no other form. Loading a pickle can run arbitrary code.

    Raises
    ------
    StoreError
        The tokenizer is missing, differs from the cache's manifest, or cannot be loaded; or there is only a pickle, and `allow_pickle` is
        false.
    """
    saved, pickled = (folder / SAVED, folder / PICKLED) if folder.is_dir() else (folder.with_name(SAVED), folder)
    if not saved.is_dir() and (folder / "tokenizer_config.json").is_file():
        saved = folder
    found = saved if saved.is_dir() else pickled
    if not found.exists():
        raise StoreError(f"{folder}: has no tokenizer, neither a folder {SAVED}/ nor a {PICKLED}")
    if found is pickled and not allow_pickle:
        raise StoreError(
            f"{pickled}: is a pickle, and loading it can run arbitrary code; if you trust its author, pass allow_pickle=True, "
            f"or write the tokenizer into {SAVED}/ beside it with save_pretrained"
        )
    if (manifest := manifest_beside(found)) is not None:
        require_as_written(manifest, found)
    try:
        if found is pickled:
            return pickle.loads(pickled.read_bytes())
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(saved, local_files_only=True, trust_remote_code=False)
    except Exception as problem:  # a pickle, or transformers on a damaged file, can raise anything
        raise StoreError(f"{found}: cannot be loaded as a tokenizer: {problem!r}") from problem
