"""Train a small, randomly initialized GPT-2 on the demo mixture and print the loss. Run `make demo` first.

Argument: number of training steps (default: 40).
"""

import sys

from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from phyagi_assets.datasets import LMDataCollator, MixtureStream, load_mixture

BATCH = 4

mixture = load_mixture("demo")
tokenizer = AutoTokenizer.from_pretrained(mixture.tokenizer)
config = GPT2Config(vocab_size=len(tokenizer), n_positions=mixture.plan.seq_len, n_embd=64, n_layer=2, n_head=2)

trainer = Trainer(
    model=GPT2LMHeadModel(config),
    args=TrainingArguments(
        output_dir="checkpoints",
        max_steps=int(sys.argv[1]) if len(sys.argv) > 1 else 40,
        per_device_train_batch_size=BATCH,
        learning_rate=3e-3,
        logging_steps=10,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
    ),
    train_dataset=MixtureStream(mixture.train, batch_size=BATCH, samples=True, endless=True),
    eval_dataset=mixture.validation,
    data_collator=LMDataCollator(),
)
trainer.train()
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
print(f"loss {losses[0]:.2f} → {losses[-1]:.2f}, validation loss {trainer.evaluate()['eval_loss']:.2f}")
