"""Fingerprints: equal for equal inputs, different for different inputs."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.store.fingerprint import canonical_json, fingerprint

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(st.text(max_size=4), plain, max_size=4)


def key(inputs: dict[str, Any], settings: dict[str, Any], step: str = "step", code_version: str = "1") -> str:
    return fingerprint(step, code_version=code_version, inputs=inputs, settings=settings)


@given(inputs=mappings, settings=mappings)
def test_fingerprint_ignores_the_order_of_keys(inputs: dict[str, Any], settings: dict[str, Any]) -> None:
    assert key(inputs, settings) == key(dict(reversed(inputs.items())), dict(reversed(settings.items())))


@given(value=plain)
def test_canonical_json_round_trips(value: Any) -> None:
    told = json.loads(canonical_json(value))
    assert told == value
    assert canonical_json(told) == canonical_json(value)


@given(settings=mappings.filter(bool), data=st.data())
def test_fingerprint_changes_with_any_setting(settings: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(settings)))
    changed = data.draw(plain.filter(lambda value: canonical_json(value) != canonical_json(settings[name])))
    without = {other: settings[other] for other in settings if other != name}
    variants = [settings, without, settings | {name: changed}, settings | {name: [settings[name]]}]
    keys = [key({}, variant) for variant in variants] + [key(variant, {}) for variant in variants if variant]
    assert len(set(keys)) == len({canonical_json(v) for v in variants}) + len({canonical_json(v) for v in variants if v})


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (1, "1"), (1, 1.0), (None, "null"), ([], {}), (["a", "b"], ["ab"]), ([1, [2]], [[1], 2])], ids=repr
)
def test_fingerprint_distinguishes_similar_values(one: object, other: object) -> None:
    assert key({}, {"it": one}) != key({}, {"it": other})


def test_fingerprint_depends_on_every_part() -> None:
    parts = [
        key({"a": 1}, {}),
        key({}, {"a": 1}),
        key({"a": 1}, {}, step="other"),
        key({"a": 1}, {}, code_version="2"),
        key({"a": "1"}, {}),
    ]
    assert len(set(parts)) == len(parts)


def test_fingerprint_equals_that_of_earlier_releases() -> None:
    assert key({"file": "0" * 32}, {"eos": True, "columns": ["text"]}) == "f125cc638818f4d3c398b60d19d44b79"


@pytest.mark.parametrize(
    "value", [{1}, b"x", object(), float("nan"), float("inf"), {1: 2}, [{"deep": {3}}]], ids=lambda value: type(value).__name__
)
def test_value_without_canonical_json_is_refused_with_its_path(value: object) -> None:
    with pytest.raises(TypeError, match=r"\$\.settings\.it.* has no canonical JSON"):
        key({}, {"it": value})
