"""Language modelling over a stream: the windows of one array, shared by ranks and loader workers."""

from phyagi_assets.datasets.train.stream_lm.stream_lm_dataset import StreamLMDataset
from phyagi_assets.datasets.train.stream_lm.stream_lm_dataset_provider import StreamLMDatasetProvider, StreamLMDatasetProviderConfig

__all__ = ["StreamLMDataset", "StreamLMDatasetProvider", "StreamLMDatasetProviderConfig"]
