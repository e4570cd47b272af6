"""The dtype of token arrays."""

from typing import Any

import numpy as np

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.tokenizers.prepared import PreparedTokenizer


def token_dtype(corpus: Corpus, prepared: PreparedTokenizer) -> np.dtype[Any]:
    """Return the dtype of a corpus's token arrays: the declared one, or else the smallest that holds every id."""
    return fitting_dtype(prepared) if corpus.config.dtype == "auto" else np.dtype(corpus.config.dtype)


def fitting_dtype(prepared: PreparedTokenizer) -> np.dtype[Any]:
    """Return uint16 if every id of a tokenizer fits, otherwise int32."""
    return np.dtype(np.uint16 if prepared.max_id <= 0xFFFF else np.int32)
