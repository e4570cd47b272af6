"""The blend of the programs with megatron-core: a ``BlendedDataset`` over one ``GPTDataset`` per corpus, made by its builder."""

import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from batches.inputs import VOCABULARY
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig


def blend(prefixes: Sequence[Path], weights: Sequence[float], samples: int, seq_len: int) -> Any:
    """Open the blend of indexed datasets, and keep its indices beside them. Attention masks are left to the kernel."""
    logging.disable(logging.WARNING)
    if not torch.distributed.is_initialized():  # the builder asks which rank builds the indices
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    config = GPTDatasetConfig(
        random_seed=1,
        sequence_length=seq_len,
        blend=([str(prefix) for prefix in prefixes], [float(weight) for weight in weights]),
        split="1,0,0",
        path_to_cache=str(prefixes[0].parent / "indices"),
        tokenizer=SimpleNamespace(vocab_size=VOCABULARY, eod=VOCABULARY - 1, pad=-1, unique_identifiers={}),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
    return BlendedMegatronDatasetBuilder(GPTDataset, [samples, 0, 0], lambda: True, config).build()[0]
