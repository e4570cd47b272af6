"""Write a cache folder from columns of text, as `phyagi_assets.datasets` does for datasets of the Hub.

The text is encoded as in the tokenized_arrow step, with the same engines, but written to token arrays directly.
"""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from phyagi_assets.errors import SourceError, TokenizerError
from phyagi_assets.formats.cache_folder import DOCUMENTS, IDS, SplitWriter, array_path, write_config
from phyagi_assets.formats.cache_tokenizer import add_tokenizer
from phyagi_assets.formats.npy import open_array
from phyagi_assets.formats.standalone_cache import replace_cache
from phyagi_assets.formatting import counted
from phyagi_assets.steps.encoding import encode_in_order
from phyagi_assets.steps.eos import BY_TOKENIZER, EOS_BY, eos_to_append, with_eos
from phyagi_assets.store.base import Store
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.tokenizers.engine_pool import EnginePool, Engines
from phyagi_assets.tokenizers.exact import EngineMismatch, ExactTokenizer
from phyagi_assets.tokenizers.prepared import PreparedTokenizer

STEP = "text_cache"
CODE_VERSION = "1"

logger = logging.getLogger(__name__)

Texts = Callable[[], Iterator[pa.Array]]
"""Returns an iterator over the text of a split, as string columns without nulls; called again if the split has to be read again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextCache:
    """Specification of a cache to write.

    Parameters
    ----------
    validation_part
        Part of the training tokens to move to a new validation split: a fraction below 1, or a number of tokens. Whole documents are
        taken from the end of the training split.
    source
        Description of the origin of the text; part of the fingerprint.
    """

    splits: Mapping[str, Texts]
    tokenizer: PreparedTokenizer
    append_eos: bool
    validation_part: float | None = None
    source: Mapping[str, Any]


def write_text_cache(folder: Path, cache: TextCache, store: Store, on_documents: Callable[[str, int], None]) -> Manifest:
    """Tokenize text into a cache folder. A cache that is already there is replaced once the new one is complete.

    Parameters
    ----------
    on_documents
        Called with the name of the split and the number of documents encoded since the last call; the number is 0 when a split begins.

    Raises
    ------
    TokenizerError
        The documents are to end with the EOS, and the tokenizer has none.
    SourceError
        No document of a split has text, or the validation part leaves nothing to train on.
    """
    prepared = cache.tokenizer
    if cache.append_eos and prepared.eos_token_id is None:
        raise TokenizerError(
            f"tokenizer {prepared.name!r} has no EOS token to append to each document; set its eos_token, or pass use_eos_token=False"
        )
    engines = EnginePool().engines(prepared, store)
    settings: dict[str, Any] = {"append_eos": cache.append_eos, "validation_part": cache.validation_part}
    if cache.append_eos and prepared.ends_with_eos:
        settings[EOS_BY] = BY_TOKENIZER
    inputs = {"tokenizer": prepared.artifact.fingerprint, "source": cache.source}
    wanted = Manifest.expected(STEP, code_version=CODE_VERSION, inputs=inputs, settings=settings)

    def fill(draft: Path) -> Manifest:
        counts = {split: _write_split(draft, split, texts, cache, engines, on_documents) for split, texts in cache.splits.items()}
        if cache.validation_part is not None:
            _divide(draft, cache, counts)
        add_tokenizer(prepared.artifact.folder(), draft, shutil.copyfile)
        details = {"dtype": cache.tokenizer.dtype().name, "tokenizer": prepared.details()}
        write_config(draft, {**details, "append_eos": cache.append_eos})
        return replace(wanted, counts=counts, details=details, produced_with={"numpy": np.__version__, "pyarrow": pa.__version__})

    return replace_cache(folder, wanted, fill)


def _write_split(
    draft: Path, split: str, texts: Texts, cache: TextCache, engines: Engines, on_documents: Callable[[str, int], None]
) -> dict[str, int]:
    try:
        return _encode_split(draft, split, texts, cache, ExactTokenizer(engines), on_documents)
    except EngineMismatch as mismatch:
        exact = ExactTokenizer(engines.without_fast())
        logger.warning("%s: %s; all of the split is encoded again by %s", split, mismatch, exact.engine)
        return _encode_split(draft, split, texts, cache, exact, lambda _split, _documents: None)


def _encode_split(
    draft: Path, split: str, texts: Texts, cache: TextCache, exact: ExactTokenizer, on_documents: Callable[[str, int], None]
) -> dict[str, int]:
    eos = eos_to_append(cache.tokenizer, append_eos=cache.append_eos)

    def encode(place: int, column: pa.Array) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        nonempty = pc.binary_length(column).to_numpy() > 0
        return with_eos(exact.encode(column, place), nonempty, eos, cache.tokenizer.dtype())

    on_documents(split, 0)
    documents = 0
    with (
        SplitWriter(draft, split, cache.tokenizer.dtype(), has_origins=False) as writer,
        closing(encode_in_order(texts(), encode, size=lambda column: column.nbytes)) as batches,
    ):
        for ids, ends in batches:
            lengths = np.diff(ends, prepend=0)
            writer.append(ids, lengths[lengths > 0])
            documents += len(ends)
            on_documents(split, len(ends))
    if not writer.counts["documents"]:
        raise SourceError(f"split {split!r} has {counted(documents, 'document')}, none with any text; leave it out, or name another column")
    return writer.counts


def _divide(draft: Path, cache: TextCache, counts: dict[str, dict[str, int]]) -> None:
    """Move the last documents of the training split to a validation split, and update `counts`."""
    whole = [array_path(draft, "train", ending) for ending in (IDS, DOCUMENTS)]
    ids, ends = (open_array(path, mapped=True) for path in whole)
    for path in whole:
        path.unlink()  # the maps stay, and the new arrays are new files
    lengths = np.diff(ends, prepend=0)
    cut = document_cut(ends, cache.validation_part or 0)
    for split, documents, tokens in (
        ("validation", slice(cut, None), slice(int(ends[cut - 1]), None)),
        ("train", slice(cut), slice(int(ends[cut - 1]))),
    ):
        with SplitWriter(draft, split, cache.tokenizer.dtype(), has_origins=False) as writer:
            writer.append(ids[tokens], lengths[documents])
        counts[split] = writer.counts


def document_cut(ends: npt.NDArray[np.int64], part: float) -> int:
    """Return the number of documents that come before the last `part` of the tokens.

    The cut is at the end of a document, as near as possible to the requested number of tokens, and leaves tokens on both sides.

    Parameters
    ----------
    ends
        End of each document in the token array, 1-D; documents may be empty.
    part
        Part of the tokens that comes after the cut: a fraction below 1, or a number of tokens.

    Raises
    ------
    SourceError
        The part is all of the tokens or more, or fewer than two documents have tokens.
    """
    total = int(ends[-1]) if len(ends) else 0
    wanted = part * total if part < 1 else part
    inside = np.flatnonzero((ends > 0) & (ends < total))
    if wanted >= total or not len(inside):
        raise SourceError(
            f"validation_split: {part} of {counted(total, 'token')} in {counted(len(ends), 'document')} leave nothing to train on"
        )
    return int(inside[np.abs(ends[inside] - (total - wanted)).argmin()]) + 1
