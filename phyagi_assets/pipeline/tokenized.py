"""tokenized_arrow: the ids of every document, a row each, as a folder that ``datasets.load_from_disk`` opens.

Reading, encoding and writing run in threads of their own, a few batches apart. An empty document is a row of length 0, so that rows
stay in step with the source.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from phyagi_assets.declarations import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.checks.check import Check
from phyagi_assets.pipeline.checks.tokens import check_tokens
from phyagi_assets.pipeline.encoding import COLUMNS, RowMaker, token_dtype
from phyagi_assets.pipeline.leaving_out import REMOVED, LeavingOut, hashes_of, without
from phyagi_assets.pipeline.manifest import Manifest
from phyagi_assets.pipeline.prefetch import prefetch
from phyagi_assets.pipeline.raw import local_files, raw_address, wanted_raw
from phyagi_assets.pipeline.sources.documents import Documents, read_documents
from phyagi_assets.pipeline.sources.files import LocalFile, Partition
from phyagi_assets.pipeline.step import Built, OnProgress, Workspace, require, reuse_or_build
from phyagi_assets.pipeline.store import Artifact
from phyagi_assets.pipeline.tokenizers.engines import Encoded
from phyagi_assets.pipeline.tokenizers.exact import EngineMismatch, ExactTokenizer
from phyagi_assets.pipeline.tokenizers.prepare import prepare_tokenizer, tokenizer_identity
from phyagi_assets.removals import removals_file

STAGE = "tokenized_arrow"
CODE_VERSION = "1"
DATA_FILE = "data-00000-of-00001.arrow"

logger = logging.getLogger(__name__)


def tokenized_address(corpus: Corpus, partition: str) -> str:
    return f"{corpus.config.name}/{STAGE}/{partition}"


def wanted_tokenized(corpus: Corpus, partition: str, workspace: Workspace, raw_fingerprint: str) -> Manifest:
    """What a partition's tokenized artifact has to be, given its raw one.

    Of removed documents, those that the partition has are named. Where nobody knows yet whether it has any, none is.
    """
    settings = _settings(corpus)
    if removed := _leaving_out(corpus, partition, workspace, raw_fingerprint).known():
        settings[REMOVED] = removed
    inputs = {"raw_dataset": raw_fingerprint, "tokenizer": tokenizer_identity(corpus, workspace.data)}
    return Manifest.wanted(STAGE, code_version=CODE_VERSION, inputs=inputs, settings=settings)


def _settings(corpus: Corpus) -> dict[str, Any]:
    config = corpus.config
    return {
        "format": config.source.format,
        "sample_by": config.source.sample_by,
        "columns": config.columns,
        "separator": config.separator if len(config.columns) > 1 else None,
        "append_eos": config.append_eos,
        "dtype": config.dtype,
        "on_invalid": config.on_invalid,
    }


def _leaving_out(corpus: Corpus, partition: str, workspace: Workspace, raw_fingerprint: str) -> LeavingOut:
    return LeavingOut(corpus, tokenized_address(corpus, partition), raw_fingerprint, _settings(corpus), DATA_FILE, workspace.store)


def build_tokenized(corpus: Corpus, partition: Partition, workspace: Workspace, on_progress: OnProgress | None = None) -> Built:
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
    files = local_files(partition, raw)
    leaving_out = _leaving_out(corpus, partition.key, workspace, raw.fingerprint)
    if leaving_out.known() is None:
        leaving_out.find(read_documents(corpus, files))
    wanted = wanted_tokenized(corpus, partition.key, workspace, raw.fingerprint)
    if workspace.store.find(address, wanted.fingerprint) is None:
        # Loading a tokenizer, and the conformance run before its first use, are no part of what this partition takes.
        workspace.engines.engines(prepare_tokenizer(corpus, workspace.data, workspace.store), workspace.store)

    def fill(folder: Path) -> Manifest:
        prepared = prepare_tokenizer(corpus, workspace.data, workspace.store)
        engines = workspace.engines.engines(prepared, workspace.store)
        dtype = token_dtype(corpus, prepared)
        features = _features(dtype.name)
        exact = ExactTokenizer(engines, verify=corpus.config.verify, seed=int(wanted.fingerprint[:12], 16))
        eos = prepared.eos_token_id if corpus.config.append_eos else None
        maker = RowMaker(eos=eos, dtype=dtype, schema=features.arrow_schema)
        removed = hashes_of(wanted.settings.get(REMOVED, ()))
        try:
            tally = _write(folder, _documents(corpus, files, removed), exact, maker, on_progress)
        except EngineMismatch as mismatch:
            exact = ExactTokenizer(engines.without_fast())
            logger.warning("%s: %s; all of the partition is encoded again by %s", address, mismatch, exact.engine)
            tally = _write(folder, _documents(corpus, files, removed), exact, maker, None)
        _check(corpus, partition, workspace, raw.fingerprint, tally)
        _describe(folder, features)
        details = {
            "content": tally.content,
            "dtype": dtype.name,
            "files": [file.name for file in partition.files],
            "tokenizer": prepared.details(),
        }
        made = {"engine": exact.engine, "pyarrow": pa.__version__}
        return replace(wanted, counts=tally.counts, details=details, produced_with=made)

    def examine(artifact: Artifact) -> list[Check]:
        decoder = workspace.engines.decoder(prepare_tokenizer(corpus, workspace.data, workspace.store))
        return check_tokens(artifact, DATA_FILE, corpus.config.limits, decoder)

    return reuse_or_build(workspace.store, address, wanted, fill, examine=examine)


class _Tally:
    """What has gone by, counted where it is written."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(("documents", "empty", "invalid", "removed", "tokens", "text_bytes"), 0)
        self._content = xxhash.xxh3_128()

    def add(self, documents: Documents, rows: pa.RecordBatch) -> None:
        lengths = rows.column("length").to_numpy()
        seen = (rows.num_rows, int((lengths == 0).sum()), documents.invalid, documents.removed, int(lengths.sum()), documents.text_bytes)
        for count, more in zip(self.counts, seen, strict=True):
            self.counts[count] += more
        self._content.update(rows.column("hash").to_numpy())

    @property
    def content(self) -> str:
        """Digest of the texts, in their order: the same wherever they come from."""
        return self._content.hexdigest()


