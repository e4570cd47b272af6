"""Folders: given by an argument, else by the environment, else in the working directory."""

import pwd
import re
from pathlib import Path

import pytest

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.objects.aws_profiles import S3Settings, s3_settings
from phyagi_assets.settings import CACHE_VARIABLE, DATA_VARIABLE, STORE_VARIABLE, CacheSettings, Settings, library_store
from phyagi_assets.tokenizers.conformance_reports import REPORTS_FOLDER_VARIABLE, reports_folder


def test_arguments_take_precedence_over_environment_variables_and_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.resolve() == Settings(data=tmp_path / "data", store=tmp_path / "data" / "store")
    monkeypatch.setenv(DATA_VARIABLE, "/d")
    assert Settings.resolve().store == Path("/d/store")
    monkeypatch.setenv(STORE_VARIABLE, "/s")
    assert Settings.resolve() == Settings(data=Path("/d"), store=Path("/s"))
    assert Settings.resolve(data="/other", store="here") == Settings(data=Path("/other"), store=tmp_path / "here")


def test_empty_argument_is_refused_and_an_empty_variable_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in (DATA_VARIABLE, STORE_VARIABLE, CACHE_VARIABLE):
        monkeypatch.setenv(variable, "")
    assert Settings.resolve() == Settings(data=tmp_path / "data", store=tmp_path / "data" / "store")
    for settle in (lambda: Settings.resolve(data=""), lambda: Settings.resolve(store=""), lambda: CacheSettings.resolve("")):
        with pytest.raises(PhyagiAssetsError, match="has an empty name, perhaps from an unset variable; name a folder"):
            settle()


def test_missing_data_folder_raises_an_error_that_suggests_init(tmp_path: Path) -> None:
    with pytest.raises(PhyagiAssetsError, match="phyagi-assets init DIR"):
        Settings.resolve(data=tmp_path / "none").require_data()


def test_missing_data_folder_inside_a_data_folder_raises_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    (data / "corpora").mkdir(parents=True)
    monkeypatch.chdir(data)
    expected = f"{data / 'data'}: there is no data folder here, but {data} is one; run the command in {tmp_path}, or "
    with pytest.raises(PhyagiAssetsError, match=f"^{re.escape(expected)}"):
        Settings.resolve().require_data()


@pytest.mark.parametrize(
    "address", ["s3://bucket/x", "s3:/bucket/x", "gs://b", "az://c/x", "file:///tmp/x", "hf://org/name", "HTTPS://host/x"]
)
@pytest.mark.parametrize("is_in_environment", [True, False])
def test_url_as_data_folder_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, is_in_environment: bool) -> None:
    scheme = address.partition(":")[0]
    monkeypatch.chdir(tmp_path)
    if is_in_environment:
        monkeypatch.setenv(DATA_VARIABLE, address)
    with pytest.raises(PhyagiAssetsError, match=rf"the data folder is a folder on this machine; {scheme}: addresses are"):
        Settings.resolve(data=None if is_in_environment else address)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["s3://bucket", "s3://bucket/a/b", "gs://b.c/x", "az://c/x", "s3://b/of a lab/é+%20"])
def test_address_of_a_bucket_is_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv(STORE_VARIABLE, f"{address}/")
    settings = Settings.resolve()
    assert (settings.store, settings.data, settings.has_store) == (address, tmp_path / "data", True)
    assert settings.dagster_home.parent == tmp_path / "share" / "phyagi-assets"
    assert settings.dagster_home != Settings.resolve(store=f"{address}/other").dagster_home
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3:/bucket/x", r"the store 's3:/bucket/x' is not a valid address; write it as in s3://bucket/folder"),
        ("s3://", "is not a valid address"),
        ("gs://bucket/../x", "is not a valid address"),
        ("az://c//x", "is not a valid address"),
        (" s3://bucket/x", "the store ' s3://bucket/x' is not a valid address"),
        ("S3:bucket/x", "the store 'S3:bucket/x' is not a valid address"),
        (" ", "the store has an empty name"),
        ("s3://bucket/x ", "is not a valid address"),
        ("s3://key:secret@bucket/x", r"the store 's3://\*\*\*@bucket/x' is not a valid address"),
        ("file:///tmp/x", r"the store is a folder, or in a bucket \(s3://, gs://, az://\); file: addresses are not supported"),
        ("hf://org/name", "hf: addresses are not supported"),
    ],
)
def test_store_at_an_unknown_kind_of_address_raises(address: str, message: str) -> None:
    with pytest.raises(PhyagiAssetsError, match=message):
        Settings.resolve(store=address)


def test_home_folder_of_an_unknown_user_raises() -> None:
    with pytest.raises(PhyagiAssetsError, match="the store '~nobody-of-this-name/x' cannot be found"):
        Settings.resolve(store="~nobody-of-this-name/x")


@pytest.mark.parametrize("below", [".", "store"])
def test_store_on_a_disk_that_is_not_mounted_raises(below: str, tmp_path: Path) -> None:
    (tmp_path / "big").symlink_to(tmp_path / "disk")
    with pytest.raises(PhyagiAssetsError, match=r"big is a link to .*disk, which leads nowhere; mount its disk"):
        Settings.resolve(store=tmp_path / "big" / below)
    (tmp_path / "disk").mkdir()
    assert Settings.resolve(store=tmp_path / "big" / below).store == tmp_path / "big" / below


def test_missing_home_folder_is_an_error_that_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (
        "HOME",
        "XDG_CACHE_HOME",
        "XDG_DATA_HOME",
        "DAGSTER_HOME",
        "AWS_CONFIG_FILE",
        "AWS_PROFILE",
        REPORTS_FOLDER_VARIABLE,
        STORE_VARIABLE,
    ):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # as in a container whose user id has no account
    with pytest.raises(PhyagiAssetsError, match="home folder of the user cannot be found; set HOME or XDG_CACHE_HOME"):
        library_store()
    with pytest.raises(PhyagiAssetsError, match="set HOME or XDG_DATA_HOME"):
        Settings.resolve(store="s3://bucket").dagster_home  # noqa: B018
    assert reports_folder() is None
    assert s3_settings() == S3Settings()


def test_folders_that_variables_name_are_paths_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {"DAGSTER_HOME": lambda: Settings.resolve().dagster_home, REPORTS_FOLDER_VARIABLE: reports_folder}
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable, folder in folders.items():
        monkeypatch.setenv(variable, "~/kept")  # as in an env file, which no shell expands
        assert folder() == tmp_path / "kept"
        for wrong in ("s3://bucket/kept", "~nobody-of-this-name/kept"):
            monkeypatch.setenv(variable, wrong)
            with pytest.raises(PhyagiAssetsError, match=f"the folder {variable}"):
                folder()


@pytest.mark.parametrize("which", ["data", "store"])
def test_too_long_path_raises(which: str, tmp_path: Path) -> None:
    with pytest.raises(PhyagiAssetsError, match="cannot be used: File name too long"):
        Settings.resolve(**{which: tmp_path / ("x" * 300)})
