"""The fingerprint of an artifact: one hash of everything that the artifact was made from.

Two artifacts with the same fingerprint are interchangeable. They come from the same step, the same version of its code, inputs with the
same fingerprints, and the same values of every setting that changes the output. Settings that do not change the output (how much is
verified, where the store is) are left out, so that changing them rebuilds nothing.

The hash is taken over canonical JSON. A value that JSON cannot represent in exactly one way raises an error, because the result of
``str()`` may differ between releases.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

_EXACT = frozenset({str, int, bool, type(None)})
"""Types of which every value has canonical JSON; of a subclass, JSON may show something else."""


def fingerprint(step: str, *, code_version: str, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return the hash of everything that determines an artifact.

    Parameters
    ----------
    code_version
        Version of the step's code, increased whenever a change of the code changes the output.
    inputs
        Fingerprints of the step's inputs, by name.
    settings
        The settings that change the output.

    Returns
    -------
    str
        32 hexadecimal digits (128 bits of SHA-256).

    Raises
    ------
    TypeError
        A value has no canonical JSON: a set, bytes, another object, NaN, an infinity, or a mapping with a key that is not a string.

    Examples
    --------
    >>> a = fingerprint("raw_dataset", code_version="1", inputs={"x": "1", "y": "2"}, settings={})
    >>> a == fingerprint("raw_dataset", code_version="1", inputs={"y": "2", "x": "1"}, settings={})
    True
    """
    return text_digest(canonical_json({"step": step, "code_version": code_version, "inputs": inputs, "settings": settings}))


def text_digest(text: str) -> str:
    """Return the first 128 bits of the SHA-256 of a text in UTF-8, as 32 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def canonical_json(value: Any) -> str:
    """Return the canonical JSON of a value: ASCII, with sorted keys and without spaces.

    Raises
    ------
    TypeError
        The value has no canonical JSON, see `fingerprint`.
    """
    plain = value if _is_plain(value) else _plain(value, "$")
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _is_plain(value: Any) -> bool:
    """Return whether a value consists of the types that JSON has, so that it need not be copied; it is the case for nearly all values."""
    kind = type(value)
    if kind in _EXACT:
        return True
    if kind is dict:
        return all(type(key) is str and (type(item) in _EXACT or _is_plain(item)) for key, item in value.items())
    return (kind is list or kind is tuple) and all(map(_is_plain, value))


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
    """Return the XXH3-128 of the content of a file, as 32 hexadecimal digits. It detects changes and damage, but not tampering."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
