"""Read a training batch of the demo mixture and print it."""

from tokenizers import Tokenizer

from phyagi_assets.reading import MixtureLoader, load_mixture

mixture = load_mixture("demo")
tokenizer = Tokenizer.from_file(str(mixture.tokenizer / "tokenizer.json"))
loader = MixtureLoader(mixture.train, batch_size=4)
batch = next(iter(loader))

print(f"\nThe first of {len(loader):,} training batches: input_ids {batch['input_ids'].shape}")
for ids, corpus in zip(batch["input_ids"].tolist(), batch["corpus"], strict=True):
    print(f"\n── {corpus}: {ids[:8]} …\n{tokenizer.decode(ids[:96])} …")
