"""Facts about the loader that reads a stream, which the stream cannot ask for: they are found in the frames of its callers."""

import inspect
import sys
from typing import Any

_FETCHER_MODULE = "torch.utils.data._utils.fetch"


def is_stacked_by_loader() -> bool:
    """Return whether a ``DataLoader`` that makes batches of samples begins to read the dataset whose ``__iter__`` calls this function."""
    frame = sys._getframe(2)
    return frame.f_globals.get("__name__") == _FETCHER_MODULE and bool(frame.f_locals.get("auto_collation"))


def batch_size_of_loader() -> int | None:
    """Return the batch size of the loader whose worker reads, or None for any other reader.

    ``DataLoader`` does not pass it to its dataset; the frame of its fetcher is the only place where a worker can find it. Where
    ``accelerate`` divides what a worker reads among processes, the size is that of all processes together.
    """
    frame = inspect.currentframe()
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("accelerate."):
            return _batch_size_of_shard(frame.f_locals.get("self"))
        if frame.f_code.co_name == "fetch" and module == _FETCHER_MODULE:
            asked = frame.f_locals.get("possibly_batched_index")
            return len(asked) if isinstance(asked, list) else None
        frame = frame.f_back
    return None


def _batch_size_of_shard(shard: Any) -> int | None:
    """Return the number of samples that an ``IterableDatasetShard`` of ``accelerate`` divides at a time; None for another object."""
    if type(shard).__name__ != "IterableDatasetShard":
        return None
    return int(shard.batch_size) * (1 if shard.split_batches else int(shard.num_processes))
