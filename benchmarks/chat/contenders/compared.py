"""Hashes of ids and masks."""

from typing import Any

import numpy as np
import xxhash


def digests(ids: Any, trained: Any) -> dict[str, str]:
    """Return the hash of all ids, and of whether each is trained on."""
    columns = {"ids": np.asarray(ids, "<u4"), "trained": np.asarray(trained, np.uint8)}
    return {name: xxhash.xxh3_128_hexdigest(column.tobytes()) for name, column in columns.items()}
