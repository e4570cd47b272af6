"""Torch datasets over the caches and mixtures that the pipeline builds; training code imports this package.

It needs only torch and NumPy: importing it does not import Dagster, ``transformers`` or the ``datasets`` package.
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as problem:
    if problem.name != "torch":  # torch is installed, but one of its dependencies is missing
        raise
    raise ImportError("phyagi_assets.datasets needs torch, which is not installed: pip install 'phyagi-assets[train]'") from problem

from phyagi_assets.datasets.concat_dataset import (
    SequentialWeightedConcatDataset,
    WeightedConcatChatDataset,
    WeightedConcatDataset,
    WeightedConcatIterableDataset,
)
from phyagi_assets.datasets.dataset_provider import DatasetProvider, DatasetProviderConfig
from phyagi_assets.datasets.document_collator import DocumentCollator
from phyagi_assets.datasets.log import show_messages
from phyagi_assets.datasets.loss_ledger import LossLedger
from phyagi_assets.datasets.mixed_dataset import MixedDataset
from phyagi_assets.datasets.mixture import LoadedMixture, load_mixture
from phyagi_assets.datasets.mixture_loader import MixtureLoader
from phyagi_assets.datasets.mixture_stream import MixtureStream
from phyagi_assets.datasets.registry import get_data_collator, get_dataset, get_dataset_provider
from phyagi_assets.datasets.rl.chat import ChatDataset, ChatDatasetProvider, ChatDatasetProviderConfig
from phyagi_assets.datasets.shared_memory_utils import process_dataset_to_memory, save_memory_dataset, save_numpy_dataset
from phyagi_assets.datasets.train.lm.lm_dataset import LMDataset
from phyagi_assets.datasets.train.lm.lm_dataset_provider import LMDatasetProvider, LMProviderConfig
from phyagi_assets.datasets.train.stream_lm import StreamLMDataset, StreamLMDatasetProvider, StreamLMDatasetProviderConfig
from phyagi_assets.datasets.train.train_data_collator import LMDataCollator
from phyagi_assets.utils.config import load_config

__all__ = [
    "ChatDataset",
    "ChatDatasetProvider",
    "ChatDatasetProviderConfig",
    "DatasetProvider",
    "DatasetProviderConfig",
    "DocumentCollator",
    "LMDataCollator",
    "LMDataset",
    "LMDatasetProvider",
    "LMProviderConfig",
    "LoadedMixture",
    "LossLedger",
    "MixedDataset",
    "MixtureLoader",
    "MixtureStream",
    "SequentialWeightedConcatDataset",
    "StreamLMDataset",
    "StreamLMDatasetProvider",
    "StreamLMDatasetProviderConfig",
    "WeightedConcatChatDataset",
    "WeightedConcatDataset",
    "WeightedConcatIterableDataset",
    "get_data_collator",
    "get_dataset",
    "get_dataset_provider",
    "load_config",
    "load_mixture",
    "process_dataset_to_memory",
    "save_memory_dataset",
    "save_numpy_dataset",
]

show_messages(__name__)
