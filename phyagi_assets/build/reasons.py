"""Explain why an artifact has to be built: the differences between the expected manifest and the published one."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from phyagi_assets.formatting import counted
from phyagi_assets.steps.exclusions import REMOVED
from phyagi_assets.steps.pins import is_identity
from phyagi_assets.steps.raw import RAW
from phyagi_assets.steps.tokenize import TOKENIZE
from phyagi_assets.store.manifest import Manifest

_LISTED = 5
"""Largest number of source files, or of partitions of a corpus, to list."""
_LONGEST = 60
"""Largest number of characters of a value."""
_DIGEST = 32
"""Number of characters of a digest, of which 8 are shown."""


def changes(expected: Manifest, published: Manifest, tokenizer: str = "") -> list[str]:
    """Return the differences between the expected manifest of an artifact and the published one, one sentence each.

    Inputs that are artifacts of the partition itself are left out: they have differences of their own. `tokenizer` is the
    declared name of the tokenizer.
    """
    versions = published.code_version, expected.code_version
    code = [f"code version of {expected.step} {versions[0]} → {versions[1]}"] if len(set(versions)) > 1 else []
    return [*code, *_input_changes(expected, published, tokenizer), *_setting_changes(expected, published)]


def _input_changes(expected: Manifest, published: Manifest, tokenizer: str) -> Iterator[str]:
    if expected.step == RAW.name:
        before, now = _mapping(published.inputs.get("files")), _mapping(expected.inputs.get("files"))
        if any(map(is_identity, before.values())) != any(map(is_identity, now.values())):
            in_place = any(map(is_identity, now.values()))
            yield f"objects are {'read in place instead of copied' if in_place else 'copied instead of read in place'}"
            before, now = dict.fromkeys(before), dict.fromkeys(now)
        yield from _name_changes("source file", "", before, now)
        return
    if expected.step == TOKENIZE.name:
        new, old = (str(manifest.inputs.get("tokenizer", "")) for manifest in (expected, published))
        if new != old:
            name = str(_mapping(published.details.get("tokenizer")).get("name", ""))
            yield f"tokenizer changed: {_tokenizer(old, name)} → {_tokenizer(new, tokenizer)}"
        return
    for name in {**published.inputs, **expected.inputs}:
        if not any(isinstance(manifest.inputs.get(name), Mapping) for manifest in (expected, published)):
            continue
        before, now = _mapping(published.inputs.get(name)), _mapping(expected.inputs.get(name))
        if not before:
            yield f"corpus {name} is new"
        elif not now:
            yield f"corpus {name} is gone"
        else:
            yield from _name_changes("", f"{name}/", before, now)


def _name_changes(kind: str, prefix: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each name that is new, gone or changed, up to a limit."""
    found = {
        "is new": [name for name in now if name not in before],
        "is gone": [name for name in before if name not in now],
        "changed": [name for name in now if name in before and now[name] != before[name]],
    }
    what = f"{kind} " if kind else ""
    for verb, names in found.items():
        yield from (f"{what}{prefix}{name} {verb}" for name in names[:_LISTED])
        if len(names) > _LISTED:
            more = counted(len(names) - _LISTED, "source file" if kind else "partition")
            yield f"{more} more{' of ' + prefix.rstrip('/') if prefix else ''}: {verb}"


def _setting_changes(expected: Manifest, published: Manifest) -> Iterator[str]:
    before, now = (dict(_flattened(manifest.settings)) for manifest in (published, expected))
    for name in sorted({**before, **now}):
        if name == "appended" or name.startswith("appended."):  # how a plan continues an earlier one is not declared
            continue
        old, new = before.get(name), now.get(name)
        if name == REMOVED:
            yield from _exclusion_changes(old or (), new or ())
        elif _text(old) != _text(new):
            yield f"{name}: {_value(old)} → {_value(new)}"
    earlier, order = ([item["corpus"] for item in manifest.settings.get("datasets") or ()] for manifest in (published, expected))
    if earlier != order and sorted(earlier) == sorted(order):
        yield f"order of datasets: {', '.join(earlier)} → {', '.join(order)}"


def _exclusion_changes(before: Any, now: Any) -> Iterator[str]:
    for ids, verb in ((set(now) - set(before), "excluded"), (set(before) - set(now), "not excluded any more")):
        if ids:
            yield f"{counted(len(ids), 'document')} {verb}"


def _flattened(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings with dotted names. A list of corpora is taken apart by their names."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) and "corpus" in item for item in value):
            for item in value:
                yield from _flattened({key: value for key, value in item.items() if key != "corpus"}, f"{prefix}{name}.{item['corpus']}.")
        else:
            yield f"{prefix}{name}", value


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tokenizer(identity: str, name: str) -> str:
    """Return the name of a tokenizer with a short commit or digest of its files."""
    kind, _, rest = identity.partition(":")
    if kind == "hub":
        name, _, rest = rest.rpartition("@")
    return f"{name}@{rest[:8]}" if name else rest[:8]


def _text(value: object) -> str:
    """Return a setting as it is written in a manifest, where a tuple is a list."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _value(value: object) -> str:
    if value is None:
        return "not set"
    text = _text(value)
    if isinstance(value, str) and len(value) == _DIGEST and all(digit in "0123456789abcdef" for digit in value):
        return value[:8]
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
