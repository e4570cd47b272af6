"""Read a training batch of the demo mixture and print it."""

from torch.utils.data import DataLoader
from transformers import AutoTokenizer

from phyagi_assets.datasets import load_mixture

mixture = load_mixture("demo")
tokenizer = AutoTokenizer.from_pretrained(mixture.tokenizer)
batch = next(iter(DataLoader(mixture.train, batch_size=4)))

print(f"\nThe first of {len(mixture.train) // 4:,} training batches: input_ids {tuple(batch['input_ids'].shape)}")
for ids, dataset_idx in zip(batch["input_ids"], batch["dataset_idx"], strict=True):
    corpus = mixture.plan.corpora[dataset_idx].name
    print(f"\n── {corpus}: {ids[:8].tolist()} …\n{tokenizer.decode(ids[:96])} …")
