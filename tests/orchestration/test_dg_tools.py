"""The tools of Dagster that a user or a deployment runs on the project."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from phyagi_assets.orchestration.instance import dagster_environment
from phyagi_assets.settings import Settings
from tests.command import forget
from tests.forks import in_fork
from tests.support import DATA, REPOSITORY

Done = subprocess.CompletedProcess[str]

PROGRAM = """
import contextlib, io, json, sys
from dagster_dg_cli.cli import main
done = []
for words in json.loads(sys.argv[1]):
    sys.argv, code = words, 0
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    done.append([words, code, said.getvalue(), errors.getvalue()])
print(json.dumps(done))
"""
"""Runs ``dg`` with several lists of words, since its imports take longer than the commands."""
CHECK, LIST = ["dg", "check", "defs"], ["dg", "list", "defs", "--json"]


def run(store: Path, *command: str) -> Done:
    environment = dagster_environment(Settings(data=DATA, store=store))
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def dg(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Done]:
    """Results of commands of ``dg``, in one interpreter."""
    done = run(tmp_path_factory.mktemp("dg") / "store", sys.executable, "-c", PROGRAM, json.dumps([CHECK, LIST]))
    assert done.returncode == 0, done.stderr
    printed, last = done.stdout.splitlines()[:-1], done.stdout.splitlines()[-1]  # before it is what went around the streams of Python
    around = "\n".join([*printed, done.stderr])
    return {" ".join(words): Done(words, code, said, errors + around) for words, code, said, errors in json.loads(last)}


def without_warnings(done: Done) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    warnings = [line for line in (done.stdout + done.stderr).splitlines() if "Warning" in line]
    assert all("SupersessionWarning" in line and "phyagi_assets" not in line for line in warnings), (
        warnings
    )  # Dagster's, of its old command


def test_dg_validates_the_project_and_its_yaml_without_warnings(dg: Mapping[str, Done]) -> None:
    without_warnings(dg["dg check defs"])
    assert "All component YAML validated successfully" in dg["dg check defs"].stdout + dg["dg check defs"].stderr


@pytest.mark.parametrize("command", ["dg check yaml", "dagster definitions validate -w workspace.yaml"])
def test_dg_commands_validate_the_project_without_warnings(tmp_path: Path, command: str, pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("soak"):
        pytest.skip("a part of `dg check defs`, and its former name; --soak runs them")
    program, *words = command.split()
    without_warnings(run(tmp_path / "store", str(Path(sys.executable).with_name(program)), *words))


def test_dg_lists_the_assets_of_the_sample_data(dg: Mapping[str, Done]) -> None:
    done = dg["dg list defs --json"]
    assert done.returncode == 0, done.stderr
    keys = {asset["asset_key"] for asset in json.loads(done.stdout)["assets"]}
    chains = {f"{corpus}/{stage}" for corpus in ("shakespeare", "factbook") for stage in ("raw_dataset", "tokenized_arrow", "numpy_cache")}
    assert keys == {*chains, "demo/mixed_dataset", "store"}


def test_definitions_load_from_an_installed_package_without_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(REPOSITORY / "phyagi_assets", tmp_path / "installed" / "phyagi_assets")
    for name, value in dagster_environment(Settings(data=DATA, store=tmp_path / "store")).items():
        monkeypatch.setenv(name, value)
    module, specs = in_fork(_definitions_in, tmp_path / "installed", dict(os.environ))
    assert (module, specs) == (str(tmp_path / "installed" / "phyagi_assets" / "definitions.py"), 8)


def _definitions_in(folder: Path, environment: Mapping[str, str]) -> tuple[str | None, int]:
    """Load the definitions of the package in a folder; return its file and the number of its assets."""
    os.chdir(folder.parent)
    os.environ.clear()
    os.environ.update(environment)
    forget("phyagi_assets")
    sys.path.insert(0, str(folder))
    found = importlib.import_module("phyagi_assets.definitions")
    return found.__file__, len(list(found.defs().resolve_all_asset_specs()))
