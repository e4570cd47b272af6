"""Digests of recorded versions, with which a command that has nothing to build does not need Dagster."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from phyagi_assets.orchestration.recorded_digests import RecordedDigests
from phyagi_assets.settings import Settings
from tests.command import command
from tests.support import copy_data, copy_store, declare, declare_corpus, write_jsonl

NEEDLESS = """
import atexit, sys
atexit.register(lambda: print("loaded:", sorted({"awkward", "fastokens", "gigatoken", "pandas"} & set(sys.modules)), file=sys.stderr))
from phyagi_assets.cli import main
main()
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path) -> Path:
    """A data folder with a corpus of two partitions and a mixture of it, all built."""
    data = tmp_path_factory.mktemp("built") / "data"
    for name in ("a", "b"):
        write_jsonl(data / "raw" / f"{name}.jsonl", [f"Document {i} of {name}." for i in range(20)])
    declare_corpus(data, "letters", "raw/*.jsonl", partition_by="file")
    declare(data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": "letters"}])
    copy_store(prepared_store, data / "store")
    assert outcome(data) == "3 built, 0 up to date, 0 failed"
    return data


@pytest.fixture
def data(built: Path, data: Path) -> Path:
    """A copy of that folder."""
    return copy_data(built, data)


def outcome(data: Path) -> str:
    return command("materialize", "--data", data).stdout.splitlines()[-1]


def without_dagster(data: Path) -> subprocess.CompletedProcess[str]:
    return command("materialize", "--data", data, absent=["dagster"])


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
    words = [sys.executable, "-c", NEEDLESS, "materialize", "--data", str(data)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "2 built, 1 up to date, 0 failed", done.stderr
    assert done.stderr.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("lost", [".", "history"])
def test_command_records_everything_again_in_a_new_instance(data: Path, lost: str) -> None:
    shutil.rmtree(Settings.resolve(data=data).dagster_home / lost)
    assert outcome(data) == "0 built, 3 up to date, 0 failed"
    assert without_dagster(data).returncode == 0


def test_failed_command_is_not_cached(data: Path) -> None:
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
