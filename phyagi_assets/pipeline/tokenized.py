"""tokenized_arrow: the ids of every document, a row each, as a folder that ``datasets.load_from_disk`` opens.

Reading, encoding and writing run in threads of their own, a few batches apart. The columns: ``input_ids`` (with the EOS), ``length``,
and where the document comes from: ``hash`` of its text, index of its ``file`` in the partition, ``row`` in that file.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from phyagi_assets.declarations import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.fingerprint import fingerprint
from phyagi_assets.pipeline.manifest import Manifest
from phyagi_assets.pipeline.prefetch import prefetch
from phyagi_assets.pipeline.raw import raw_address, wanted_raw
from phyagi_assets.pipeline.sources.documents import Documents, read_documents
from phyagi_assets.pipeline.sources.listing import Partition
from phyagi_assets.pipeline.step import Built, OnProgress, Workspace, require, reuse_or_build
from phyagi_assets.pipeline.tokenizers.engines import Encoded
from phyagi_assets.pipeline.tokenizers.exact import EngineMismatch, ExactTokenizer
from phyagi_assets.pipeline.tokenizers.prepare import PreparedTokenizer, prepare_tokenizer, tokenizer_identity

STAGE = "tokenized_arrow"
CODE_VERSION = "1"
DATA_FILE = "data-00000-of-00001.arrow"

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Tally:
    """What has gone by, counted where it is written."""

    documents: int = 0
    empty: int = 0
    invalid: int = 0
    tokens: int = 0
    text_bytes: int = 0


def tokenized_address(corpus: Corpus, partition: str) -> str:
    return f"{corpus.config.name}/{STAGE}/{partition}"


def wanted_tokenized(corpus: Corpus, workspace: Workspace, raw_fingerprint: str) -> Manifest:
    """What a partition's tokenized artifact has to be, given its raw one."""
    config = corpus.config
    settings = {
        "format": config.source.format,
        "sample_by": config.source.sample_by,
        "columns": config.columns,
        "separator": config.separator if len(config.columns) > 1 else None,
        "append_eos": config.append_eos,
        "dtype": config.dtype,
        "on_invalid": config.on_invalid,
    }
    inputs = {"raw_dataset": raw_fingerprint, "tokenizer": tokenizer_identity(corpus, workspace.data)}
    return Manifest(
        step=STAGE,
        fingerprint=fingerprint(STAGE, code_version=CODE_VERSION, inputs=inputs, settings=settings),
        code_version=CODE_VERSION,
        inputs=inputs,
        settings=settings,
    )


def build_tokenized(corpus: Corpus, partition: Partition, workspace: Workspace, *, on_progress: OnProgress | None = None) -> Built:
    """Encode the documents of a partition.

    Raises
    ------
    MissingArtifactsError
        The partition's raw artifact is not there.
    SourceError
        A file or row is not what is declared, every document is empty, or a file changed since it was pinned.
    TokenizerError
        The tokenizer cannot be had or does not do what the corpus asks.
    """
    address = tokenized_address(corpus, partition.key)
    raw = require(workspace.store, raw_address(corpus, partition.key), wanted_by=address)
    wanted = wanted_tokenized(corpus, workspace, raw.fingerprint)

    if workspace.store.find(address, wanted.fingerprint) is None:
        # Loading a tokenizer, and the conformance run before its first use, are no part of what this partition takes.
        workspace.engines.engines(prepare_tokenizer(corpus, workspace.data, workspace.store), workspace.store)

    def fill(folder: Path) -> Manifest:
        prepared = prepare_tokenizer(corpus, workspace.data, workspace.store)
        seed = int(wanted.fingerprint[:12], 16)
        engines = workspace.engines.engines(prepared, workspace.store)
        exact = ExactTokenizer(engines, verify=corpus.config.verify, seed=seed)
        try:
            tally = _write(folder, corpus, partition, prepared, exact, on_progress)
        except EngineMismatch as mismatch:
            exact = ExactTokenizer(engines.without_fast())
            logger.warning("%s: %s; all of the partition is encoded again by %s", address, mismatch, exact.engine)
            tally = _write(folder, corpus, partition, prepared, exact, None)
        _check(corpus, partition, workspace, raw.fingerprint, tally)
        counts = {name: getattr(tally, name) for name in _Tally.__slots__}
        details = {
            "dtype": _dtype(corpus, prepared).name,
            "files": [file.name for file in partition.files],
            "tokenizer": {
                "name": prepared.name,
                "eos_token_id": prepared.eos_token_id,
                "vocab_size": prepared.vocab_size,
                "max_id": prepared.max_id,
            },
        }
        return replace(wanted, counts=counts, details=details, produced_with={"engine": exact.engine, "pyarrow": pa.__version__})

    return reuse_or_build(workspace.store, address, wanted, fill)


