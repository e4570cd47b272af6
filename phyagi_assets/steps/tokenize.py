"""tokenized_arrow: the ids of every document, one row per document, as a folder that ``datasets.load_from_disk`` opens.

An empty document is a row of length 0, so that rows stay aligned with the source.
"""

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceDownError, SourceError, TokenizerError
from phyagi_assets.execution.progress import OnProgress
from phyagi_assets.formats.token_rows import COLUMNS, TRAINED, complete, row_files, rows_in, rows_schema
from phyagi_assets.formats.trained_bits import shown_share
from phyagi_assets.formatting import counted, listed
from phyagi_assets.sources.chunks import most_chunks
from phyagi_assets.sources.documents import RowTally, read_documents
from phyagi_assets.sources.files import Partition, readable
from phyagi_assets.sources.irregular import IrregularFiles
from phyagi_assets.sources.readable import Readable
from phyagi_assets.steps.checks.check import FILES_AND_IDS, SOUND, WITHIN_LIMITS, Check
from phyagi_assets.steps.checks.tokens import CheckedRows, Rules, check_tokens, token_checks
from phyagi_assets.steps.chunk_results import forget_chunks
from phyagi_assets.steps.conversations import conversation_recipe
from phyagi_assets.steps.encoding import BY_TOKENIZER, EOS_BY, RowMaker, eos_to_append, token_dtype
from phyagi_assets.steps.exclusions import REMOVED, ExcludedDocuments, hashes_of
from phyagi_assets.steps.facts import Facts, Rows
from phyagi_assets.steps.lengths import length_facts, row_lengths
from phyagi_assets.steps.raw import RAW, expected_raw, held_files, pinned_objects, raw_address, readable_files
from phyagi_assets.steps.step import Built, Scope, Step, Totals, Workspace, amounts, built_facts, require, reuse_or_build
from phyagi_assets.steps.tokenize_chunks import COUNTS, Recipe, TokenChunk, Written, engines_of, missing_chunks, write_chunks
from phyagi_assets.store.base import Artifact, Assembled, FinishedFile
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.tokenizers.engines import ReferenceEngine
from phyagi_assets.tokenizers.exact import EngineMismatch
from phyagi_assets.tokenizers.identity import tokenizer_identity
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from phyagi_assets.tokenizers.prepare_chat import template_identity
from phyagi_assets.tokenizers.prepared import PreparedTokenizer

STAGE = "tokenized_arrow"
CODE_VERSION = "1"
SKIPPED = "skipped"
"""Detail of the manifest that lists the files of which rows were left out."""
_SHOWN = 100
"""Largest number of files with left-out rows that the facts list."""
_REPORTED = 20
"""Largest number of files whose left-out rows are logged one by one."""

logger = logging.getLogger(__name__)


def tokenized_address(corpus: Corpus, partition: str) -> str:
    """Return the address of a partition's tokenized artifact."""
    return f"{corpus.config.name}/{STAGE}/{partition}"


def expected_tokenized(corpus: Corpus, partition: Partition, workspace: Workspace, raw_fingerprint: str) -> Manifest:
    """Return the expected manifest of a partition's tokenized artifact, given the fingerprint of its raw artifact.

    The settings list the excluded documents and the irregular files that occur in the partition, as far as they are known without
    fetching or reading documents.
    """
    identity = tokenizer_identity(corpus, workspace.data)
    settings = _settings(corpus, partition, workspace, raw_fingerprint)
    if corpus.config.append_eos and corpus.config.messages is None and _ends_with_eos(corpus, workspace, identity):
        settings[EOS_BY] = BY_TOKENIZER
    if removed := _excluded_documents(corpus, partition.key, workspace, raw_fingerprint, settings).known():
        settings[REMOVED] = removed
    inputs = {"raw_dataset": raw_fingerprint, "tokenizer": identity}
    return Manifest.expected(STAGE, code_version=CODE_VERSION, inputs=inputs, settings=settings)


