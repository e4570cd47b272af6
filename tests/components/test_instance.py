"""The project's own instance."""

from pathlib import Path

import pytest

from phyagi_assets.components.instance import dagster_environment, open_instance
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.settings import Settings


def test_it_lives_in_the_store_and_tells_nobody(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data", store=tmp_path / "data" / "store")
    with open_instance(settings) as instance:
        assert instance.telemetry_enabled is False
        assert Path(instance.root_directory) == settings.store / ".dagster"


def test_dagster_home_is_heeded_and_its_settings_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("nux: {enabled: true}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    environment = dagster_environment(Settings(data=tmp_path, store=tmp_path / "store"))
    assert environment["DAGSTER_HOME"] == str(home)
    assert (home / "dagster.yaml").read_text() == "nux: {enabled: true}\n"


@pytest.mark.parametrize("text", ["[", "x: y\n"])
def test_a_wrong_configuration_of_dagster_is_named(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    settings = Settings(data=tmp_path, store=tmp_path / "store")
    with (
        pytest.raises(PhyagiAssetsError, match=r"dagster\.yaml: is not a valid configuration of Dagster"),
        open_instance(settings),
    ):
        pass
