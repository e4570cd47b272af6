"""Prompts from conversations, with the expected answers."""

from phyagi_assets.datasets.rl.chat.chat_dataset import ChatDataset
from phyagi_assets.datasets.rl.chat.chat_dataset_provider import ChatDatasetProvider, ChatDatasetProviderConfig

__all__ = ["ChatDataset", "ChatDatasetProvider", "ChatDatasetProviderConfig"]
