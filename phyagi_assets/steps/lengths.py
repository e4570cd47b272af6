"""Lengths of documents, of artifacts that hold them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phyagi_assets.declare.schema import SPLITS
from phyagi_assets.formats.npy import open_array
from phyagi_assets.formats.token_rows import row_batches
from phyagi_assets.formatting import short
from phyagi_assets.steps.facts import Bars, Facts, Rows
from phyagi_assets.store.local import Artifact

_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """Tokens per document, including the EOS, over the documents that have any."""

    documents: int
    mean: float
    quantiles: dict[str, int]
    """From the shortest to the longest document."""
    histogram: list[tuple[int, int]]
    """Lower bound of a bin (a power of two) and the documents in it, from the first bin with any to the last."""

    @classmethod
    def of(cls, lengths: npt.NDArray[np.int64]) -> "Lengths | None":
        """Describe lengths; None where there is no document."""
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


def row_lengths(artifact: Artifact) -> npt.NDArray[np.int64]:
    """Return the tokens of each document of a tokenized artifact, 0 for an empty document."""
    return np.concatenate([_NONE, *(batch.column("length").to_numpy() for batch in row_batches(artifact, ["length"]))])


def array_lengths(artifact: Artifact) -> npt.NDArray[np.int64]:
    """Return the tokens of each document of a cache, split after split."""
    ends = (artifact.path / f"{split}.documents.npy" for split in SPLITS)
    return np.concatenate([_NONE, *(np.diff(open_array(path), prepend=0) for path in ends if path.is_file())])


def length_facts(lengths: npt.NDArray[np.int64]) -> Facts:
    """Return what a person is shown of the lengths of documents."""
    found = Lengths.of(lengths)
    if found is None:
        return {}
    return {
        "tokens per document": Rows(rows=[{**found.quantiles, "mean": round(found.mean, 1)}]),
        "tokens per document, plotted": Bars(
            title="documents by their number of tokens", bars=[(f"≥{short(low)}", count) for low, count in found.histogram]
        ),
    }
