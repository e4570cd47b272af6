"""The project's own instance."""

import os
from pathlib import Path

import pytest

from phyagi_assets.components.instance import UI, dagster_environment, open_instance, ui_environment
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.pipeline.store import Store
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


def test_a_second_ui_on_a_store_says_that_one_is_running(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, store=tmp_path / "store")
    first = Store(settings.store).keep_turn(UI)
    assert first is not None
    assert os.get_inheritable(first)  # the command executes dg, which keeps the lock
    try:
        with pytest.raises(PhyagiAssetsError, match="store: a UI is already running on this store"):
            ui_environment(settings)
    finally:
        os.close(first)


@pytest.mark.parametrize("text", ["[", "x: y\n"])
def test_a_ui_with_a_wrong_configuration_of_dagster_does_not_start(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with pytest.raises(PhyagiAssetsError, match=r"dagster\.yaml: is not a valid configuration of Dagster"):
        ui_environment(Settings(data=tmp_path, store=tmp_path / "store"))
    assert sorted(path.name for path in home.iterdir()) == ["dagster.yaml"]
