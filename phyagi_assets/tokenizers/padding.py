"""The token id that pads samples, from the files of a tokenizer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from phyagi_assets.errors import StoreError


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
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as problem:  # `tokenizers` raises plain Exception
        raise StoreError(f"{folder}: the tokenizer cannot be read: {problem}") from None
    for token in map(_content, (settings.get("pad_token"), settings.get("eos_token"))):
        id_ = tokenizer.token_to_id(token) if token is not None else None
        if id_ is not None and id_ <= np.iinfo(dtype).max:
            return int(id_)
    return 0


def _content(token: Any) -> str | None:
    """Return the text of a special token, which may be written as an object."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None
