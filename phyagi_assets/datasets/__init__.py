"""What training code imports: torch datasets over what the pipeline has built.

It costs torch and numpy, no more: neither Dagster nor ``transformers`` nor the ``datasets`` package is imported here.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as problem:
    raise ImportError("phyagi_assets.datasets needs torch, which is not installed: pip install 'phyagi-assets[train]'") from problem

from phyagi_assets.datasets.mixture import LoadedMixture, MixedDataset, load_mixture
from phyagi_assets.datasets.train.lm.lm_dataset import LMDataset

__all__ = ["LMDataset", "LoadedMixture", "MixedDataset", "load_mixture"]
