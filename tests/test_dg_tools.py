"""The tools of Dagster that a user or a deployment runs on the project."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from phyagi_assets.orchestration.instance import dagster_environment
from phyagi_assets.settings import Settings
from tests.support import DATA, REPOSITORY


def run(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = dagster_environment(Settings(data=DATA, store=tmp_path / "store"))
    program = str(Path(sys.executable).with_name(command[0]))
    return subprocess.run([program, *command[1:]], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "command",
    [("dg", "check", "defs"), ("dg", "check", "yaml"), ("dagster", "definitions", "validate", "-w", "workspace.yaml")],
    ids=" ".join,
)
def test_dagster_tools_validate_the_project_without_warnings(tmp_path: Path, command: tuple[str, ...], pytestconfig: pytest.Config) -> None:
    if command[0] == "dagster" and not pytestconfig.getoption("soak"):
        pytest.skip("the former name of `dg check defs`; --soak runs it")
    done = run(tmp_path, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    warnings = [line for line in (done.stdout + done.stderr).splitlines() if "Warning" in line]
    assert all("SupersessionWarning" in line and "phyagi_assets" not in line for line in warnings), (
        warnings
    )  # Dagster's, of its old command


def test_dg_lists_the_assets_of_the_sample_data(tmp_path: Path) -> None:
    done = run(tmp_path, "dg", "list", "defs", "--json")
    assert done.returncode == 0, done.stderr
    keys = {asset["asset_key"] for asset in json.loads(done.stdout)["assets"]}
    chains = {f"{corpus}/{stage}" for corpus in ("shakespeare", "factbook") for stage in ("raw_dataset", "tokenized_arrow", "numpy_cache")}
    assert keys == {*chains, "demo/mixed_dataset", "store"}


def test_definitions_load_from_an_installed_package_without_the_project(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "phyagi_assets", tmp_path / "installed" / "phyagi_assets")
    code = "from phyagi_assets.definitions import defs; print(len(list(defs().resolve_all_asset_specs())))"
    environment = {**dagster_environment(Settings(data=DATA, store=tmp_path / "store")), "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "8", done.stderr
