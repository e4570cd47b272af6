"""tokenized_arrow: the ids of every document, a row each, as a folder that ``datasets.load_from_disk`` opens.

Reading, encoding and writing run in threads of their own, a few batches apart. An empty document is a row of length 0, so that rows
stay in step with the source.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from phyagi_assets.declarations import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.checks.check import Check
from phyagi_assets.pipeline.checks.tokens import check_tokens
from phyagi_assets.pipeline.encoding import COLUMNS, RowMaker, token_dtype
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

STAGE = "tokenized_arrow"
CODE_VERSION = "1"
DATA_FILE = "data-00000-of-00001.arrow"

logger = logging.getLogger(__name__)


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
    return Manifest.wanted(STAGE, code_version=CODE_VERSION, inputs=inputs, settings=settings)


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
    wanted = wanted_tokenized(corpus, workspace, raw.fingerprint)
    files = local_files(partition, raw)
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
        try:
            tally = _write(folder, corpus, files, exact, maker, on_progress)
        except EngineMismatch as mismatch:
            exact = ExactTokenizer(engines.without_fast())
            logger.warning("%s: %s; all of the partition is encoded again by %s", address, mismatch, exact.engine)
            tally = _write(folder, corpus, files, exact, maker, None)
        _check(corpus, partition, workspace, raw.fingerprint, tally)
        _describe(folder, features)
        details = {"dtype": dtype.name, "files": [file.name for file in partition.files], "tokenizer": prepared.details()}
        made = {"engine": exact.engine, "pyarrow": pa.__version__}
        return replace(wanted, counts=asdict(tally), details=details, produced_with=made)

    def examine(artifact: Artifact) -> list[Check]:
        decoder = workspace.engines.decoder(prepare_tokenizer(corpus, workspace.data, workspace.store))
        return check_tokens(artifact, DATA_FILE, corpus.config.limits, decoder)

    return reuse_or_build(workspace.store, address, wanted, fill, examine=examine)


@dataclass(slots=True)
class _Tally:
    """What has gone by, counted where it is written."""

    documents: int = 0
    empty: int = 0
    invalid: int = 0
    tokens: int = 0
    text_bytes: int = 0

    def add(self, documents: Documents, batch: pa.RecordBatch) -> None:
        lengths = batch.column("length").to_numpy()
        self.documents += batch.num_rows
        self.empty += int((lengths == 0).sum())
        self.invalid += documents.invalid
        self.tokens += int(lengths.sum())
        self.text_bytes += documents.text_bytes


def _write(
    folder: Path, corpus: Corpus, files: list[LocalFile], exact: ExactTokenizer, maker: RowMaker, on_progress: OnProgress | None
) -> _Tally:
    def encoded() -> Iterator[tuple[Documents, Encoded]]:
        for documents in prefetch(read_documents(corpus, files)):
            yield documents, exact.encode_unjudged(documents.texts)

    tally = _Tally()
    with (
        pa.OSFile(str(folder / DATA_FILE), "wb") as file,
        pa.ipc.new_stream(file, maker.schema) as writer,
        closing(prefetch(encoded())) as batches,
    ):
        for documents, ids in batches:
            exact.judge(documents.texts, ids)
            batch = maker.rows(documents, ids)
            writer.write_batch(batch)
            tally.add(documents, batch)
            if on_progress:
                on_progress(documents.consumed)
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
    if tally.tokens == 0:
        names = ", ".join(file.name for file in partition.files[:5])
        found = f"{tally.documents} documents, all of them empty" if tally.documents else "no document"
        message = f"partition {partition.key!r} ({names}) has {found}; leave its files out of the source, or name another column"
        raise SourceError(f"{corpus.path}: {message}")
    now = wanted_raw(corpus, partition, workspace) if partition.is_local else None  # a snapshot does not change
    if now and now.fingerprint != raw_fingerprint:
        pinned = raw_address(corpus, partition.key)
        raise SourceError(
            f"{corpus.path}: files of partition {partition.key!r} are not what {pinned} pinned any more; materialize that again"
        )
