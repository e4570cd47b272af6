"""numpy_cache: the token arrays of a partition, one file per split, that training code maps into memory.

A document's split is a function of its text alone, unless its file belongs to a split of the source. So the split never changes as the
corpus grows, and equal texts never end up in different splits. Each array comes with the ends of its documents, their origins (file and
row) and the hashes of their texts, which lead from any token to its source. A partition of several chunks has a piece of each array per
chunk, which tasks write (`phyagi_assets.steps.cache_chunks`).
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.splits import SPLITS
from phyagi_assets.errors import StoreError
from phyagi_assets.execution.executor import OnProgress
from phyagi_assets.execution.ordered import map_in_order
from phyagi_assets.formats.cache_folder import PIECES, SplitArrays, SplitWriter, array_files, write_config
from phyagi_assets.formats.cache_tokenizer import SAVED, add_tokenizer, decode
from phyagi_assets.formats.pieces import piece_path
from phyagi_assets.formats.token_rows import files_of_rows, row_batches
from phyagi_assets.formats.trained_bits import mark_trained, shown_share
from phyagi_assets.processors import threads
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.cache_chunks import PREVIEWED, CacheChunk, FirstIds, PiecesOfChunk, Splits, damaged, write_splits
from phyagi_assets.steps.checks.arrays import CheckedArrays, array_checks, check_arrays
from phyagi_assets.steps.checks.check import FILES_AND_IDS, SOUND, Check
from phyagi_assets.steps.chunk_results import ChunkFolder, forget_chunks
from phyagi_assets.steps.facts import Facts, Rows, Text
from phyagi_assets.steps.lengths import array_lengths, length_facts
from phyagi_assets.steps.step import Built, Scope, Step, Totals, Workspace, amounts, built_facts, require, reuse_or_build
from phyagi_assets.steps.tokenize import TOKENIZE
from phyagi_assets.steps.tokenized_version import tokenized_address
from phyagi_assets.store.artifact import Artifact, Assembled, FinishedFile
from phyagi_assets.store.disk import link
from phyagi_assets.store.manifest import MANIFEST, Manifest
from phyagi_assets.tokenizers.prepare import prepare_tokenizer

STEP = "numpy_cache"
CODE_VERSION = "2"
_SHOWN = 64
"""Number of tokens at the start of a cache that are shown as text. Conversations begin with much that is not trained on, so all reported
ids of theirs are shown."""


def cache_address(corpus: Corpus, partition: str) -> str:
    """Return the address of a partition's cache."""
    return f"{corpus.config.name}/{STEP}/{partition}"


def expected_cache(corpus: Corpus, partition: Partition, _workspace: Workspace, inputs: Mapping[str, str]) -> Manifest:
    """Return the expected manifest of a partition's cache, given the fingerprint of its tokenized artifact by the name of its step."""
    settings: dict[str, Any] = {"splits": corpus.config.splits}
    if partition.splits:
        settings["source_splits"] = partition.splits
    return Manifest.expected(STEP, code_version=CODE_VERSION, inputs=inputs, settings=settings)


