"""The formats of ``mixture.json``, and the keys that each of them has."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

FORMAT = 3
MASKED_FORMAT = 4
"""Format of plans with masks. Earlier releases, which would ignore the masks, refuse this format."""
PACKED_FORMAT = 5
"""Format of plans with packed samples."""
WINDOWED_FORMAT = 6
"""Format of plans that shuffle within a window."""
EVALUATION_FORMAT = 7
"""Format of plans with corpora that are not trained on."""
PIECES_FORMAT = 8
"""Format of plans with token arrays that are stored in pieces."""
OLDEST_FORMAT = 2
"""Oldest format that can be read. Its plans have no padding id, and their samples do not cross partitions."""

SINCE: Mapping[str, int] = {
    **dict.fromkeys(("pad_id", "crosses", "cuts"), FORMAT),
    "trained": MASKED_FORMAT,
    "index": PACKED_FORMAT,
    "packed": PACKED_FORMAT,
    "block": WINDOWED_FORMAT,
    "evaluation": EVALUATION_FORMAT,
    "pieces": PIECES_FORMAT,
}
"""First format that has a key.

A key of a format after `FORMAT` is left out if its value is the default. So a plan has the oldest format that can express it, and as many
releases as possible can read it.
"""


def record_of(value: Any, later: set[int]) -> Any:
    """Return a value of a plan as JSON, without unused keys of formats after `FORMAT`. Add the formats of the used keys to `later`."""
    if isinstance(value, tuple):
        return [record_of(item, later) for item in value]
    if isinstance(value, Mapping):
        return {key: record_of(item, later) for key, item in value.items()}
    if not is_dataclass(value):
        return value
    record = {}
    for key in fields(value):
        content, since = getattr(value, key.name), SINCE.get(key.name, OLDEST_FORMAT)
        if since > FORMAT:
            if content == key.default:
                continue
            later.add(since)
        record[key.name] = record_of(content, later)
    return record
