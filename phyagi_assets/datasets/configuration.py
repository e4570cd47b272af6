"""Reading configurations."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def load_config(*sources: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Merge configurations from left to right.

    Mappings in mappings are merged too; whatever else two of them say, the right one wins. The sources are left as they are.

    Parameters
    ----------
    *sources
        YAML files (``.yaml``, ``.yml``), JSON files (``.json``) and mappings.

    Returns
    -------
    dict
        A mapping that shares nothing with the sources.

    Raises
    ------
    FileNotFoundError
        A file is not there.
    ValueError
        A file is neither YAML nor JSON, cannot be parsed, or holds no mapping; the message names it.

    Examples
    --------
    >>> load_config({"seq_len": 512, "model": {"depth": 2, "width": 64}}, {"model": {"depth": 4}})
    {'seq_len': 512, 'model': {'depth': 4, 'width': 64}}
    """
    merged: dict[str, Any] = {}
    for source in sources:
        _merge(merged, source if isinstance(source, Mapping) else _read(Path(source)))
    return merged


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping):
            inner = into[key] if isinstance(into.get(key), dict) else {}
            into[key] = inner
            _merge(inner, value)
        else:
            into[key] = copy.deepcopy(value)


def _read(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            found = json.loads(text)
        elif path.suffix in (".yaml", ".yml"):
            found = yaml.safe_load(text)
        else:
            raise ValueError(f"{path}: is neither YAML (.yaml, .yml) nor JSON (.json)")
    except (UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError) as problem:
        raise ValueError(f"{path}: cannot be parsed: {problem}") from None
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ValueError(f"{path}: holds a {type(found).__name__}; a configuration is a mapping, such as 'seq_len: 512'")
    return found