def build_cache(corpus: Corpus, partition: Partition, workspace: Workspace, on_progress: OnProgress | None = None) -> Built:
    """Write a partition's token arrays.

    Raises
    ------
    MissingArtifactsError
        The partition's tokenized artifact does not exist.
    StoreError
        The partition's tokenized artifact is damaged.
    """
    del on_progress  # the step is as fast as the disk
    address = cache_address(corpus, partition.key)
    tokenized = require(workspace.store, tokenized_address(corpus, partition.key), needed_by=address)
    expected = expected_cache(corpus, partition, workspace, {TOKENIZE.name: tokenized.fingerprint})

    chunks = _chunks(corpus, partition, expected, tokenized, workspace)
    written: list[PiecesOfChunk] = []

    def fill(folder: Path) -> Manifest | Assembled:
        _require_intact(tokenized, checksums=not chunks)  # the task of a chunk compares the checksum of its rows
        add_tokenizer(prepare_tokenizer(corpus, workspace.identities, workspace.store).artifact.folder(), folder, link)
        made_from = tokenized.manifest
        details = {
            **made_from.details,
            "tokenizer_fingerprint": made_from.inputs["tokenizer"],
            "engine": made_from.produced_with["engine"],
        }
        manifest = replace(expected, details=details, produced_with={"numpy": np.__version__})
        settings = {name: manifest.details[name] for name in ("dtype", "tokenizer")}
        write_config(folder, {**settings, "append_eos": corpus.config.append_eos, "splits": corpus.config.splits})
        if chunks:
            results = ChunkFolder(workspace.store, chunks[0].partition, expected.fingerprint)
            with closing(map_in_order(lambda chunk: chunk.pieces(workspace, results), iter(chunks), threads=threads())) as pieces:
                written.extend(pieces)
            return _assembled(manifest, written)
        counts = write_splits(
            row_batches(tokenized),
            lambda split, has_mask: SplitWriter(folder, split, manifest.details["dtype"], has_mask=has_mask),
            _splits(corpus, partition),
        )
        return replace(manifest, counts=counts)

    def examine(artifact: Artifact) -> list[Check]:
        if not written:
            return check_arrays(artifact, tokenized.manifest)
        found = sum((chunk.checked for chunk in written), CheckedArrays())  # the tasks of the chunks have read the arrays
        return array_checks(found, artifact.manifest, tokenized.manifest)

    built = reuse_or_build(workspace.store, address, expected, fill, examine=examine)
    if chunks:
        forget_chunks(workspace.store, chunks[0].partition)
    return replace(built, preview=_preview_of_pieces(built.artifact, written)) if written else built


def _require_intact(tokenized: Artifact, *, checksums: bool) -> None:
    """Raise a `StoreError` if a file of a tokenized artifact is damaged, or its manifest lacks an entry that a cache needs."""
    # Only the files to read are compared with their checksums. Fetching a file from a bucket verifies it.
    damage = list(tokenized.manifest.damage(tokenized.folder(), checksums=True) if checksums else tokenized.damage())
    if "engine" not in tokenized.manifest.produced_with or not {"dtype", "files", "tokenizer"} <= tokenized.manifest.details.keys():
        damage.append(f"{tokenized.place}/{MANIFEST}: is not what was written")
    if damage:
        raise StoreError(damaged(damage))


def cache_chunks_to_do(corpus: Corpus, partition: Partition, workspace: Workspace) -> Sequence[CacheChunk]:
    """Return the chunks of a large partition whose pieces have to be written; empty if it is small or already built."""
    tokenized = workspace.store.open(tokenized_address(corpus, partition.key), intact=True)
    if tokenized is None:
        return ()
    expected = expected_cache(corpus, partition, workspace, {TOKENIZE.name: tokenized.fingerprint})
    if workspace.store.find(cache_address(corpus, partition.key), expected.fingerprint):
        return ()
    return [chunk for chunk in _chunks(corpus, partition, expected, tokenized, workspace) if not chunk.is_written(workspace)]


def _chunks(corpus: Corpus, partition: Partition, expected: Manifest, tokenized: Artifact, workspace: Workspace) -> Sequence[CacheChunk]:
    """Return the chunks from which the pieces of a cache are made; empty if each array is one file."""
    published = workspace.store.open(cache_address(corpus, partition.key))
    if published and published.fingerprint == expected.fingerprint and PIECES not in published.manifest.details:
        return ()  # plans refer to its files
    files = files_of_rows(tokenized)
    if len(files) < 2:
        return ()
    name, version, splits = f"{corpus.config.name}/{partition.key}", tokenized.version, _splits(corpus, partition)
    return [
        CacheChunk(partition=name, fingerprint=expected.fingerprint, tokenized=version, file=file, number=number, splits=splits)
        for number, file in enumerate(files)
    ]