def _settings(
    corpus: Corpus, partition: Partition, workspace: Workspace, raw_fingerprint: str, files: Sequence[Readable] | None = None
) -> dict[str, Any]:
    config = corpus.config
    documents: dict[str, Any] = {"columns": config.columns, "separator": config.separator if len(config.columns) > 1 else None}
    if config.messages is not None:
        template = template_identity(corpus, workspace.data)
        documents = {"messages": config.messages, "chat_template": template, "train_on": config.train_on}
        if config.template_date is not None:
            documents["template_date"] = config.template_date.isoformat()
    settings: dict[str, Any] = {
        "format": config.source.format,
        "sample_by": config.source.sample_by,
        **documents,
        "append_eos": config.append_eos,
        "dtype": config.dtype,
        "on_invalid": config.on_invalid,
    }
    if config.special_tokens != "allow":
        settings["special_tokens"] = config.special_tokens
    if config.source.delimiter is not None:
        settings["delimiter"] = config.source.delimiter
    address = tokenized_address(corpus, partition.key)

    def at_hand() -> Sequence[Readable] | None:
        return _files_at_hand(corpus, partition, workspace, raw_fingerprint) if files is None else files

    def published() -> Mapping[str, str] | None:
        """Return the irregular files that the published artifact lists, if all that they depend on is the same."""
        artifact = workspace.store.open(address)
        if artifact is None or artifact.manifest.inputs.get(RAW.name) != raw_fingerprint:
            return None
        listed = artifact.manifest.settings
        same = all(listed.get(name) == settings[name] for name in ("format", "on_invalid"))
        return listed.get("irregular", {}) if same else None

    if irregular := IrregularFiles(workspace.store, address).find(corpus, partition, raw_fingerprint, at_hand, published):
        settings["irregular"] = irregular
    return settings


def _files_at_hand(corpus: Corpus, partition: Partition, workspace: Workspace, raw_fingerprint: str) -> Sequence[Readable] | None:
    """Return the files of a partition for reading; None if one of them is not on this machine or in a snapshot."""
    if partition.is_local:
        return readable(partition)
    if pinned_objects(corpus, partition, workspace) != ():
        return None
    raw = workspace.store.find(raw_address(corpus, partition.key), raw_fingerprint, held_files(corpus, partition, workspace))
    return readable_files(partition, raw, workspace) if raw else None


def _excluded_documents(
    corpus: Corpus, partition: str, workspace: Workspace, raw_fingerprint: str, settings: Mapping[str, Any]
) -> ExcludedDocuments:
    return ExcludedDocuments(corpus, tokenized_address(corpus, partition), raw_fingerprint, settings, workspace.store)


def _ends_with_eos(corpus: Corpus, workspace: Workspace, identity: str) -> bool:
    """Return whether the corpus's tokenizer itself ends texts with the EOS; loads the tokenizer if the answer is not cached."""
    known = workspace.engines.ends_with_eos
    if identity not in known:
        try:
            known[identity] = prepare_tokenizer(corpus, workspace.data, workspace.store).ends_with_eos
        except TokenizerError:
            return False  # the build says why the tokenizer cannot be loaded
    return known[identity]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Encoding:
    """The artifact that encoding a partition leads to, and the files to read for it."""

    corpus: Corpus
    partition: Partition
    workspace: Workspace
    raw: Artifact
    files: Sequence[Readable]
    expected: Manifest

    @classmethod
    def of(cls, corpus: Corpus, partition: Partition, workspace: Workspace) -> "_Encoding":
        """Look up the raw artifact, and find the documents to leave out if they are not known."""
        raw = require(workspace.store, raw_address(corpus, partition.key), needed_by=tokenized_address(corpus, partition.key))
        files = readable_files(partition, raw, workspace)
        settings = _settings(corpus, partition, workspace, raw.fingerprint, files)
        excluded = _excluded_documents(corpus, partition.key, workspace, raw.fingerprint, settings)
        if excluded.known() is None:
            excluded.find(read_documents(corpus, files))
        expected = expected_tokenized(corpus, partition, workspace, raw.fingerprint)
        return cls(corpus=corpus, partition=partition, workspace=workspace, raw=raw, files=files, expected=expected)

    @property
    def exists(self) -> bool:
        """Whether the artifact exists already."""
        return self.workspace.store.find(tokenized_address(self.corpus, self.partition.key), self.expected.fingerprint) is not None

    @property
    def is_in_chunks(self) -> bool:
        """Whether the partition is so large that it is cut into several chunks."""
        return most_chunks(self.corpus, self.partition.files, self.workspace.chunk_bytes) > 1

    def tokenizer(self) -> PreparedTokenizer:
        """Return the tokenizer of the engines: for conversations, the declared one without the tokens that it adds around every text."""
        prepared = prepare_tokenizer(self.corpus, self.workspace.data, self.workspace.store)
        conversations = conversation_recipe(self.corpus, prepared, self.workspace)
        return prepared if conversations is None else conversations.prepared.bare

    def recipe(self) -> Recipe:
        """Return what a process needs to encode a chunk."""
        corpus = self.corpus
        prepared = prepare_tokenizer(corpus, self.workspace.data, self.workspace.store)
        dtype = token_dtype(corpus, prepared)
        conversations = conversation_recipe(corpus, prepared, self.workspace)
        schema = rows_schema(dtype.name, has_mask=conversations is not None)
        if conversations is None:
            eos = eos_to_append(prepared, append_eos=corpus.config.append_eos)
        else:
            eos = prepared.eos_token_id if corpus.config.append_eos else None
        return Recipe(
            corpus=corpus,
            partition=self.partition.key,
            fingerprint=self.expected.fingerprint,
            raw=self.raw.fingerprint,
            size=self.partition.bytes,
            removed=hashes_of(self.expected.settings.get(REMOVED, ())),
            prepared=prepared,
            maker=RowMaker(eos=eos, dtype=dtype, schema=schema),
            rules=Rules.of(self.expected, prepared.details(), has_mask=conversations is not None),
            conversations=conversations,
        )


