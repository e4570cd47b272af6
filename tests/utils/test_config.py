"""Configurations are loaded from files, mappings and overrides, and saved."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from phyagi_assets.utils.config import filter_dict, filter_lists, for_resolver, load_config, override_nested_dict, save_config
from tests.support import write_text

leaves = st.none() | st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=2)
configs = st.dictionaries(
    st.sampled_from("abc"), st.recursive(leaves, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1))
)


SOME = settings(max_examples=settings.default.max_examples // 2)  # OmegaConf takes some 20 ms for each


def _leaves(config: Any, at: str = "/") -> dict[str, Any]:
    """Return every value that is not a mapping, by its path."""
    if not isinstance(config, dict):
        return {at: config}
    return {place: value for key, inner in config.items() for place, value in _leaves(inner, f"{at}{key}/").items()}


@SOME
@given(left=configs, right=configs)
def test_right_source_takes_precedence_and_sources_are_not_modified(left: dict[str, Any], right: dict[str, Any]) -> None:
    before = copy.deepcopy((left, right))
    merged = load_config(left, right)
    assert (left, right) == before
    said = _leaves(right)
    kept = {place: value for place, value in _leaves(left).items() if not any(place.startswith(by) or by.startswith(place) for by in said)}
    assert _leaves(merged) == kept | said


@SOME
@given(sources=st.lists(configs, min_size=2, max_size=4))
def test_sources_are_merged_from_left_to_right(sources: list[dict[str, Any]]) -> None:
    assert load_config(*sources) == load_config(load_config(*sources[:-1]), sources[-1])


def test_nested_mappings_are_merged_and_other_values_replaced() -> None:
    left = {"model": {"depth": 2, "width": 64}, "datasets": [1, 2], "seed": {"of": 1}, "name": "left"}
    right = {"model": {"depth": 4}, "datasets": [3], "seed": 7, "name": None}
    assert load_config(left, right) == {"model": {"depth": 4, "width": 64}, "datasets": [3], "seed": 7, "name": None}
    assert load_config(right, left)["seed"] == {"of": 1}


def test_loaded_configuration_shares_no_objects_with_its_sources() -> None:
    source = {"datasets": [{"weight": 1}], "model": {"sizes": [1]}}
    before = copy.deepcopy(source)
    loaded = load_config(source)
    loaded["datasets"][0]["weight"] = 2
    loaded["model"]["sizes"].append(2)
    assert source == before


def test_files_and_mappings_can_be_combined(tmp_path: Path) -> None:
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
def test_invalid_file_raises_an_error_with_its_path(tmp_path: Path, name: str, text: str | bytes, refusal: str) -> None:
    path = write_text(tmp_path / name, text)
    with pytest.raises(ValueError, match=f"^{path}: {refusal}"):
        load_config({}, path)


def test_missing_file_raises_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")


@SOME
@given(config=configs)
def test_yaml_and_json_files_load_as_their_content(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("configs")
    (folder / "c.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "c.json").write_text(json.dumps(config), encoding="utf-8")
    assert load_config(folder / "c.yaml") == load_config(folder / "c.json") == config


def test_interpolations_are_resolved_unless_native_types_are_off() -> None:
    config = {"seq_len": 512, "model": {"width": "${seq_len}", "name": "gpt-${seq_len}"}}
    assert load_config(config)["model"] == {"width": 512, "name": "gpt-512"}
    assert load_config(config, {"seq_len": 64})["model"]["width"] == 64
    native = load_config(config, use_native_types=False)
    assert type(native).__name__ == "DictConfig"
    native.seq_len = 8
    assert native.model.width == 8
    assert load_config(native) == {"seq_len": 8, "model": {"width": 8, "name": "gpt-8"}}


def test_interpolation_of_a_missing_key_raises_an_error_with_the_key_that_uses_it() -> None:
    with pytest.raises(ValueError, match=r"^model\.width: .*'sequence' not found"):
        load_config({"model": {"width": "${sequence}"}})


def test_overrides_are_parsed_as_yaml_and_set_nested_keys_and_list_items() -> None:
    config = {"model": {"width": 64}, "datasets": [{"weight": 1.0}, {"weight": 2.0}], "name": "a"}
    overrides = ["model.width=128", "--datasets.1.weight=1e-1", "name=", "model.sizes=[1, 2]", "new.key=true", "text=a=b"]
    assert (
        load_config(config, overrides)
        == {
            "model": {"width": 128, "sizes": [1, 2]},
            "datasets": [{"weight": 1.0}, {"weight": 0.1}],
            "name": None,
            "new": {"key": True},
            "text": "a=b",
        }
        or load_config(config, overrides)["name"] == ""
    )
    assert load_config(overrides[:1], {"model": {"width": 1}}) == {"model": {"width": 1}}


@pytest.mark.parametrize("override", ["seq_len", "--seq_len", "=3", "a.b.=[", "datasets.7.weight=1"])
def test_invalid_override_raises_an_error_that_quotes_it(override: str) -> None:
    with pytest.raises(ValueError, match=r"^override "):
        load_config({"datasets": [{}]}, [override])


@SOME
@given(config=configs)
def test_saved_configuration_loads_unchanged(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("saved")
    for name in ("new/a.yaml", "a.json"):
        save_config(config, folder / name)
        assert load_config(folder / name) == config


def test_saved_configuration_has_paths_as_strings_and_unresolved_interpolations(tmp_path: Path) -> None:
    save_config({"cache_dir": tmp_path, "width": "${depth}", "depth": 2}, str(tmp_path / "a.yaml"))
    assert load_config(tmp_path / "a.yaml", ["depth=3"]) == {"cache_dir": str(tmp_path), "width": 3, "depth": 3}
    save_config(load_config({"a": "${b}", "b": 1}, use_native_types=False), tmp_path / "b.yaml")
    assert "a: ${b}" in (tmp_path / "b.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_unserializable_configuration_raises_and_keeps_the_previous_file(tmp_path: Path, name: str) -> None:
    save_config({"a": 1}, tmp_path / name)
    with pytest.raises(ValueError, match="config: cannot be saved"):
        save_config({"a": object()}, tmp_path / name)
    assert [load_config(tmp_path / name), [path.name for path in tmp_path.iterdir()]] == [{"a": 1}, [name]]


def test_for_resolver_repeats_an_object_and_numbers_its_strings() -> None:
    assert for_resolver({"name": "x#", "at": ["#", 1]}, 2, "#") == [{"name": "x0", "at": ["0", 1]}, {"name": "x1", "at": ["1", 1]}]
    assert for_resolver("a") == ["a"]
    assert for_resolver("a", 0) == []
    of = {"block": {"name": "x#"}, "blocks": "${for:${block},2,'#'}"}
    assert load_config(of)["blocks"] == [{"name": "x0"}, {"name": "x1"}]


def test_filters_remove_a_value_and_the_list_items_beside_it() -> None:
    assert filter_dict({"a": 1, "b": None, "c": 0}) == {"a": 1, "c": 0}
    assert filter_dict({"a": 1, "b": True}, value=1) == {"b": True}
    assert filter_lists([1, None, 3], ["a", "b", None]) == ([1], ["a"])
    assert filter_lists([], []) == ([], [])
    assert filter_lists([1, 2], [3, 1], value=1) == ([], [])
    with pytest.raises(ValueError, match="argument 2 is"):
        filter_lists([1], [1, 2])


@SOME
@given(left=configs, right=configs)
def test_override_nested_dict_merges_like_load_config(left: dict[str, Any], right: dict[str, Any]) -> None:
    before = copy.deepcopy((left, right))
    assert override_nested_dict(left, right) == load_config(left, right)
    assert (left, right) == before


def test_missing_omegaconf_raises_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "omegaconf", None)
    with pytest.raises(ImportError, match=r"phyagi-assets\[config\]"):
        load_config({})
