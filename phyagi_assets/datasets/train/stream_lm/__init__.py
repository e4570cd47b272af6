"""Streams for language modelling: windows of one token array that ranks and loader workers divide."""

from phyagi_assets.datasets.train.stream_lm.stream_lm_dataset import StreamLMDataset
from phyagi_assets.datasets.train.stream_lm.stream_lm_dataset_provider import StreamLMDatasetProvider, StreamLMDatasetProviderConfig

__all__ = ["StreamLMDataset", "StreamLMDatasetProvider", "StreamLMDatasetProviderConfig"]
