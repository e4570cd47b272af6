"""numpy_cache: the token arrays of a partition, one file per split, that training code maps into memory.

A document's split is a function of its text alone, unless its file belongs to a split of the source. So the split never changes as the
corpus grows, and equal texts never end up in different splits. Each array comes with the ends of its documents, their origins (file and
row) and the hashes of their texts, which lead from any token to its source.
"""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.schema import SPLITS
from phyagi_assets.errors import StoreError
from phyagi_assets.execution.prefetch import prefetch
from phyagi_assets.execution.progress import OnProgress
from phyagi_assets.formats.cache_folder import SplitWriter, add_tokenizer, array_path, decode, open_mask, write_config
from phyagi_assets.formats.npy import open_array
from phyagi_assets.formats.token_rows import TRAINED, row_batches
from phyagi_assets.formats.trained_bits import mark_trained, mask_between, shown_share
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.checks.arrays import check_arrays
from phyagi_assets.steps.checks.check import FILES_AND_IDS, SOUND
from phyagi_assets.steps.facts import Facts, Rows, Text
from phyagi_assets.steps.lengths import array_lengths, length_facts
from phyagi_assets.steps.step import Built, Scope, Step, Totals, Workspace, amounts, built_facts, require, reuse_or_build
from phyagi_assets.steps.tokenize import TOKENIZE, tokenized_address
from phyagi_assets.store.base import Artifact
from phyagi_assets.store.disk import link
from phyagi_assets.store.manifest import MANIFEST, Manifest
from phyagi_assets.tokenizers.prepare import prepare_tokenizer

STAGE = "numpy_cache"
CODE_VERSION = "2"
_PREVIEWED = 64
"""Number of tokens at the start of a cache that are shown as text."""


def cache_address(corpus: Corpus, partition: str) -> str:
    """Return the address of a partition's cache."""
    return f"{corpus.config.name}/{STAGE}/{partition}"


def expected_cache(corpus: Corpus, partition: Partition, tokenized_fingerprint: str) -> Manifest:
    """Return the expected manifest of a partition's cache, given the fingerprint of its tokenized artifact."""
    settings: dict[str, Any] = {"splits": corpus.config.splits}
    if partition.splits:
        settings["source_splits"] = partition.splits
    inputs = {"tokenized_arrow": tokenized_fingerprint}
    return Manifest.expected(STAGE, code_version=CODE_VERSION, inputs=inputs, settings=settings)


def build_cache(corpus: Corpus, partition: Partition, workspace: Workspace, on_progress: OnProgress | None = None) -> Built:
    """Write a partition's token arrays.

    Raises
    ------
    MissingArtifactsError
        The partition's tokenized artifact does not exist.
    StoreError
        The partition's tokenized artifact is damaged.
    """
    del on_progress  # as fast as the disk, so progress is not worth reporting
    address = cache_address(corpus, partition.key)
    tokenized = require(workspace.store, tokenized_address(corpus, partition.key), needed_by=address)
    wanted = expected_cache(corpus, partition, tokenized.fingerprint)

    def fill(folder: Path) -> Manifest:
        damage = list(tokenized.damage(checksums=True))
        if "engine" not in tokenized.manifest.produced_with or not {"dtype", "files", "tokenizer"} <= tokenized.manifest.details.keys():
            damage.append(f"{tokenized.place}/{MANIFEST}: is not what was written")
        if damage:
            remedy = "phyagi-assets check --discard removes it, and materialize builds it again"
            raise StoreError(f"{'; '.join(damage)}; {remedy}")
        counts = _write_splits(folder, tokenized, corpus.config.splits, _fixed_splits(partition))
        add_tokenizer(prepare_tokenizer(corpus, workspace.data, workspace.store).artifact.folder(), folder, link)
        details = {
            **tokenized.manifest.details,
            "tokenizer_fingerprint": tokenized.manifest.inputs["tokenizer"],
            "engine": tokenized.manifest.produced_with["engine"],
        }
        settings = {
            "dtype": details["dtype"],
            "append_eos": corpus.config.append_eos,
            "splits": corpus.config.splits,
            "tokenizer": details["tokenizer"],
        }
        write_config(folder, settings)
        return replace(wanted, counts=counts, details=details, produced_with={"numpy": np.__version__})

    return reuse_or_build(workspace.store, address, wanted, fill, examine=lambda artifact: check_arrays(artifact, tokenized.manifest))


def split_of(hashes: npt.NDArray[np.uint64], shares: Mapping[Any, float]) -> npt.NDArray[np.int8]:
    """Return the split of each document, as an index into `SPLITS`.

    The hashes are uniform over 64 bits. The lowest ones go to validation, the next ones to test, and the rest to train.

    Parameters
    ----------
    hashes
        Hashes of the documents' texts, shape ``(documents,)``.
    shares
        Share of the documents that each split other than train gets, from 0 to 1, by name of the split.

    Returns
    -------
    numpy.ndarray
        Index into `SPLITS` of each document, shape ``(documents,)``.
    """
    place = hashes.astype(np.float64) / 2.0**64
    split = np.full(len(hashes), SPLITS.index("train"), dtype=np.int8)
    start = 0.0
    for name in SPLITS[1:]:
        end = start + shares.get(name, 0.0)
        split[(place >= start) & (place < end)] = SPLITS.index(name)
        start = end
    return split


