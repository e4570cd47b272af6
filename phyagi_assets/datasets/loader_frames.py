"""Properties of the loader that reads a stream, found in the frames of the callers because there is no other way."""

import inspect
import sys
from typing import Any

_FETCHER_MODULE = "torch.utils.data._utils.fetch"


def is_stacked_by_loader() -> bool:
    """Return whether the caller, an ``__iter__``, was called by a ``DataLoader`` that stacks samples into batches."""
    frame = sys._getframe(2)
    return frame.f_globals.get("__name__") == _FETCHER_MODULE and bool(frame.f_locals.get("auto_collation"))


def batch_size_of_loader() -> int | None:
    """Return the batch size of the loader whose worker calls this function, or None for any other reader.

    ``DataLoader`` does not pass it to its dataset; a worker can find it only in the frame of its fetcher. If ``accelerate`` divides the
    samples of a worker among processes, the size is that of all processes together.
    """
    frame = inspect.currentframe()
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("accelerate."):
            return _batch_size_of_shard(frame.f_locals.get("self"))
        if frame.f_code.co_name == "fetch" and module == _FETCHER_MODULE:
            indices = frame.f_locals.get("possibly_batched_index")
            return len(indices) if isinstance(indices, list) else None
        frame = frame.f_back
    return None


def _batch_size_of_shard(shard: Any) -> int | None:
    """Return the number of samples that an ``IterableDatasetShard`` of ``accelerate`` divides at a time; None for any other object."""
    if type(shard).__name__ != "IterableDatasetShard":
        return None
    return int(shard.batch_size) * (1 if shard.split_batches else int(shard.num_processes))
