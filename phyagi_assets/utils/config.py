"""Load, merge and save configurations.

OmegaConf does the work, because the interface is its own: interpolation, command-line overrides, and ``DictConfig`` as a return type.
It is imported inside the functions that need it, as the extra ``config``.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

Override = str
"""One assignment of a command line: ``key=value``, ``--key=value`` or ``model.layers.0.width=64``."""


def for_resolver(obj: Any, n: int = 1, replace_char: str | None = None) -> list[Any]:
    """Repeat an object, as ``${for:obj,n,replace_char}`` does in a configuration.

    Parameters
    ----------
    obj
        The object; mappings and lists are copied.
    n
        Number of copies.
    replace_char
        Text that the number of the copy, from 0, replaces in every string of the copy; None to leave strings as they are.

    Raises
    ------
    ValueError
        `n` is negative.

    Examples
    --------
    >>> for_resolver({"name": "layer#"}, 2, "#")
    [{'name': 'layer0'}, {'name': 'layer1'}]
    """
    if n < 0:
        raise ValueError(f"n: {n} is negative; use a number of copies from 0")
    plain = _native(obj)
    return [_replaced(plain, replace_char, str(number)) if replace_char else copy.deepcopy(plain) for number in range(n)]


def filter_dict(input_dict: Mapping[str, Any], value: Any = None) -> dict[str, Any]:
    """Return a dict without the entries that have a value.

    Examples
    --------
    >>> filter_dict({"seq_len": 512, "label": None})
    {'seq_len': 512}
    """
    return {key: item for key, item in input_dict.items() if not _is(item, value)}


def filter_lists(*args: Sequence[Any], value: Any = None) -> tuple[list[Any], ...]:
    """Return lists of one length without the positions at which any of them has a value.

    Raises
    ------
    ValueError
        The lists differ in length.

    Examples
    --------
    >>> filter_lists(["news", None, "talk"], [0.5, 1.0, 2.0])
    (['news', 'talk'], [0.5, 2.0])
    """
    kept = [row for row in zip(*args, strict=True) if not any(_is(item, value) for item in row)]
    return tuple([row[column] for row in kept] for column in range(len(args)))


def override_nested_dict(input_dict: Mapping[str, Any], override_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dict in which the values of another replace those of the first; mappings are merged at every depth.

    Neither argument is changed, and the result shares nothing with them.

    Examples
    --------
    >>> override_nested_dict({"model": {"depth": 2, "width": 64}}, {"model": {"depth": 4}})
    {'model': {'depth': 4, 'width': 64}}
    """
    result: dict[str, Any] = copy.deepcopy(dict(input_dict))
    for key, value in override_dict.items():
        before = result.get(key)
        is_nested = isinstance(value, Mapping)
        result[key] = override_nested_dict(before if isinstance(before, Mapping) else {}, value) if is_nested else copy.deepcopy(value)
    return result


def load_config(*configs: "str | Path | Mapping[str, Any] | Sequence[Override]", use_native_types: bool = True) -> Any:
    """Merge configurations from left to right and resolve their interpolations.

    Mappings are merged at every depth; of any other two values, the right one wins. The arguments are left as they are.
    ``${model.width}`` refers to another key of the merged configuration, ``${oc.env:HOME}`` to the environment, and
    ``${for:obj,n,replace_char}`` calls `for_resolver`.

    Parameters
    ----------
    *configs
        YAML files (``.yaml``, ``.yml``), JSON files (``.json``), mappings, and lists of command-line overrides such as
        ``["seq_len=512", "--model.width=64"]``. The value of an override is read as YAML.
    use_native_types
        Whether to return a dict; if not, a ``DictConfig``, whose interpolations are resolved when they are read.

    Returns
    -------
    dict or omegaconf.DictConfig
        The merged configuration; it shares nothing with the arguments.

    Raises
    ------
    FileNotFoundError
        A file does not exist.
    ImportError
        OmegaConf is not installed.
    ValueError
        A file is neither YAML nor JSON, cannot be parsed or holds no mapping; an override is not ``key=value``; or an interpolation
        refers to a key that does not exist.

    Examples
    --------
    >>> load_config({"seq_len": 512, "model": {"depth": 2, "width": "${seq_len}"}}, ["model.depth=4"])
    {'seq_len': 512, 'model': {'depth': 4, 'width': 512}}
    """
    omegaconf = _omegaconf()
    merged: dict[str, Any] = {}
    for config in configs:
        overridden = _with_overrides(merged, config) if isinstance(config, list | tuple) else None
        merged = override_nested_dict(merged, _read(config)) if overridden is None else overridden
    try:
        container = omegaconf.OmegaConf.create(merged, flags={"allow_objects": True})
        if not use_native_types:
            return container
        return omegaconf.OmegaConf.to_container(container, resolve=True)
    except omegaconf.errors.OmegaConfBaseException as problem:
        raise ValueError(f"{problem.full_key or 'the configuration'}: {problem.msg or problem}") from None