def _fixed_splits(partition: Partition) -> npt.NDArray[np.int8]:
    """Return the split that the source assigns to each file, as an index into `SPLITS`; -1 for a file without one."""
    return np.array([-1 if file.split is None else SPLITS.index(file.split) for file in partition.files], dtype=np.int8)


def _write_splits(folder: Path, tokenized: Artifact, shares: Mapping[Any, float], fixed: npt.NDArray[np.int8]) -> dict[str, Any]:
    dtype = np.dtype(tokenized.manifest.details["dtype"])
    writers: dict[int, SplitWriter] = {}
    with ExitStack() as open_files:
        batches = open_files.enter_context(closing(prefetch(row_batches(tokenized), size=lambda batch: batch.nbytes)))
        for batch in batches:
            ids = batch.column("input_ids").flatten().to_numpy()
            lengths, hashes, *origins = (batch.column(name).to_numpy() for name in ("length", "hash", "file", "row"))
            trained = batch.column(TRAINED).flatten().to_numpy(zero_copy_only=False) if TRAINED in batch.schema.names else None
            split = split_of(hashes, shares)
            if (fixed >= 0).any():
                of_file = fixed[origins[0]]
                split = np.where(of_file >= 0, of_file, split)
            for code in np.unique(split[lengths > 0]).tolist():
                if code not in writers:
                    writers[code] = open_files.enter_context(SplitWriter(folder, SPLITS[code], dtype, has_mask=trained is not None))
                kept = (split == code) & (lengths > 0)
                of_split = slice(None) if kept.sum() == (lengths > 0).sum() else np.repeat(kept, lengths)
                own = None if trained is None else trained[of_split]
                of_documents = np.stack([column[kept] for column in origins], axis=1)
                writers[code].append(ids[of_split], lengths[kept], of_documents, hashes[kept], own)
    return {SPLITS[code]: writers[code].counts for code in sorted(writers)}


def _expected(corpus: Corpus, partition: Partition, _workspace: Workspace, inputs: Mapping[str, str]) -> Manifest:
    return expected_cache(corpus, partition, inputs[TOKENIZE.name])


def _facts(built: Built) -> Facts:
    manifest = built.artifact.manifest
    sizes = {split: manifest.files[array_path(Path(), split).name].bytes for split in manifest.counts}
    documents, tokens = (sum(of[count] for of in manifest.counts.values()) for count in ("documents", "tokens"))
    headline = {**amounts(documents, tokens, sum(sizes.values()), built.seconds), **_totals(manifest)}
    if not sizes:  # the partition is empty
        return {**headline, **built_facts(built)}
    return {
        **headline,
        **length_facts(array_lengths(built.artifact)),
        "splits": Rows(rows=[{"split": split, **of, "bytes": sizes[split]} for split, of in manifest.counts.items()]),
        **_trained(manifest),
        "first tokens": Text(text=_preview(built.artifact.folder(), min(sizes, key=SPLITS.index))),
        "dtype": manifest.details["dtype"],
        "engine": manifest.details["engine"],
        **built_facts(built),
    }


def _totals(manifest: Manifest) -> Totals:
    tokens = {split: of["tokens"] for split, of in manifest.counts.items()}
    held_out = {f"{split} tokens": count for split, count in tokens.items() if split != "train"}
    return {"documents": sum(of["documents"] for of in manifest.counts.values()), "tokens": sum(tokens.values()), **held_out}


def _trained(manifest: Manifest) -> Facts:
    """Return the share of the tokens that are trained on, for conversations."""
    counts = manifest.counts.values()
    masked = [of["trained"] for of in counts if "trained" in of]
    return {"trained on": shown_share(sum(masked), sum(of["tokens"] for of in counts))} if masked else {}


def _preview(cache: Path, split: str) -> str:
    """Return the text of the first tokens of a split; of conversations, with the parts marked that are trained on, and more of them."""
    ids, mask = open_array(array_path(cache, split), mapped=True), open_mask(cache, split)
    ids = ids[: _PREVIEWED if mask is None else 4 * _PREVIEWED]
    trained = None if mask is None else mask_between(mask, 0, len(ids))
    return mark_trained(ids, trained, lambda piece: decode(cache, piece))


CACHE = Step(
    name=STAGE,
    scope=Scope.PARTITION,
    code_version=CODE_VERSION,
    input=TOKENIZE.name,
    description="The token arrays of every split, for training code to map into memory.",
    kinds=frozenset({"numpy"}),
    expected=_expected,
    build=build_cache,
    checks={
        SOUND: f"{FILES_AND_IDS}; the ends of the documents increase, and close where their arrays end; over all splits, there are "
        "as many documents and tokens as were tokenized.",
    },
    facts=_facts,
    totals=_totals,
    lengths=array_lengths,
)