def token_chunks(corpus: Corpus, partition: Partition, workspace: Workspace) -> Sequence[TokenChunk]:
    """Return the chunks of a large partition that have to be encoded; empty if it is small, or is encoded already.

    Raises
    ------
    MissingArtifactsError
        The partition's raw artifact is missing or damaged.
    SourceError
        A file cannot be read.
    TokenizerError
        The tokenizer cannot be loaded.
    """
    if most_chunks(corpus, partition.files, workspace.chunk_bytes) == 1:
        return ()
    encoding = _Encoding.of(corpus, partition, workspace)
    return () if encoding.exists else missing_chunks(encoding.recipe(), encoding.files, workspace)


def build_tokenized(corpus: Corpus, partition: Partition, workspace: Workspace, on_progress: OnProgress | None = None) -> Built:
    """Encode the documents of a partition.

    Parameters
    ----------
    on_progress
        Called with the bytes of source read since the last call.

    Raises
    ------
    MissingArtifactsError
        The partition's raw artifact is missing or damaged.
    SourceError
        A file or row does not match the declaration, or a file changed since it was pinned.
    TokenizerError
        The tokenizer cannot be loaded, or does not do what the corpus asks for.
    """
    address = tokenized_address(corpus, partition.key)
    encoding = _Encoding.of(corpus, partition, workspace)
    expected, files = encoding.expected, encoding.files
    if not encoding.exists:
        # Load the tokenizer, and do the conformance run before its first use, outside of the build time of this partition.
        engines_of(encoding.recipe(), workspace)

    written: list[_Tally] = []

    def fill(folder: Path) -> Manifest | Assembled:
        recipe, in_place = encoding.recipe(), not encoding.is_in_chunks
        try:
            tally = _Tally.of(write_chunks(recipe, files, folder, workspace, on_progress or _ignore_progress, in_place=in_place))
        except EngineMismatch as mismatch:
            recipe = replace(recipe, trusts_fast=False)
            logger.warning("%s: %s; all of the partition is encoded again by %s", address, mismatch, ReferenceEngine.name)
            tally = _Tally.of(write_chunks(recipe, files, folder, workspace, _ignore_progress, in_place=in_place))
        _check(corpus, partition, files, workspace, encoding.raw, tally)
        _report(address, files, tally)
        dtype = recipe.maker.dtype
        names = row_files(tally.chunks)
        for name, path in zip(names, tally.paths, strict=True):
            if path:
                path.rename(folder / name)
        complete(folder, names, dtype.name, has_mask=recipe.conversations is not None)
        details = {
            "content": tally.content,
            "dtype": dtype.name,
            "files": [file.name for file in partition.files],
            "tokenizer": recipe.prepared.details(),
        }
        if skipped := tally.skipped(files):
            details[SKIPPED] = skipped
        made = {"engine": recipe.tokenizer(engines_of(recipe, workspace), 0).engine, "pyarrow": pa.__version__}
        manifest = replace(expected, counts=tally.counts, details=details, produced_with=made)
        if in_place:
            return manifest
        written.append(tally)
        finished = {name: rows for name, rows in zip(names, tally.rows_of_chunks, strict=True) if rows}
        return Assembled(manifest=manifest, finished=finished)

    def examine(artifact: Artifact) -> list[Check]:
        decoder = workspace.engines.decoder(encoding.tokenizer(), corpus.config.special_tokens)
        if not written:
            return check_tokens(artifact, corpus.config.limits, decoder)
        manifest, tally = artifact.manifest, written[0]  # the tasks of the chunks have read the rows
        rules = Rules.of(manifest, manifest.details["tokenizer"], has_mask=TRAINED in manifest.counts)
        return token_checks(tally.checked, tally.hashes, manifest, rules, corpus.config.limits, decoder)

    try:
        built = reuse_or_build(workspace.store, address, expected, fill, examine=examine)
    except SourceDownError:
        raise
    except SourceError:  # the files have to change first
        forget_chunks(workspace.store, f"{corpus.config.name}/{partition.key}")
        raise
    if encoding.is_in_chunks:
        forget_chunks(workspace.store, f"{corpus.config.name}/{partition.key}")
    return replace(built, lengths=np.concatenate([np.zeros(0, np.int64), *written[0].lengths])) if written else built


