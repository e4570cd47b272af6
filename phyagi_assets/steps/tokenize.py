"""tokenized_arrow: the ids of every document, one row per document, as a folder that ``datasets.load_from_disk`` opens.

An empty document is a row of length 0, so that rows stay aligned with the source.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import pyarrow as pa

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import AccessError, SourceChangedError, SourceDownError, SourceError
from phyagi_assets.execution.executor import OnProgress
from phyagi_assets.formats.token_rows import COLUMNS, TRAINED, complete, row_files, rows_schema
from phyagi_assets.formatting import counted, listed
from phyagi_assets.sources.chunks import most_chunks
from phyagi_assets.sources.files import Partition
from phyagi_assets.sources.readable import Readable
from phyagi_assets.steps.checks.check import FILES_AND_IDS, SOUND, WITHIN_LIMITS, Check
from phyagi_assets.steps.checks.tokens import Rules, check_tokens, token_checks
from phyagi_assets.steps.chunk_results import forget_chunks
from phyagi_assets.steps.conversations import conversation_recipe
from phyagi_assets.steps.encoding import RowMaker
from phyagi_assets.steps.eos import eos_to_append
from phyagi_assets.steps.exclusions import REMOVED, hashes_of
from phyagi_assets.steps.lengths import row_lengths
from phyagi_assets.steps.raw import RAW, expected_raw, raw_address, readable_files
from phyagi_assets.steps.row_totals import RowTotals
from phyagi_assets.steps.step import Built, Column, Scope, Step, Totals, Workspace, require, reuse_or_build
from phyagi_assets.steps.token_facts import SKIPPED, token_facts
from phyagi_assets.steps.tokenize_chunks import Recipe, TokenChunk, engines_of, missing_chunks, write_chunks
from phyagi_assets.steps.tokenized_version import CODE_VERSION, STEP, expected_tokenized, shared_inputs, tokenized_address
from phyagi_assets.store.artifact import Artifact, Assembled, FinishedFile
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.tokenizers.engines import ReferenceEngine
from phyagi_assets.tokenizers.exact import EngineMismatch
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from phyagi_assets.tokenizers.prepare_chat import template_identity

_REPORTED = 20
"""Largest number of files whose left-out rows are logged one by one."""

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Encoding:
    """The encoding of a partition: the expected artifact, and the files to read for it."""

    corpus: Corpus
    partition: Partition
    workspace: Workspace
    raw: Artifact
    files: Sequence[Readable]
    expected: Manifest
    checked_by_tasks: RowTotals | None = None
    """Totals of the rows, if the tasks of the chunks have checked them."""

    @classmethod
    def of(cls, corpus: Corpus, partition: Partition, workspace: Workspace) -> "_Encoding":
        """Look up the raw artifact, and find the excluded documents unless they are known."""
        raw = require(workspace.store, raw_address(corpus, partition.key), needed_by=tokenized_address(corpus, partition.key))
        files = readable_files(partition, raw, workspace)
        expected = expected_tokenized(corpus, partition, workspace, {RAW.name: raw.fingerprint}, files)
        return cls(corpus=corpus, partition=partition, workspace=workspace, raw=raw, files=files, expected=expected)

    @property
    def address(self) -> str:
        """Address of the artifact."""
        return tokenized_address(self.corpus, self.partition.key)

    @property
    def exists(self) -> bool:
        """Whether the artifact exists already."""
        return self.workspace.store.find(self.address, self.expected.fingerprint, lately=True) is not None

    @property
    def is_in_chunks(self) -> bool:
        """Whether the partition is so large that it is cut into several chunks."""
        return most_chunks(self.corpus, self.partition.files, self.workspace.chunk_bytes) > 1

    @cached_property
    def recipe(self) -> Recipe:
        """Everything that a process needs to encode a chunk. The tokenizer is loaded if the store does not have it."""
        corpus = self.corpus
        prepared = prepare_tokenizer(corpus, self.workspace.identities, self.workspace.store)
        dtype = prepared.dtype(corpus.config.dtype)
        conversations = conversation_recipe(corpus, prepared, self.workspace)
        self._require_same_encoding()
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

    def _require_same_encoding(self) -> None:
        """Raise a `SourceChangedError` if the tokenizer or the chat template has changed since the fingerprint was computed from it."""
        corpus, known = self.corpus, {**self.expected.settings, **self.expected.inputs}
        found = {"tokenizer": self.workspace.identities.identity(corpus)}
        if corpus.config.messages is not None:
            found["chat_template"] = template_identity(corpus, self.workspace.data)
        if changed := [key for key, identity in found.items() if known[key] != identity]:
            raise SourceChangedError(
                f"{corpus.path}: {listed(changed)}: has changed during the build; materialize again once it is complete"
            )

    def require_as_pinned(self) -> None:
        """Raise a `SourceChangedError` if a local file has changed since it was pinned; a snapshot does not change."""
        corpus, partition = self.corpus, self.partition
        now = expected_raw(corpus, partition, self.workspace) if partition.is_local else None
        if now and now.fingerprint != self.raw.fingerprint:
            pinned, found = self.raw.manifest.inputs["files"], now.inputs["files"]
            changed = [file.origin for file in self.files if pinned.get(file.name) != found[file.name]]
            named = f"{listed(changed)}: changed; files" if changed else f"{corpus.path}: files"
            raise SourceChangedError(
                f"{named} of partition {partition.key!r} are not what {raw_address(corpus, partition.key)} pinned any more; "
                "materialize that again, while nothing writes to them"
            )

    def fill(self, folder: Path, on_progress: OnProgress) -> Manifest | Assembled:
        """Write the files of the artifact, except for those that tasks have written."""
        recipe = self.recipe
        try:
            totals = self._totals(recipe, folder, on_progress)
        except EngineMismatch as mismatch:
            logger.warning("%s: %s; all of the partition is encoded again by %s", self.address, mismatch, ReferenceEngine.name)
            recipe = replace(recipe, trusts_fast=False)
            totals = self._totals(recipe, folder, _ignore_progress)
        totals.require_text(self.files, self.corpus)
        self.require_as_pinned()
        _report(self.address, self.files, totals)
        rows = dict(zip(row_files(len(totals.files)), totals.files, strict=True))
        for name, file in rows.items():
            if isinstance(file, Path):
                file.rename(folder / name)
        complete(folder, list(rows), recipe.maker.dtype.name, has_mask=recipe.conversations is not None)
        manifest = self._manifest(recipe, totals)
        if not self.is_in_chunks:
            return manifest
        self.checked_by_tasks = totals
        return Assembled(manifest=manifest, finished={name: file for name, file in rows.items() if isinstance(file, FinishedFile)})

    def _totals(self, recipe: Recipe, folder: Path, on_progress: OnProgress) -> RowTotals:
        return RowTotals.of(write_chunks(recipe, self.files, folder, self.workspace, on_progress, in_place=not self.is_in_chunks))

    def _manifest(self, recipe: Recipe, totals: RowTotals) -> Manifest:
        details = {
            "content": totals.content,
            "dtype": recipe.maker.dtype.name,
            "files": [file.name for file in self.partition.files],
            "tokenizer": recipe.prepared.details(),
        }
        if skipped := totals.skipped(self.files):
            details[SKIPPED] = skipped
        made = {"engine": recipe.tokenizer(engines_of(recipe, self.workspace), 0).engine, "pyarrow": pa.__version__}
        return replace(self.expected, counts=totals.counts, details=details, produced_with=made)

    def examine(self, artifact: Artifact) -> list[Check]:
        """Check the artifact; its rows are read unless the tasks have read them."""
        config, totals = self.corpus.config, self.checked_by_tasks
        decoder = self.workspace.engines.decoder(self.recipe.encoding, config.special_tokens)
        if totals is None:
            return check_tokens(artifact, config.limits, decoder)
        return token_checks(totals.checked, totals.hashes, artifact.manifest, config.limits, decoder)


def token_chunks(corpus: Corpus, partition: Partition, workspace: Workspace) -> Sequence[TokenChunk]:
    """Return the chunks of a large partition that have to be encoded; empty if it is small or already encoded."""
    if most_chunks(corpus, partition.files, workspace.chunk_bytes) == 1:
        return ()
    encoding = _Encoding.of(corpus, partition, workspace)
    return () if encoding.exists else missing_chunks(encoding.recipe, encoding.files, workspace)


def build_tokenized(corpus: Corpus, partition: Partition, workspace: Workspace, on_progress: OnProgress | None = None) -> Built:
    """Encode the documents of a partition.

    Raises
    ------
    MissingArtifactsError
        The partition's raw artifact is missing or damaged.
    SourceError
        A file or row does not match the declaration, or a file changed since it was pinned.
    TokenizerError
        The tokenizer cannot be loaded, or does not fit the settings of the corpus.
    """
    encoding = _Encoding.of(corpus, partition, workspace)
    if not encoding.exists:
        # Load the tokenizer, and do the conformance run before its first use, outside of the build time of this partition.
        engines_of(encoding.recipe, workspace)
    fill = partial(encoding.fill, on_progress=on_progress or _ignore_progress)
    try:
        built = reuse_or_build(workspace.store, encoding.address, encoding.expected, fill, examine=encoding.examine)
    except (AccessError, SourceDownError):
        raise
    except SourceError:  # the build fails until the files change
        forget_chunks(workspace.store, f"{corpus.config.name}/{partition.key}")
        encoding.require_as_pinned()  # a file that is being written can look invalid
        raise
    if encoding.is_in_chunks:
        forget_chunks(workspace.store, f"{corpus.config.name}/{partition.key}")
    return replace(built, lengths=encoding.checked_by_tasks.all_lengths) if encoding.checked_by_tasks else built


def _ignore_progress(_consumed: int) -> None:
    """Ignore progress."""


def _report(address: str, files: Sequence[Readable], tally: RowTotals) -> None:
    """Log the rows that were left out, and warn if the partition is empty."""
    skipped = tally.skipped(files)
    for name, found in list(skipped.items())[:_REPORTED]:
        logger.warning("%s: %s: %s of %s left out; %s", address, name, f"{found['rows']:,}", counted(found["of"], "row"), found["first"])
    if len(skipped) > _REPORTED:
        rows = sum(rows_of_file["rows"] for rows_of_file in list(skipped.values())[_REPORTED:])
        logger.warning("%s: %s of %s left out", address, counted(rows, "row"), counted(len(skipped) - _REPORTED, "further file"))
    if tally.counts["tokens"] == 0:
        documents, removed = (tally.counts[name] for name in ("documents", "removed"))
        why = "documents were removed" if removed and not documents else "documents have no text" if documents else "files have no rows"
        logger.warning("%s is published as empty: its %s (%s)", address, why, listed([file.name for file in files]))


def _totals(manifest: Manifest) -> Totals:
    return {name: manifest.counts[name] for name in ("documents", "tokens")}


TOKENIZE = Step(
    name=STEP,
    scope=Scope.PARTITION,
    code_version=CODE_VERSION,
    input=RAW.name,
    description="The token ids of every document, one row per document; `datasets.load_from_disk` opens it.",
    kinds=frozenset({"arrow", "huggingface"}),
    expected=expected_tokenized,
    build=build_tokenized,
    shared_inputs=shared_inputs,
    checks={
        SOUND: f"{FILES_AND_IDS}; a sample of the documents decodes to the original texts, which encode to the same ids; the numbers of "
        "documents and tokens are those counted during writing.",
        WITHIN_LIMITS: "The share of documents whose text occurs earlier is within `limits.duplicates`, and the share of rows left out is "
        "within `limits.invalid`.",
    },
    facts=token_facts,
    columns={
        "input_ids": Column(type="list of uint16 or int32", description="The token ids of the document."),
        "length": Column(type=COLUMNS["length"], description="Number of its tokens, with the EOS."),
        "hash": Column(type=COLUMNS["hash"], description="XXH3-64 of its text."),
        "file": Column(type=COLUMNS["file"], description="Number of its file in the partition, counted from 0."),
        "row": Column(type=COLUMNS["row"], description="Number of its row in that file, counted from 0."),
        TRAINED: Column(type="list of bool", description="Whether each token is trained on.", only_conversations=True),
    },
    totals=_totals,
    lengths=row_lengths,
    chunks=token_chunks,
    is_slow=True,
)
