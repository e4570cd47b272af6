"""Digests of recorded versions, which let a command with nothing to build leave Dagster alone."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from phyagi_assets.orchestration.recorded_digests import RecordedDigests
from phyagi_assets.settings import Settings
from phyagi_assets.steps.step import Workspace
from tests.command import command
from tests.support import declare, declare_corpus, write_jsonl

NEEDLESS = """
import atexit, sys
atexit.register(lambda: print("loaded:", sorted({"awkward", "fastokens", "gigatoken", "pandas"} & set(sys.modules)), file=sys.stderr))
from phyagi_assets.cli import main
main()
"""
WITHOUT_DAGSTER = "import sys; sys.modules['dagster'] = None; from phyagi_assets.cli import main; main()"


@pytest.fixture
def data(workspace: Workspace) -> Path:
    """A data folder with a corpus of two partitions and a mixture of it, all built."""
    for name in ("a", "b"):
        write_jsonl(workspace.data / "raw" / f"{name}.jsonl", [f"Document {i} of {name}." for i in range(20)])
    declare_corpus(workspace.data, "letters", "raw/*.jsonl", partition_by="file")
    declare(workspace.data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": "letters"}])
    assert outcome(workspace.data) == "3 built, 0 up to date, 0 failed"
    return workspace.data


def outcome(data: Path) -> str:
    return command("materialize", "--data", data).stdout.splitlines()[-1]


def without_dagster(data: Path) -> subprocess.CompletedProcess[str]:
    return materialize(WITHOUT_DAGSTER, data)


def materialize(code: str, data: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, "materialize", "--data", str(data)], capture_output=True, text=True, check=False)


def test_command_that_finds_nothing_to_build_does_not_import_dagster(data: Path) -> None:
    done = without_dagster(data)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0 built, 3 up to date, 0 failed"
    write_jsonl(data / "raw" / "b.jsonl", ["Another document."])
    assert "dagster" in without_dagster(data).stderr
    assert outcome(data) == "2 built, 1 up to date, 0 failed"
    assert without_dagster(data).returncode == 0


def test_small_change_loads_neither_a_fast_engine_nor_pandas(data: Path) -> None:
    write_jsonl(data / "raw" / "b.jsonl", ["Another document."])
    done = materialize(NEEDLESS, data)
    assert done.stdout.splitlines()[-1] == "2 built, 1 up to date, 0 failed", done.stderr
    assert done.stderr.splitlines()[-1] == "loaded: []"


def test_command_records_everything_again_in_a_new_instance(data: Path) -> None:
    shutil.rmtree(Settings.resolve(data=data).dagster_home)
    assert outcome(data) == "3 built, 0 up to date, 0 failed"
    assert without_dagster(data).returncode == 0


def test_command_that_failed_is_not_remembered(data: Path) -> None:
    recorded = RecordedDigests(Settings.resolve(data=data).dagster_home)
    (data / "raw" / "b.jsonl").write_text("not json\n", encoding="utf-8")
    assert outcome(data).endswith("2 failed")
    assert not recorded.match({"letters": "any"})
    assert "dagster" in without_dagster(data).stderr


def test_digests_are_remembered_per_name_until_they_are_forgotten(tmp_path: Path) -> None:
    recorded = RecordedDigests(tmp_path)
    recorded.remember({"letters": "1", "mix": "2"})
    assert recorded.match({"letters": "1", "mix": "2"})
    assert not recorded.match({"letters": "2", "mix": "2"})
    assert not recorded.match({"letters": "1", "words": "3"})
    recorded.forget(["mix", "words"])
    assert recorded.match({"letters": "1"})
    assert not recorded.match({"mix": "2"})
