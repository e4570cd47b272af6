"""litdata: ``optimize(mode="append")``, which adds chunks of ids to existing ones. Each call starts a worker process."""

from typing import Any

import torch
from documents import encoder, run
from litdata import TokensLoader, optimize


class Tokenized:
    """Encodes a partition in the worker."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, partition: str) -> Any:
        for ids in encoder(self.tokenizer)(partition):
            yield torch.tensor(ids, dtype=torch.uint16)


def append(told: Any, partitions: list[str]) -> None:
    output = told.work / "chunks"
    for name in partitions:
        optimize(
            Tokenized(told.tokenizer),
            inputs=[name],
            output_dir=str(output),
            num_workers=1,
            chunk_bytes="64MB",
            item_loader=TokensLoader(),
            mode="append",
            verbose=False,
        )


if __name__ == "__main__":
    run(append)
