"""Lengths of the documents of an artifact, in tokens."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phyagi_assets.declare.splits import SPLITS
from phyagi_assets.formats.cache_folder import DOCUMENTS, array_files
from phyagi_assets.formats.npy import open_array
from phyagi_assets.formats.token_rows import row_batches
from phyagi_assets.formatting import short
from phyagi_assets.steps.facts import Bars, Facts, Rows
from phyagi_assets.store.artifact import Artifact

_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """Distribution of document lengths, in tokens including the EOS; empty documents are not counted."""

    documents: int
    """Number of documents that have tokens."""
    mean: float
    """Mean number of tokens per document."""
    quantiles: dict[str, int]
    """Tokens of the shortest document, of the documents at some quantiles, and of the longest document, by label."""
    histogram: list[tuple[int, int]]
    """Lower bound (a power of two) and number of documents of each bin, from the first to the last bin that is not empty."""

    @classmethod
    def of(cls, lengths: npt.NDArray[np.int64]) -> "Lengths | None":
        """Compute the distribution of lengths; None if no document has tokens."""
        lengths = lengths[lengths > 0]
        if not len(lengths):
            return None
        names = {"shortest": 0.0, "10 %": 0.1, "median": 0.5, "90 %": 0.9, "longest": 1.0}
        values = np.quantile(lengths, list(names.values()), method="nearest")
        bins = np.log2(lengths).astype(np.int64)
        counts = np.bincount(bins)[bins.min() :]
        return cls(
            documents=len(lengths),
            mean=float(lengths.mean()),
            quantiles={name: int(value) for name, value in zip(names, values, strict=True)},
            histogram=[(1 << int(power), int(count)) for power, count in enumerate(counts, bins.min())],
        )

    def __str__(self) -> str:
        """Return the quantiles and the mean."""
        return ", ".join([*(f"{name} {value:,}" for name, value in self.quantiles.items()), f"mean {self.mean:,.1f}"])


def row_lengths(artifact: Artifact) -> npt.NDArray[np.int64]:
    """Return the number of tokens of each document of a tokenized artifact, 0 for an empty document."""
    return np.concatenate([_NONE, *(batch.column("length").to_numpy() for batch in row_batches(artifact, ["length"]))])


def array_lengths(artifact: Artifact) -> npt.NDArray[np.int64]:
    """Return the number of tokens of each document of a cache, one split after the other."""
    folder = artifact.folder(*(name for name in artifact.manifest.files if name.endswith(DOCUMENTS)))
    names = (name for split in SPLITS if split in artifact.manifest.counts for name in array_files(artifact.manifest, split, DOCUMENTS))
    return np.concatenate([_NONE, *(np.diff(open_array(folder / name), prepend=0) for name in names if (folder / name).is_file())])


def length_facts(lengths: npt.NDArray[np.int64]) -> Facts:
    """Return the facts about the lengths of documents; none if no document has tokens."""
    found = Lengths.of(lengths)
    if found is None:
        return {}
    return {
        "tokens per document": Rows(rows=[{**found.quantiles, "mean": round(found.mean, 1)}]),
        "tokens per document, plotted": Bars(
            title="documents by their number of tokens", bars=[(f"≥{short(low)}", count) for low, count in found.histogram]
        ),
    }
