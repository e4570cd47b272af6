"""What an artifact was made from, as one hash.

Two artifacts with one fingerprint are interchangeable: the same step, in the same version of its code, on inputs with the same
fingerprints, under the same settings of whatever changes the output. Settings that do not change it (how much is verified, where
the store is) stay out, so that changing them rebuilds nothing.

The hash is taken over canonical JSON. A value that JSON cannot write in exactly one way raises, rather than be hashed by what
``str()`` happens to say of it today.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

_CHUNK = 1 << 18
"""Bytes that stay in the processor's cache between being read and being hashed."""


def fingerprint(step: str, *, code_version: str, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Hash what determines an artifact.

    Parameters
    ----------
    step
        Name of the step.
    code_version
        Raised whenever the step's code changes what it writes.
    inputs
        The fingerprints of what the step reads, by name.
    settings
        The configuration that changes the output.

    Returns
    -------
    str
        32 hexadecimal digits (128 bits of SHA-256).

    Raises
    ------
    TypeError
        A value has no canonical JSON: sets, bytes, objects, NaN, infinities, keys that are no strings.

    Examples
    --------
    >>> a = fingerprint("raw_dataset", code_version="1", inputs={"x": "1", "y": "2"}, settings={})
    >>> a == fingerprint("raw_dataset", code_version="1", inputs={"y": "2", "x": "1"}, settings={})
    True
    """
    return text_digest(canonical_json({"step": step, "code_version": code_version, "inputs": inputs, "settings": settings}))


def text_digest(text: str) -> str:
    """128 bits of SHA-256 of a text, as 32 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def canonical_json(value: Any) -> str:
    """The one way to write a value: keys sorted, no spaces, no value that JSON writes ambiguously."""
    return json.dumps(_plain(value, "$"), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _plain(value: Any, at: str) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, f"{at}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{at}.{key}") for key, item in value.items()}
    raise TypeError(f"{at}: {value!r} ({type(value).__name__}) has no canonical JSON; give a string, number, list or mapping of them")


def file_digest(path: Path) -> str:
    """XXH3-128 of a file's bytes, as 32 hexadecimal digits: guards against change and damage, not against malice."""
    state = xxhash.xxh3_128()
    chunk = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(chunk):
            state.update(chunk[:size])
    return state.hexdigest()