def _assembled(manifest: Manifest, written: Sequence[PiecesOfChunk]) -> Assembled:
    """Return the content of a cache in pieces, except for the tokenizer and the configuration."""
    finished: dict[str, FinishedFile] = {}
    pieces: dict[str, list[dict[str, int]]] = {split: [] for split in SPLITS}
    for chunk in written:
        finished |= {piece_path(name, chunk.number): file for name, file in chunk.files.items()}
        for split, counts_of_split in chunk.counts.items():
            pieces[split].append({"number": chunk.number, **counts_of_split})
    pieces = {split: own for split, own in pieces.items() if own}
    counts = {split: {count: sum(piece[count] for piece in own) for count in own[0] if count != "number"} for split, own in pieces.items()}
    return Assembled(manifest=replace(manifest, counts=counts, details={**manifest.details, PIECES: pieces}), finished=finished)


def _preview_of_pieces(artifact: Artifact, written: Sequence[PiecesOfChunk]) -> str | None:
    """Return the text of the first tokens of a cache, as reported by the tasks."""
    first = next((chunk.first[split] for split in SPLITS for chunk in written if split in chunk.first), None)
    return _text(artifact.folder(SAVED), first) if first else None


def _splits(corpus: Corpus, partition: Partition) -> Splits:
    fixed = [-1 if file.split is None else SPLITS.index(file.split) for file in partition.files]
    return Splits(shares=corpus.config.splits, fixed=np.array(fixed, dtype=np.int8))


def _facts(built: Built) -> Facts:
    manifest = built.artifact.manifest
    sizes = {split: sum(manifest.files[name].bytes for name in array_files(manifest, split)) for split in manifest.counts}
    totals = _totals(manifest)
    headline = {**amounts(totals["documents"], totals["tokens"], sum(sizes.values()), built.seconds), **totals}
    if not sizes:  # the partition is empty
        return {**headline, **built_facts(built)}
    return {
        **headline,
        **length_facts(array_lengths(built.artifact)),
        "splits": Rows(rows=[{"split": split, **counts, "bytes": sizes[split]} for split, counts in manifest.counts.items()]),
        **trained_facts([manifest]),
        "first tokens": Text(text=_preview(built.artifact) if built.preview is None else built.preview),
        "dtype": manifest.details["dtype"],
        "engine": manifest.details["engine"],
        **built_facts(built),
    }


def _totals(manifest: Manifest) -> Totals:
    tokens = {split: counts["tokens"] for split, counts in manifest.counts.items()}
    held_out = {f"{split} tokens": count for split, count in tokens.items() if split != "train"}
    return {"documents": sum(counts["documents"] for counts in manifest.counts.values()), "tokens": sum(tokens.values()), **held_out}


def trained_facts(caches: Iterable[Manifest]) -> dict[str, str]:
    """Return the share of the tokens of caches that are trained on, for conversations."""
    counts = [split_counts for manifest in caches for split_counts in manifest.counts.values()]
    masked = [split_counts["trained"] for split_counts in counts if "trained" in split_counts]
    return {"trained on": shown_share(sum(masked), sum(split_counts["tokens"] for split_counts in counts))} if masked else {}


def _preview(artifact: Artifact) -> str:
    """Return the text of the first tokens of a cache."""
    folder, split = artifact.folder(), min(artifact.manifest.counts, key=SPLITS.index)
    arrays = SplitArrays.of(folder, split)
    ids = arrays.ids[:PREVIEWED]
    return _text(folder, FirstIds.of(ids, None if arrays.mask is None else arrays.mask.between(0, len(ids))))


def _text(cache: Path, first: FirstIds) -> str:
    """Return the text of the first ids of a split; for conversations, with marks around the parts that are trained on."""
    if first.trained is None:
        return decode(cache, np.array(first.ids[:_SHOWN]))
    return mark_trained(np.array(first.ids), np.array(first.trained), lambda piece: decode(cache, piece))


CACHE = Step(
    name=STEP,
    scope=Scope.PARTITION,
    code_version=CODE_VERSION,
    input=TOKENIZE.name,
    description="The token arrays of every split, for training code to map into memory.",
    kinds=frozenset({"numpy"}),
    expected=expected_cache,
    build=build_cache,
    checks={
        SOUND: f"{FILES_AND_IDS}; the ends of the documents increase up to the end of the array; all splits together have as many "
        "documents and tokens as were tokenized.",
    },
    facts=_facts,
    totals=_totals,
    lengths=array_lengths,
    chunks=cache_chunks_to_do,
)
