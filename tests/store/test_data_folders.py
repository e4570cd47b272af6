"""A store records which data folder declares its names."""

import logging
import shutil
from pathlib import Path

import pytest

from phyagi_assets.store.base import Store
from phyagi_assets.store.data_folders import claim, of_others, other_folder, replaced_by_copy
from phyagi_assets.store.local import LocalStore
from tests.support import declare_corpus


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = LocalStore(tmp_path / "store")
    for name in ("plays", "notes"):
        (store.root / name).mkdir(parents=True)
    return store


def test_second_data_folder_is_warned_of_the_first_and_does_not_clean_its_artifacts(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for data in ("a", "b"):
        declare_corpus(tmp_path / data, "plays", "*.txt")
    with caplog.at_level(logging.WARNING):
        claim(store, tmp_path / "a", ["plays", "notes"])
        claim(store, tmp_path / "a", ["plays", "notes"])
        assert caplog.messages == []
        assert of_others(store, tmp_path / "a", {"plays"}) == {}
        assert of_others(store, tmp_path / "b", {"plays"}).keys() == {"plays", "notes"}
        assert f"the data folder {tmp_path / 'a'}, and now from {tmp_path / 'b'}" in other_folder(store, tmp_path / "b", "plays")
        assert other_folder(store, tmp_path / "a", "plays") == other_folder(store, tmp_path / "b", "unknown") == ""
        claim(store, tmp_path / "b", ["plays"])
    assert [f"the data folder {tmp_path / 'a'}, and now from {tmp_path / 'b'}" in message for message in caplog.messages] == [True]
    assert of_others(store, tmp_path / "third", set()).keys() == {"plays", "notes"}


def test_copy_onto_names_of_another_data_folder_is_warned_of(store: Store, tmp_path: Path) -> None:
    for data in ("a", "b"):
        declare_corpus(tmp_path / data, "plays", "*.txt")
    other = LocalStore(tmp_path / "other")
    claim(store, tmp_path / "a", ["plays", "notes"])
    assert replaced_by_copy(store, other, "plays") == ""
    claim(other, tmp_path / "a", ["notes"])
    claim(other, tmp_path / "b", ["plays"])
    assert replaced_by_copy(store, other, "notes") == ""
    warning = replaced_by_copy(store, other, "plays")
    assert warning.startswith(f"plays: was built in {other} from the data folder {tmp_path / 'b'}; what is published there is replaced")


def test_moved_data_folder_keeps_its_names(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    declare_corpus(tmp_path / "a", "plays", "*.txt")
    claim(store, tmp_path / "a", ["plays"])
    shutil.move(tmp_path / "a", tmp_path / "moved")
    assert of_others(store, tmp_path / "moved", {"plays"}) == {}
    claim(store, tmp_path / "moved", ["plays"])
    assert caplog.messages == []


def test_store_without_records_belongs_to_the_data_folder_that_declares_its_artifacts(store: Store, tmp_path: Path) -> None:
    assert of_others(store, tmp_path / "third", {"else"}).keys() == {"plays", "notes"}
    assert of_others(store, tmp_path / "a", {"plays"}) == {}
    assert of_others(store, tmp_path, set()) == {}


@pytest.mark.parametrize("record", ["[]", '{"relative": 5, "absolute": "/data"}', '{"relative": "\\u0000", "absolute": "/data"}'])
def test_name_with_a_damaged_record_of_its_data_folder_is_not_cleaned(tmp_path: Path, record: str) -> None:
    store = LocalStore(tmp_path / "store")
    claim(store, tmp_path / "data", ["plays"])
    store.state("data_folders", "plays").path.write_text(record)
    assert other_folder(store, tmp_path / "other", "plays") == ""
    (store.root / "plays").mkdir()
    assert of_others(store, tmp_path, {"plays"}) == {}
    assert f"plays was built from {tmp_path}" in of_others(store, tmp_path, set())["plays"]
