"""Run functions in several processes that read together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch


def in_processes(folder: Path, count: int, do: Callable[[int], Any]) -> list[Any]:
    """Return the results of a function of the rank, called in each of several gloo processes and passed on as JSON."""
    own = folder / uuid4().hex
    own.mkdir()
    torch.multiprocessing.start_processes(_as_one_of, (count, own, do), nprocs=count, start_method="fork")
    return [json.loads((own / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(count)]


def _as_one_of(rank: int, count: int, folder: Path, do: Callable[[int], Any]) -> None:
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=count)
    (folder / f"{rank}.json").write_text(json.dumps(do(rank)), encoding="utf-8")
