"""Mixtures whose tokens are all different, without the pipeline."""

from pathlib import Path
from typing import Any

from phyagi_assets.datasets import LoadedMixture, load_mixture
from tests.order.plans import Samples, partitions, plan_of
from tests.reading.mixtures import SAMPLES, write_mixture


def mixture_of(folder: Path, samples: Samples = SAMPLES, *, splits: tuple[str, ...] = ("train",), **keys: Any) -> LoadedMixture:
    """Return a mixture of corpora, given their numbers of samples in each split; by default, it has 41 samples of 4 tokens."""
    return load_mixture(write_mixture(folder, plan_of(partitions(samples, splits=splits), **keys)))
