"""How much longer a training step takes with a ledger of losses, for a small model on one CPU thread.

Run it with ``make bench-ledger``. Steps with and without the ledger take turns, on the same model and batches. Without it, the loss is
``torch.nn.functional.cross_entropy`` with its mean; with it, the loss is that of the ledger, which writes its files as in a training. The
program prints the CPU time per step of both, their ratio, and the share of a step that recording takes alone.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

from phyagi_assets.datasets import LossLedger
from phyagi_assets.formats.plan import Plan, PlannedCorpus

SEQ_LEN, BATCH, VOCABULARY, WIDTH, LAYERS = 512, 4, 4096, 128, 2
STEPS, WARM_UP = 24, 3
"""Number of steps with and without the ledger, and number of steps of each that are not counted."""
PER_DOCUMENT = 200
"""Mean number of tokens per document."""


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = torch.nn.Embedding(VOCABULARY, WIDTH)
        layer = torch.nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = torch.nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.head = torch.nn.Linear(WIDTH, VOCABULARY)
        self.register_buffer("mask", torch.nn.Transformer.generate_square_subsequent_mask(SEQ_LEN))

    def forward(self, ids: torch.Tensor) -> Any:
        return self.head(self.layers(self.tokens(ids), mask=self.mask, is_causal=True))


def batch_at(step: int) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(step)
    ids = torch.randint(0, VOCABULARY, (BATCH, SEQ_LEN), generator=draw)
    starts = torch.rand((BATCH, SEQ_LEN), generator=draw) < 1 / PER_DOCUMENT
    starts[:, 0] = False
    positions = torch.arange(step * BATCH, (step + 1) * BATCH)
    return {"input_ids": ids, "labels": ids, "position": positions, "dataset_idx": positions % 2, "document_ids": starts.cumsum(1)}


def mean(logits: torch.Tensor, batch: dict[str, Any]) -> torch.Tensor:
    targets = torch.nn.functional.pad(batch["labels"], (0, 1), value=-100)[..., 1:]
    return torch.nn.functional.cross_entropy(logits.float().view(-1, VOCABULARY), targets.reshape(-1), ignore_index=-100)


def step_time(model: Model, optimizer: Any, batch: dict[str, Any], loss: Callable[[torch.Tensor, dict[str, Any]], torch.Tensor]) -> float:
    started = time.process_time()
    loss(model(batch["input_ids"]), batch).backward()
    optimizer.step()
    optimizer.zero_grad()
    return time.process_time() - started


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters())
    corpora = tuple(PlannedCorpus(name=name, partitions=()) for name in ("one", "two"))
    keys: dict[str, Any] = {"seed": 0, "dtype": "uint16", "tokenizer": "", "concat": "interleaved", "shuffle": True, "segments": ()}
    plan = Plan(name="mix", fingerprint="0", seq_len=SEQ_LEN, corpora=corpora, **keys)
    times: dict[bool, list[float]] = {True: [], False: []}
    recording: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        ledger = LossLedger(folder, plan, every=STEPS // 2)
        record = ledger.record

        def timed(*arguments: Any, **named: Any) -> None:
            started = time.process_time()
            record(*arguments, **named)
            recording.append(time.process_time() - started)

        ledger.record = timed  # type: ignore[method-assign]
        for number in range(2 * (STEPS + WARM_UP)):
            has_ledger, step = bool(number % 2), number // 2
            if step == WARM_UP and not has_ledger:
                ledger.flush()  # the first file takes longer, because pyarrow starts its threads
            with_ledger = lambda logits, batch, step=step: ledger.loss(logits, batch, step=step)  # noqa: E731
            taken = step_time(model, optimizer, batch_at(step), with_ledger if has_ledger else mean)
            if step >= WARM_UP:
                times[has_ledger].append(taken)
    without, with_ledger_time = (statistics.median(times[has]) for has in (False, True))
    share = sum(recording[WARM_UP:]) / sum(times[True])
    print("| | |\n| --- | --- |")
    print(f"| CPU time per step without the ledger | {without * 1e3:.1f} ms |")
    print(f"| CPU time per step with it | {with_ledger_time * 1e3:.1f} ms |")
    print(f"| ratio, median of {STEPS} steps each | {with_ledger_time / without:.4f} |")
    print(f"| recording and writing, as a share of a step | {share:.3%} |")


if __name__ == "__main__":
    main()