def _documents(corpus: Corpus, files: list[LocalFile], removed: npt.NDArray[np.uint64]) -> Iterator[Documents]:
    return (without(documents, removed) for documents in read_documents(corpus, files))


def _write(folder: Path, documents: Iterator[Documents], exact: ExactTokenizer, maker: RowMaker, on_progress: OnProgress | None) -> _Tally:
    def encoded() -> Iterator[tuple[Documents, Encoded]]:
        for batch in prefetch(documents):
            yield batch, exact.encode_unjudged(batch.texts)

    tally = _Tally()
    with (
        pa.OSFile(str(folder / DATA_FILE), "wb") as file,
        pa.ipc.new_stream(file, maker.schema) as writer,
        closing(prefetch(encoded())) as batches,
    ):
        for batch, ids in batches:
            exact.judge(batch.texts, ids)
            rows = maker.rows(batch, ids)
            writer.write_batch(rows)
            tally.add(batch, rows)
            if on_progress:
                on_progress(batch.consumed)
    return tally


def _features(dtype: str) -> Any:
    """The columns as ``datasets`` knows them."""
    from datasets import Features, List, Value

    return Features({"input_ids": List(Value(dtype)), **{name: Value(kind) for name, kind in COLUMNS.items()}})


def _describe(folder: Path, features: Any) -> None:
    """Write the two files beside the data that make ``load_from_disk`` open the folder."""
    from datasets import DatasetInfo

    DatasetInfo(features=features).write_to_directory(str(folder))
    state: dict[str, Any] = {"_data_files": [{"filename": DATA_FILE}], "_fingerprint": "0" * 16, "_split": None}
    state |= {"_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False}
    (folder / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _check(corpus: Corpus, partition: Partition, workspace: Workspace, raw_fingerprint: str, tally: _Tally) -> None:
    counts = tally.counts
    if counts["tokens"] == 0:
        names = ", ".join(file.name for file in partition.files[:5])
        found = f"{counts['documents']} documents, all of them empty" if counts["documents"] else "no document"
        remedy = "or name another column"
        if counts["removed"]:
            found, remedy = f"no document but such as are removed ({counts['removed']})", f"or take a line out of {removals_file(corpus)}"
        message = f"partition {partition.key!r} ({names}) has {found}; leave its files out of the source, {remedy}"
        raise SourceError(f"{corpus.path}: {message}")
    now = wanted_raw(corpus, partition, workspace) if partition.is_local else None  # a snapshot does not change
    if now and now.fingerprint != raw_fingerprint:
        pinned = raw_address(corpus, partition.key)
        raise SourceError(
            f"{corpus.path}: files of partition {partition.key!r} are not what {pinned} pinned any more; materialize that again"
        )
