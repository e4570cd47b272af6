"""Addresses, and the names of versions."""

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.errors import StoreError
from phyagi_assets.store.addresses import Address, Version, path_in_store, root_around, split_version_name

FINGERPRINT = "0123456789abcdef" * 2
names = st.from_regex(r"[\w%][\w.%-]{0,20}", fullmatch=True)


@given(parts=st.lists(names, min_size=2, max_size=3))
def test_address_is_a_string_with_name_step_and_key(parts: list[str]) -> None:
    text = "/".join(parts)
    address = Address(text)
    assert address == text
    assert (address.name, address.step, address.key, address.is_of_partition) == (parts[0], parts[1], parts[-1], len(parts) == 3)
    assert json.loads(json.dumps([address])) == [text]
    assert isinstance(pickle.loads(pickle.dumps(address)), Address)


@pytest.mark.parametrize("text", ["a", "../a/b", "a/..", "/a/b", "a//b", "a/.versions", "a/b@c", "", f"a/{'b' * 223}"])
def test_address_that_leads_out_of_the_store_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match=r"is not an address in the store|is too long for a name in the store"):
        Address(text)


@given(parts=st.lists(names, min_size=2, max_size=3))
def test_version_is_found_by_its_folder(parts: list[str]) -> None:
    version = Version(Address("/".join(parts)), FINGERPRINT)
    folder, versions, name = version.path.rsplit("/", 2)
    assert (folder, versions) == ("/".join(parts[:-1]), ".versions")
    assert Version.of_folder(folder, name) == version
    assert split_version_name(name) == (parts[-1], FINGERPRINT)


def test_version_is_found_in_a_path_inside_it() -> None:
    version = Version(Address("plays/numpy_cache/hamlet"), FINGERPRINT)
    path = f"../../../{version.path}/train.npy"
    assert Version.in_path(path) == version
    assert path_in_store(path) == f"{version.path}/train.npy"
    assert Version.in_path("plays/numpy_cache/hamlet/train.npy") is None


@pytest.mark.parametrize(
    "name", ["hamlet", f"hamlet@{FINGERPRINT[:-1]}", f"@{FINGERPRINT}", f".hamlet@{FINGERPRINT}", f"a@{FINGERPRINT}.copy"]
)
def test_version_refuses_names_of_other_folders(name: str) -> None:
    assert Version.of_folder("plays/numpy_cache", name) is None
    assert split_version_name(name) == ("", "")


def test_store_root_is_found_from_the_folder_of_a_plan() -> None:
    assert root_around(Path(f"/store/mix/.versions/mixed_dataset@{FINGERPRINT}")) == Path("/store")
    assert root_around(Path("/store/mix/mixed_dataset")) is None