def save_config(config: "Mapping[str, Any] | DictConfig", output_path: str | Path) -> None:
    """Save a configuration as a file that `load_config` reads; interpolations are saved as they were written.

    Parameters
    ----------
    config
        A mapping or a ``DictConfig``.
    output_path
        File to write: JSON if its name ends in ``.json``, else YAML. Its folder is created if need be.

    Raises
    ------
    ImportError
        OmegaConf is not installed.
    ValueError
        The configuration is not a mapping, or a value of it is neither text, a number, a list, a mapping nor a path. An existing file
        is left as it is.

    Examples
    --------
    >>> save_config({"seq_len": 512}, "config.yaml")
    >>> load_config("config.yaml")
    {'seq_len': 512}
    """
    import yaml

    path, content = Path(output_path).expanduser(), _native(config)
    if not isinstance(content, Mapping):
        raise ValueError(f"config: a {type(content).__name__} is not a mapping, such as {{'seq_len': 512}}")
    content = _changed(content, lambda leaf: str(leaf) if isinstance(leaf, Path) else leaf)
    omegaconf = _omegaconf()
    try:
        is_json = path.suffix == ".json"
        text = json.dumps(content, indent=2) + "\n" if is_json else omegaconf.OmegaConf.to_yaml(omegaconf.OmegaConf.create(content))
    except (TypeError, ValueError, yaml.YAMLError, omegaconf.errors.OmegaConfBaseException) as problem:
        raise ValueError(f"config: cannot be saved as {path.suffix or 'YAML'}: {' '.join(str(problem).split())}") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _omegaconf() -> Any:
    try:
        import omegaconf
    except ModuleNotFoundError as problem:
        if problem.name != "omegaconf":
            raise
        raise ImportError("configurations need omegaconf, which is not installed: pip install 'phyagi-assets[config]'") from problem
    if not omegaconf.OmegaConf.has_resolver("for"):
        omegaconf.OmegaConf.register_resolver("for", for_resolver)
    return omegaconf


def _native(config: Any) -> Any:
    """Return a configuration of OmegaConf as plain types, and any other object unchanged."""
    if type(config).__module__.partition(".")[0] != "omegaconf":
        return config
    return _omegaconf().OmegaConf.to_container(config, resolve=False)


def _is(item: Any, value: Any) -> bool:
    return item is value or (type(item) is type(value) and bool(item == value))


def _changed(config: Any, change: Callable[[Any], Any]) -> Any:
    """Return a copy of a configuration with a change applied to every leaf and every key."""
    if isinstance(config, Mapping):
        return {change(key): _changed(value, change) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [_changed(value, change) for value in config]
    return change(config)


def _replaced(config: Any, old: str, new: str) -> Any:
    return _changed(config, lambda leaf: leaf.replace(old, new) if isinstance(leaf, str) else copy.deepcopy(leaf))


def _with_overrides(config: Mapping[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    omegaconf = _omegaconf()
    container = omegaconf.OmegaConf.create(config, flags={"allow_objects": True})
    for override in overrides:
        key, equals, value = override.removeprefix("--").partition("=")
        if not equals or not key:
            raise ValueError(f"override {override!r}: is not an assignment; use key=value, such as model.width=64")
        try:
            parsed = omegaconf.OmegaConf.from_dotlist([f"value={value}"]).value
            omegaconf.OmegaConf.update(container, key, parsed, merge=True)
        except Exception as problem:  # the errors of OmegaConf's grammar and of YAML have no common base
            raise ValueError(f"override {override!r}: cannot be applied: {' '.join(str(problem).split())}") from None
    overridden: dict[str, Any] = _native(container)
    return overridden


def _read(source: Any) -> Mapping[str, Any]:
    """Return the mapping in a source, with unresolved interpolations."""
    omegaconf = _omegaconf()
    if not isinstance(source, str | Path):
        found, where = _native(source), "configs"
    else:
        import yaml

        path = Path(source).expanduser()
        where = str(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
            if path.suffix == ".json":
                found = json.loads(text)
            elif path.suffix in (".yaml", ".yml"):
                found = _native(omegaconf.OmegaConf.create(text)) if text.strip() else {}
            else:
                raise ValueError(f"{path}: is neither YAML (.yaml, .yml) nor JSON (.json)")
        except (UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError, omegaconf.errors.OmegaConfBaseException) as problem:
            raise ValueError(f"{path}: cannot be parsed: {problem}") from None
    if not isinstance(found, Mapping):
        raise ValueError(f"{where}: holds a {type(found).__name__}; a configuration is a mapping, such as 'seq_len: 512'")
    return found
