"""Fine-tune a small model on conversations, from their declaration to an evaluation per corpus, and resume in the middle of an epoch.

The conversations are sums, written into a new folder. The loss is computed on what the assistant writes. Training from the checkpoint of
half of the steps ends with the same weights as training without a stop.

Arguments: the folder (default: ``fine-tuning``) and the number of training steps (default: 30).
"""

import json
import subprocess
import sys
from pathlib import Path

import torch
import yaml
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

from phyagi_assets.datasets import LMDataCollator, load_mixture

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "fine-tuning")
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 30
BATCH, SEQ_LEN = 8, 64
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}{{ m.content ~ '\n' }}{% endgeneration %}"
    "{% else %}{{ m.content ~ '\n' }}{% endif %}{% endfor %}"
)
COMMAND = str(Path(sys.executable).with_name("phyagi-assets"))


def conversation(first: int, second: int) -> str:
    asked = {"role": "user", "content": f"{first} + {second}"}
    return json.dumps({"messages": [asked, {"role": "assistant", "content": str(first + second)}]}) + "\n"


def declare() -> None:
    """Write conversations, a corpus of them and a mixture into the folder."""
    subprocess.run([COMMAND, "init", FOLDER], check=True, stdout=subprocess.DEVNULL)
    for name, numbers in (("small", range(20)), ("large", range(100, 120))):
        lines = [conversation(first, second) for first in numbers for second in numbers]
        (FOLDER / "raw" / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        corpus = {
            "name": name,
            "source": {"path": f"raw/{name}.jsonl"},
            "messages": "messages",
            "chat_template": "sums.jinja",
            "tokenizer": "tokenizers/bytes",
            "splits": {"validation": 0.1},
        }
        (FOLDER / "corpora" / f"{name}.yaml").write_text(yaml.safe_dump(corpus), encoding="utf-8")
    (FOLDER / "sums.jinja").write_text(TEMPLATE, encoding="utf-8")
    mixture = {"name": "sums", "seq_len": SEQ_LEN, "datasets": [{"corpus": "small"}, {"corpus": "large"}]}
    (FOLDER / "mixtures" / "sums.yaml").write_text(yaml.safe_dump(mixture), encoding="utf-8")


def trainer(steps: int) -> Trainer:
    set_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(mixture.tokenizer)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4
    )
    arguments = TrainingArguments(
        output_dir=str(FOLDER / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        learning_rate=3e-3,
        lr_scheduler_type="constant",
        logging_steps=max(1, STEPS // 6),
        save_steps=STEPS // 2,
        train_sampling_strategy="sequential",  # the order of the mixture
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    return Trainer(
        model=LlamaForCausalLM(config),
        args=arguments,
        train_dataset=mixture.train,
        eval_dataset=mixture.validation_by_corpus,
        data_collator=LMDataCollator(),
    )


if not FOLDER.exists():
    declare()
subprocess.run([COMMAND, "materialize", "sums", "--data", FOLDER, "--store", FOLDER / "store"], check=True)
mixture = load_mixture("sums", store=FOLDER / "store")

whole = trainer(STEPS)
whole.train()
losses = [entry["loss"] for entry in whole.state.log_history if "loss" in entry]
by_corpus = {key: value for key, value in whole.evaluate().items() if key.endswith("_loss")}
print(f"loss {losses[0]:.2f} → {losses[-1]:.2f}; {', '.join(f'{key} {value:.2f}' for key, value in by_corpus.items())}")

resumed = trainer(STEPS)
resumed.train(resume_from_checkpoint=str(FOLDER / "checkpoints" / f"checkpoint-{STEPS // 2}"))
pairs = zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True)
print(f"resumed at step {STEPS // 2}: the weights are {'the same' if all(torch.equal(*pair) for pair in pairs) else 'different'}")
