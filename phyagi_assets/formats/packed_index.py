"""Indices of packed samples, which list the parts of a partition's token arrays that each sample consists of.

::

    train.starts.npy       first token of each part, in the order of the samples
    train.lengths.npy      number of tokens of each part
    train.samples.npy      first part of each sample, and the number of parts
    manifest.json          fingerprint of the cache, seq_len, version of the algorithm

An index belongs to one cache and one length of samples. It takes at most a byte per token.
"""

from pathlib import Path
from typing import Any

import numpy.typing as npt

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.npy import REMEDY
from phyagi_assets.formats.plan import PlannedIndex
from phyagi_assets.store.addresses import Address, Version
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.manifest import Manifest

STEP = "packed_index"
CODE_VERSION = "1"
"""Version of the algorithm. Another version packs the same documents differently."""
STARTS, LENGTHS, SAMPLES = ".starts.npy", ".lengths.npy", ".samples.npy"
"""Endings of the names of a split's arrays."""


def index_address(corpus: str, partition: str) -> Address:
    """Return the address of the indices of a partition, with one version per cache and length of samples."""
    return Address(f"{corpus}/{STEP}/{partition}")


def expected_index(cache: str, seq_len: int) -> Manifest:
    """Return the expected manifest of an index, given the fingerprint of the cache and the tokens per sample."""
    settings = {"seq_len": seq_len, "packing": "best_fit"}
    return Manifest.expected(STEP, code_version=CODE_VERSION, inputs={"numpy_cache": cache}, settings=settings)


def index_version(corpus: str, partition: str, cache: str, seq_len: int) -> Version:
    """Return the name of the index of a partition, given the fingerprint of its cache and the tokens per sample."""
    return Version(index_address(corpus, partition), expected_index(cache, seq_len).fingerprint)


def planned_index(artifact: Artifact, path: str) -> PlannedIndex:
    """Return the record of an index in a plan, given its path relative to the folder of the plan."""
    manifest = artifact.manifest
    samples = {split: counts["samples"] for split, counts in manifest.counts.items()}
    return PlannedIndex(path=path, fingerprint=artifact.fingerprint, samples=samples, merged=bool(manifest.details["merged"]))


def require_index(
    starts: npt.NDArray[Any], lengths: npt.NDArray[Any], ends: npt.NDArray[Any], samples: int, tokens: int, path: Path
) -> None:
    """Check that the arrays of an index fit each other, the number of samples and the token array."""
    if any(array.ndim != 1 or array.dtype.kind != "u" for array in (starts, lengths, ends)):
        raise StoreError(f"{path}: is not an index of packed samples; {REMEDY}")
    if len(starts) != len(lengths) or len(ends) != samples + 1 or int(ends[-1]) != len(starts):
        raise StoreError(f"{path}: its arrays do not fit each other or the plan; {REMEDY}")
    if len(starts) and int(starts[-1]) + int(lengths[-1]) > tokens:
        raise StoreError(f"{path}: was packed from another token array; {REMEDY}")
