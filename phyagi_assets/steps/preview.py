"""Preview of a cache: its first tokens as text."""

from pathlib import Path

import numpy as np
import tokenizers

from phyagi_assets.declare.schema import SPLITS
from phyagi_assets.errors import StoreError
from phyagi_assets.formats.npy import open_array
from phyagi_assets.tokenizers.prepare import SAVED


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
    file = cache / SAVED / "tokenizer.json"
    if not file.is_file():
        raise StoreError(f"{file}: is missing; a cache carries the tokenizer that made it")
    try:
        return str(tokenizers.Tokenizer.from_file(str(file)).decode(ids.tolist(), skip_special_tokens=False))
    except Exception as problem:  # tokenizers raises nothing narrower
        raise StoreError(
            f"{file}: is damaged: {problem}; phyagi-assets check --discard removes the cache, and materialize builds it"
        ) from None


def preview(cache: Path, *, tokens: int) -> str:
    """Decode the first `tokens` tokens of a cache's first split.

    Raises
    ------
    StoreError
        The cache has no token array, or its tokenizer is missing or damaged.
    """
    for split in SPLITS:
        path = cache / f"{split}.npy"
        if path.is_file():
            return decode(cache, open_array(path, mapped=True)[:tokens])
    raise StoreError(f"{cache}: holds none of {', '.join(f'{split}.npy' for split in SPLITS)}")
