"""Read a batch from two configured caches of the store, one of them oversampled. Run `make demo` first.

Argument: the store (default: data/store).
"""

import sys
from pathlib import Path

from torch.utils.data import DataLoader

from phyagi_assets.datasets import LMDataCollator, get_dataset
from phyagi_assets.utils.config import load_config

store = Path(sys.argv[1] if len(sys.argv) > 1 else "data/store")
common = {"seq_len": 256}
plays = load_config(common, {"cache_dir": str(store / "shakespeare/numpy_cache/hamlet"), "weight": 1.5})
facts = load_config(common, {"cache_dir": str(store / "factbook/numpy_cache/europe"), "label": "facts", "validation_split": 0.05})

train, evaluation = get_dataset([plays, facts], dataset_concat="random")
batch = next(iter(DataLoader(train, batch_size=8, shuffle=True, collate_fn=LMDataCollator())))
print(f"{len(train)} training samples, evaluation samples: {', '.join(f'{label} {len(of)}' for label, of in evaluation.items())}")
print(f"a batch: {', '.join(f'{name} {tuple(column.shape)}' for name, column in batch.items())}")
