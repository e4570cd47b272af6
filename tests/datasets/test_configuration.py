"""Configurations from files and mappings."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.datasets import load_config
from tests.support import write_text

leaves = st.none() | st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=2)
configs = st.dictionaries(
    st.sampled_from("abc"), st.recursive(leaves, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1))
)


def _leaves(config: Any, at: str = "/") -> dict[str, Any]:
    """Every value that is no mapping, by its path."""
    if not isinstance(config, dict):
        return {at: config}
    return {place: value for key, inner in config.items() for place, value in _leaves(inner, f"{at}{key}/").items()}


@given(left=configs, right=configs)
def test_the_right_one_wins_wherever_it_says_something_and_both_are_left_as_they_are(left: dict[str, Any], right: dict[str, Any]) -> None:
    before = copy.deepcopy((left, right))
    merged = load_config(left, right)
    assert (left, right) == before
    said = _leaves(right)
    kept = {place: value for place, value in _leaves(left).items() if not any(place.startswith(by) or by.startswith(place) for by in said)}
    assert _leaves(merged) == kept | said


@given(sources=st.lists(configs, min_size=2, max_size=4))
def test_sources_are_merged_from_left_to_right(sources: list[dict[str, Any]]) -> None:
    assert load_config(*sources) == load_config(load_config(*sources[:-1]), sources[-1])


def test_mappings_in_mappings_are_merged_and_everything_else_replaced() -> None:
    left = {"model": {"depth": 2, "width": 64}, "datasets": [1, 2], "seed": {"of": 1}, "name": "left"}
    right = {"model": {"depth": 4}, "datasets": [3], "seed": 7, "name": None}
    assert load_config(left, right) == {"model": {"depth": 4, "width": 64}, "datasets": [3], "seed": 7, "name": None}
    assert load_config(right, left)["seed"] == {"of": 1}


def test_what_is_given_back_shares_nothing_with_the_sources() -> None:
    source = {"datasets": [{"weight": 1}], "model": {"sizes": [1]}}
    before = copy.deepcopy(source)
    loaded = load_config(source)
    loaded["datasets"][0]["weight"] = 2
    loaded["model"]["sizes"].append(2)
    assert source == before


def test_files_and_mappings_go_together(tmp_path: Path) -> None:
    one = write_text(tmp_path / "base.yaml", "seq_len: 512\nmodel: {depth: 2, name: übung}\n")
    other = write_text(tmp_path / "more.json", '{"model": {"depth": 3}, "weight": 1.5}')
    empty = write_text(tmp_path / "empty.yml", "# nothing yet\n")
    assert load_config(one, str(other), empty, {"seq_len": 64}) == {"seq_len": 64, "model": {"depth": 3, "name": "übung"}, "weight": 1.5}
    assert load_config() == {}


@pytest.mark.parametrize(
    ("name", "text", "refusal"),
    [
        ("a.yaml", "a: [1", "cannot be parsed"),
        ("a.yaml", "a: !!python/object/apply:os.getcwd []", "cannot be parsed"),
        ("a.json", "{", "cannot be parsed"),
        ("a.yml", b"\xff\xfe\xff", "cannot be parsed"),
        ("a.json", b'{"a": "\xff"}', "cannot be parsed"),
        ("a.yaml", "- 1", "holds a list; a configuration is a mapping"),
        ("a.json", "3", "holds a int; a configuration is a mapping"),
        ("a.toml", "a = 1", r"is neither YAML \(\.yaml, \.yml\) nor JSON \(\.json\)"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_its_name(tmp_path: Path, name: str, text: str | bytes, refusal: str) -> None:
    path = write_text(tmp_path / name, text)
    with pytest.raises(ValueError, match=f"^{path}: {refusal}"):
        load_config({}, path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")


@given(config=configs)
def test_what_yaml_and_json_hold_comes_back(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("configs")
    (folder / "c.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "c.json").write_text(json.dumps(config), encoding="utf-8")
    assert load_config(folder / "c.yaml") == load_config(folder / "c.json") == config