def _dtype(corpus: Corpus, prepared: PreparedTokenizer) -> np.dtype[np.uint16] | np.dtype[np.int32]:
    if corpus.config.dtype != "auto":
        return np.dtype(corpus.config.dtype)
    return np.dtype(np.uint16) if prepared.max_id <= 0xFFFF else np.dtype(np.int32)


def _write(
    folder: Path, corpus: Corpus, partition: Partition, prepared: PreparedTokenizer, exact: ExactTokenizer, on_progress: OnProgress | None
) -> _Tally:
    from datasets import DatasetInfo, Features, List, Value

    dtype = _dtype(corpus, prepared)
    features = Features(
        {
            "input_ids": List(Value(dtype.name)),
            "length": Value("int64"),
            "hash": Value("uint64"),
            "file": Value("int32"),
            "row": Value("int64"),
        }
    )
    eos = prepared.eos_token_id if corpus.config.append_eos else None
    tally = _Tally()

    def encoded() -> Iterator[tuple[Documents, pa.RecordBatch]]:
        for documents in prefetch(read_documents(corpus, partition)):
            yield documents, _record_batch(documents, exact.encode(documents.texts), eos, dtype, features.arrow_schema)

    with pa.OSFile(str(folder / DATA_FILE), "wb") as file, pa.ipc.new_stream(file, features.arrow_schema) as writer:
        for documents, batch in prefetch(encoded()):
            writer.write_batch(batch)
            lengths = batch.column("length").to_numpy()
            tally.documents += batch.num_rows
            tally.empty += int((lengths == 0).sum())
            tally.invalid += documents.invalid
            tally.tokens += int(lengths.sum())
            tally.text_bytes += documents.text_bytes
            if on_progress:
                on_progress(documents.consumed)
    DatasetInfo(features=features).write_to_directory(str(folder))
    (folder / "state.json").write_text(json.dumps(_STATE, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return tally


_STATE = {
    "_data_files": [{"filename": DATA_FILE}],
    "_fingerprint": "0" * 16,
    "_format_columns": None,
    "_format_kwargs": {},
    "_format_type": None,
    "_output_all_columns": False,
    "_split": None,
}


def _record_batch(
    documents: Documents, encoded: Encoded, eos: int | None, dtype: np.dtype[np.uint16] | np.dtype[np.int32], schema: pa.Schema
) -> pa.RecordBatch:
    ids, ends = _with_eos(encoded, documents.nonempty, eos, dtype)
    offsets = np.concatenate([np.zeros(1, np.int32), ends.astype(np.int32)])
    hashes = np.fromiter(map(xxhash.xxh3_64_intdigest, documents.texts.cast(pa.binary()).to_pylist()), np.uint64, len(ends))
    columns = [
        pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids)),
        pa.array(np.diff(ends, prepend=0)),
        pa.array(hashes),
        pa.array(documents.files),
        pa.array(documents.rows),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _with_eos(
    encoded: Encoded, wants_eos: npt.NDArray[np.bool_], eos: int | None, dtype: np.dtype[np.uint16] | np.dtype[np.int32]
) -> tuple[npt.NDArray[np.uint16] | npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """The ids in the arrays' dtype, with the EOS behind each document that wants one."""
    if eos is None:
        return encoded.ids.astype(dtype), encoded.ends
    ends = encoded.ends + np.cumsum(wants_eos)
    ids = np.empty(ends[-1] if len(ends) else 0, dtype=dtype)
    is_text = np.ones(len(ids), dtype=bool)
    is_text[ends[wants_eos] - 1] = False
    ids[is_text] = encoded.ids
    ids[~is_text] = eos
    return ids, ends


def _check(corpus: Corpus, partition: Partition, workspace: Workspace, raw_fingerprint: str, tally: _Tally) -> None:
    if tally.tokens == 0:
        names = ", ".join(file.name for file in partition.files[:5])
        found = f"{tally.documents} documents, all of them empty" if tally.documents else "no document"
        raise SourceError(
            f"{corpus.path}: partition {partition.key!r} ({names}) has {found}; leave its files out of the source, or name another column"
        )
    if wanted_raw(corpus, partition, workspace).fingerprint != raw_fingerprint:
        raise SourceError(
            f"{corpus.path}: files of partition {partition.key!r} are no longer what {raw_address(corpus, partition.key)} pinned; materialize it again"
        )
