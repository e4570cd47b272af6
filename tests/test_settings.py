"""Folders: given by an argument, else by the environment, else in the working directory."""

from pathlib import Path

import pytest

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.settings import DATA_VARIABLE, STORE_VARIABLE, Settings


def test_arguments_take_precedence_over_environment_variables_and_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.resolve() == Settings(data=tmp_path / "data", store=tmp_path / "data" / "store")
    monkeypatch.setenv(DATA_VARIABLE, "/d")
    assert Settings.resolve().store == Path("/d/store")
    monkeypatch.setenv(STORE_VARIABLE, "/s")
    assert Settings.resolve() == Settings(data=Path("/d"), store=Path("/s"))
    assert Settings.resolve(data="/other", store="here") == Settings(data=Path("/other"), store=tmp_path / "here")


def test_missing_data_folder_raises_an_error_that_suggests_init(tmp_path: Path) -> None:
    with pytest.raises(PhyagiAssetsError, match="phyagi-assets init DIR"):
        Settings.resolve(data=tmp_path / "none").require_data()


@pytest.mark.parametrize(
    "address", ["s3://bucket/x", "s3:/bucket/x", "gs://b", "az://c/x", "file:///tmp/x", "hf://org/name", "HTTPS://host/x"]
)
@pytest.mark.parametrize("variable", [DATA_VARIABLE, STORE_VARIABLE])
def test_url_as_data_folder_or_store_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, address: str) -> None:
    monkeypatch.chdir(tmp_path)
    what = {DATA_VARIABLE: "data folder", STORE_VARIABLE: "store"}[variable]
    message = rf"the {what} is a folder on this machine; {address.partition(':')[0]}: addresses are not supported"
    with pytest.raises(PhyagiAssetsError, match=message):
        Settings.resolve(**{what.partition(" ")[0]: address})
    monkeypatch.setenv(variable, address)
    with pytest.raises(PhyagiAssetsError, match=message):
        Settings.resolve()
    assert list(tmp_path.iterdir()) == []


def test_home_folder_of_an_unknown_user_raises() -> None:
    with pytest.raises(PhyagiAssetsError, match="the store '~nobody-of-this-name/x' cannot be found"):
        Settings.resolve(store="~nobody-of-this-name/x")


@pytest.mark.parametrize("which", ["data", "store"])
def test_too_long_path_raises(which: str, tmp_path: Path) -> None:
    with pytest.raises(PhyagiAssetsError, match="cannot be used: File name too long"):
        Settings.resolve(**{which: tmp_path / ("x" * 300)})
