"""How long documents are, of any artifact that holds them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phyagi_assets.declare.schema import SPLITS
from phyagi_assets.formats.npy import open_array
from phyagi_assets.formats.token_rows import row_batches
from phyagi_assets.steps.tokenize import STAGE as TOKENIZED
from phyagi_assets.store.local import Artifact


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """Tokens a document, EOS included, over the documents that have any."""

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


def document_lengths(artifact: Artifact) -> npt.NDArray[np.int64]:
    """Tokens of each document in a tokenized artifact or a cache, split after split; an empty partition has none."""
    none = np.zeros(0, np.int64)
    if artifact.manifest.step == TOKENIZED:
        return np.concatenate([none, *(batch.column("length").to_numpy() for batch in row_batches(artifact, ["length"]))])
    ends = (artifact.path / f"{split}.documents.npy" for split in SPLITS)
    return np.concatenate([none, *(np.diff(open_array(path), prepend=0) for path in ends if path.is_file())])
