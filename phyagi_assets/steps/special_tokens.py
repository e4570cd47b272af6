"""Refusal of text that spells a special token."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow.compute as pc

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.sources.documents import Documents


def refuse_special_tokens(documents: Documents, tokens: Sequence[str], names: Mapping[int, str], corpus: Corpus) -> Documents:
    """Return the batch unchanged, or raise an error if the text of a document contains a special token.

    Parameters
    ----------
    names
        Names of the files, by their index in the partition, to which the batch refers.
    """
    if tokens:
        found = pc.match_substring_regex(documents.texts, "|".join(map(re.escape, tokens))).to_numpy(zero_copy_only=False)
        for place in np.flatnonzero(found)[:1].tolist():
            text = documents.texts[place].as_py()
            token = next(token for token in tokens if token in text)
            where = f"{names[documents.files[place]]} row {documents.rows[place] + 1:,}"
            remedy = "" if corpus.config.messages else "set special_tokens: text to read it as text, or "
            raise SourceError(
                f"{corpus.path}: {where}: the text spells the special token {token!r}, which special_tokens: error refuses; "
                f"{remedy}remove it from the source"
            )
    return documents