@dataclass(kw_only=True, slots=True)
class _Tally:
    """Totals of the rows that were written, and of those that were left out."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    content: str = ""
    """Digest of the text hashes in the order of the rows; it does not depend on the origin of the texts."""
    chunks: int = 0
    """Number of chunks written."""
    rows_of_chunks: list[FinishedFile | None] = field(default_factory=list)
    """File with the rows of each chunk as its task wrote it; None if the rows are in the folder of the artifact."""
    paths: list[Path | None] = field(default_factory=list)
    """Path of the rows of each chunk in that folder; None if they are not there."""
    checked: CheckedRows = field(default_factory=CheckedRows)
    """What the tasks found in the rows that they wrote."""
    lengths: list[npt.NDArray[np.int64]] = field(default_factory=list)
    """Number of tokens of each document in the rows that tasks wrote."""
    hashes: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    """Text hashes of the documents with tokens in the rows that tasks wrote."""
    rows: dict[int, RowTally] = field(default_factory=dict)
    """Row counts by index of the file, for files with rows without text and for files that were read in several chunks."""

    @classmethod
    def of(cls, written: Generator[Written, None, None]) -> "_Tally":
        """Add up the results of all chunks, in their order."""
        tally, content = cls(), xxhash.xxh3_128()
        with closing(written):
            for chunk in written:
                tally.chunks += 1
                tally.counts |= {name: tally.counts.get(name, 0) + count for name, count in chunk.counts.items()}
                for index, rows in chunk.tallies:
                    tally.rows[index] = tally.rows.get(index, RowTally()) + rows
                for batch in rows_in(chunk.documents, ["length", "hash"]):
                    lengths, hashes = (batch.column(name).to_numpy() for name in ("length", "hash"))
                    content.update(hashes.data)
                    if chunk.checked:
                        tally.lengths.append(lengths.copy())  # the file is deleted before they are used
                        tally.hashes.append(hashes[lengths > 0])
                tally.rows_of_chunks.append(chunk.rows)
                tally.paths.append(chunk.path)
                if chunk.checked:
                    tally.checked += chunk.checked
        tally.content = content.hexdigest()
        return tally

    def skipped(self, files: Sequence[Readable]) -> dict[str, dict[str, Any]]:
        """Return the files with left-out rows: by file name, the number of left-out rows, the number of rows, and the first problem."""
        return {
            files[index].name: {"rows": rows.invalid, "of": rows.invalid + rows.valid, "first": rows.first_problem}
            for index, rows in sorted(self.rows.items())
            if rows.invalid
        }


def _ignore_progress(_consumed: int) -> None:
    """Ignore progress."""


def _check(corpus: Corpus, partition: Partition, files: Sequence[Readable], workspace: Workspace, raw: Artifact, tally: _Tally) -> None:
    for index, rows in sorted(tally.rows.items()):
        if rows.is_without_text:
            raise rows.error(files[index], corpus)
    now = expected_raw(corpus, partition, workspace) if partition.is_local else None  # a snapshot does not change
    if now and now.fingerprint != raw.fingerprint:
        pinned, found = raw.manifest.inputs["files"], now.inputs["files"]
        changed = [file.origin for file in files if pinned.get(file.name) != found[file.name]]
        named = f"{listed(changed)}: changed; files" if changed else f"{corpus.path}: files"
        raise SourceError(
            f"{named} of partition {partition.key!r} are not what {raw_address(corpus, partition.key)} pinned any more; "
            "materialize that again, while nothing writes to them"
        )


def _report(address: str, files: Sequence[Readable], tally: _Tally) -> None:
    """Log the rows that were left out, and warn if the partition is empty."""
    skipped = tally.skipped(files)
    for name, of in list(skipped.items())[:_REPORTED]:
        logger.warning("%s: %s: %s of %s left out; %s", address, name, f"{of['rows']:,}", counted(of["of"], "row"), of["first"])
    if len(skipped) > _REPORTED:
        rows = sum(of["rows"] for of in list(skipped.values())[_REPORTED:])
        logger.warning("%s: %s of %s left out", address, counted(rows, "row"), counted(len(skipped) - _REPORTED, "further file"))
    if tally.counts["tokens"] == 0:
        documents, removed = (tally.counts[name] for name in ("documents", "removed"))
        why = "documents were removed" if removed and not documents else "documents have no text" if documents else "files have no rows"
        logger.warning("%s is published as empty: its %s (%s)", address, why, listed([file.name for file in files]))


def _expected(corpus: Corpus, partition: Partition, workspace: Workspace, inputs: Mapping[str, str]) -> Manifest:
    return expected_tokenized(corpus, partition, workspace, inputs[RAW.name])


def _facts(built: Built) -> Facts:
    manifest = built.artifact.manifest
    counts = manifest.counts
    skipped = [
        {"file": file, "rows left out": of["rows"], "of rows": of["of"], "first": of["first"]}
        for file, of in manifest.details.get(SKIPPED, {}).items()
    ]
    return {
        **amounts(counts["documents"], counts["tokens"], counts["text_bytes"], built.seconds),
        **_rates(counts, built.seconds),
        **length_facts(row_lengths(built.artifact) if built.lengths is None else built.lengths),
        **({"trained on": shown_share(counts[TRAINED], counts["tokens"])} if TRAINED in counts else {}),
        "empty documents": counts["empty"],
        "invalid rows left out": counts["invalid"],
        **({"files with rows left out": Rows(rows=skipped[:_SHOWN])} if skipped else {}),
        "removed documents left out": counts["removed"],
        "content": manifest.details["content"],
        "dtype": manifest.details["dtype"],
        "engine": manifest.produced_with["engine"],
        **built_facts(built),
    }


def _rates(counts: Mapping[str, int], seconds: float) -> Facts:
    """Return the size of a token in the text, and the speed of encoding if the version was built."""
    documents, tokens, size = (counts[name] for name in ("documents", "tokens", "text_bytes"))
    ratio = {"bytes per token": round(size / tokens, 3)} if tokens else {}
    speed = {"documents per second": round(documents / seconds, 1), "MB per second": round(size / seconds / 1e6, 2)} if seconds else {}
    return {**ratio, **speed}


def _totals(manifest: Manifest) -> Totals:
    return {name: manifest.counts[name] for name in ("documents", "tokens")}


TOKENIZE = Step(
    name=STAGE,
    scope=Scope.PARTITION,
    code_version=CODE_VERSION,
    input=RAW.name,
    description="The token ids of every document, one row per document; `datasets.load_from_disk` opens it.",
    kinds=frozenset({"arrow", "huggingface"}),
    expected=_expected,
    build=build_tokenized,
    checks={
        SOUND: f"{FILES_AND_IDS}; a sample of the documents, decoded, is the text that they were made of, and gives the same ids; "
        "there are as many documents and tokens as were counted when they were written.",
        WITHIN_LIMITS: "The share of documents whose text occurs earlier is within `limits.duplicates`, and that of rows that were "
        "left out within `limits.invalid`.",
    },
    facts=_facts,
    columns={"input_ids": "list of uint16 or int32", **COLUMNS},
    totals=_totals,
    lengths=row_lengths,
    chunks=token_chunks,
    is_slow=True,
)
