"""Which folders: an argument, else the environment, else the working directory."""

from pathlib import Path

import pytest

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.settings import DATA_VARIABLE, STORE_VARIABLE, Settings


def test_an_argument_goes_before_the_environment_and_that_before_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.resolve() == Settings(data=tmp_path / "data", store=tmp_path / "data" / "store")
    monkeypatch.setenv(DATA_VARIABLE, "/d")
    assert Settings.resolve().store == Path("/d/store")
    monkeypatch.setenv(STORE_VARIABLE, "/s")
    assert Settings.resolve() == Settings(data=Path("/d"), store=Path("/s"))
    assert Settings.resolve(data="/other", store="here") == Settings(data=Path("/other"), store=tmp_path / "here")


def test_a_data_folder_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(PhyagiAssetsError, match="phyagi-assets init DIR"):
        Settings.resolve(data=tmp_path / "none").require_data()
