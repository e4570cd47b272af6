"""The token arrays that every contender reads: two corpora with documents of many lengths."""

from pathlib import Path

import numpy as np

CORPORA = ("web", "books")
WEIGHTS = (3, 1)
"""Number of passes over each corpus in an epoch; also their shares of the samples, because both have the same size."""
VOCABULARY = 50_257
_MEAN_LENGTH = 700


def write_inputs(folder: Path, tokens: int) -> None:
    """Write ``<corpus>.npy``, ids of uint16, and ``<corpus>.ends.npy``, where each document ends, unless they are there.

    Parameters
    ----------
    tokens
        Number of tokens of each corpus.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for seed, corpus in enumerate(CORPORA):
        path = folder / f"{corpus}.npy"
        if path.exists() and len(np.load(path, mmap_mode="r")) == tokens:
            continue
        draw = np.random.default_rng(seed)
        lengths = np.ceil(draw.lognormal(np.log(_MEAN_LENGTH) - 0.5, 1.0, 2 * tokens // _MEAN_LENGTH)).astype(np.int64) + 1
        ends = np.cumsum(lengths)
        ends = np.append(ends[ends < tokens], tokens)
        ids = draw.integers(0, VOCABULARY - 1, tokens, dtype=np.uint16)
        ids[ends - 1] = VOCABULARY - 1
        np.save(folder / f"{corpus}.ends.npy", ends)
        np.save(path, ids)
