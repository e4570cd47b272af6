"""The token id that pads samples, from the files of a tokenizer."""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.vocabulary import token_ids


def padding_id(folder: Path, dtype: str) -> int:
    """Return the id that pads incomplete samples.

    The id is that of the tokenizer's pad token, or of its EOS, or 0. Any id is harmless, because padding is never a label and comes after
    all tokens that are.

    Parameters
    ----------
    folder
        Folder written by ``save_pretrained``.
    dtype
        dtype of the token arrays, which the id has to fit.

    Raises
    ------
    StoreError
        The files of the tokenizer cannot be read.
    """
    try:
        ids = _special_ids(*((folder / name).read_bytes() for name in ("tokenizer_config.json", "tokenizer.json")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as problem:
        raise StoreError(f"{folder}: the tokenizer cannot be read: {problem}") from None
    return next((id_ for id_ in ids if id_ <= np.iinfo(dtype).max), 0)


@lru_cache(maxsize=2)  # parsing a vocabulary takes long
def _special_ids(config: bytes, vocabulary: bytes) -> Sequence[int]:
    """Return the ids of the pad token and the EOS, without those that the tokenizer does not have, given the content of its files."""
    settings, ids = json.loads(config), token_ids(json.loads(vocabulary))
    special = map(_content, (settings.get("pad_token"), settings.get("eos_token")))
    return [ids[token] for token in special if token in ids]


def _content(token: Any) -> str | None:
    """Return the text of a special token, which may be written as an object."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None
