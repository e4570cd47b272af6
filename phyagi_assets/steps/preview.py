"""Preview of a cache: its first tokens as text."""

from pathlib import Path

import numpy as np

from phyagi_assets.declare.schema import SPLITS
from phyagi_assets.errors import StoreError
from phyagi_assets.formats.cache_folder import array_path, load_backend
from phyagi_assets.formats.npy import open_array


def decode(cache: Path, ids: np.ndarray) -> str:
    """Decode ids with the tokenizer in the cache folder; special tokens are kept.

    Parameters
    ----------
    cache
        The cache folder.
    ids
        Token ids, 1-D.

    Raises
    ------
    StoreError
        The tokenizer of the cache is missing or damaged.
    """
    return str(load_backend(cache).decode(ids.tolist(), skip_special_tokens=False))


def preview(cache: Path, *, tokens: int) -> str:
    """Decode the first `tokens` tokens of a cache's first split.

    Raises
    ------
    StoreError
        The cache has no token array, or its tokenizer is missing or damaged.
    """
    for split in SPLITS:
        path = array_path(cache, split)
        if path.is_file():
            return decode(cache, open_array(path, mapped=True)[:tokens])
    raise StoreError(f"{cache}: holds none of {', '.join(array_path(cache, split).name for split in SPLITS)}")
