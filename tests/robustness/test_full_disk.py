"""On a full disk, published artifacts stay, the message names the reason, and the next run with enough space completes the store."""

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from phyagi_assets.store.state import State
from tests.robustness.command import Ended
from tests.robustness.readers import Known, Reader, what_is_published
from tests.robustness.reference_stores import ReferenceStores, check_whole, materialize, staging_leftovers
from tests.s3 import s3_server
from tests.support import copy_store, declare_corpus, small_disk, write_text
from tests.tokenizers.faulty_engines import store_contents


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "room" in metafunc.fixturenames:
        rooms = [random.Random(seed).uniform(0.05, 0.95) for seed in range(20)] if metafunc.config.getoption("soak") else [0.8]
        metafunc.parametrize("room", rooms, ids=[f"{room:.2f}" for room in rooms])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system in memory."""
    with small_disk(tmp_path / "disk", "256m") as folder:
        yield folder


def test_file_size_limit_leaves_no_partial_artifact(reference: ReferenceStores, known: Known, tmp_path: Path, room: float) -> None:
    largest = max(path.stat().st_size for path in reference.refreshed.rglob("*.npy"))
    store = copy_store(reference.built, tmp_path / "store")
    with Reader(store, known) as reader:
        check_full(materialize(reference.refreshed_data, store, file_size=int(room * largest)).ended(), store)
        check_goes_on(reference, store, tmp_path / "log")
    assert reader.saw == []


def test_full_disk_leaves_no_partial_artifact(reference: ReferenceStores, known: Known, tmp_path: Path, disk: Path, room: float) -> None:
    needed = bytes_of_tokens(reference.refreshed) - bytes_of_tokens(reference.built)
    store = copy_store(reference.built, disk / "store")
    with Reader(store, known) as reader:
        resize(disk, str(shutil.disk_usage(disk).used + int(room * needed)))
        check_full(materialize(reference.refreshed_data, store, log=tmp_path / "log").ended(), store)
        resize(disk, "256m")
        check_goes_on(reference, store, tmp_path / "log")
    assert reader.saw == []


def check_full(done: Ended, store: Path) -> None:
    """Check that a command reported the full disk, and left nothing in staging."""
    assert done.code == 1, done.said
    assert f"error: {store}" in done.said or f"error: plays/hamlet: {store}: cannot be written to: " in done.said
    assert "what was published is kept" in done.said
    assert "Traceback" not in done.said
    assert staging_leftovers(store) == []


def check_goes_on(reference: ReferenceStores, store: Path, log: Path) -> None:
    """Check that the next command completes the store."""
    following = materialize(reference.refreshed_data, store, log=log).ended()
    assert following.code == 0, following.said
    check_whole(reference, store, like=reference.refreshed)


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def bytes_of_tokens(store: Path) -> int:
    """Return the size of the token files of all versions, including superseded ones, in bytes."""
    return sum(path.stat().st_size for kind in ("arrow", "npy") for path in store.glob(f"*/*/.versions/*/*.{kind}"))


def test_download_without_disk_space_is_not_reported_as_a_source_that_is_down(reference: ReferenceStores, tmp_path: Path) -> None:
    store, data, text = copy_store(reference.prepared, tmp_path / "store"), tmp_path / "data", b"The same again. " * 60_000
    declare_corpus(data, "far", "s3://raw/*.txt")
    with s3_server(tmp_path / "s3") as server:
        server.put("far.txt", text)
        done = materialize(data, store, file_size=len(text) - 1, environment=server.environment).ended()
        assert done.code == 1, done.said
        assert f"error: far/all: {store}: cannot be written to: File too large; what was published is kept" in done.said
        assert what_is_published(store).keys() == what_is_published(reference.prepared).keys()
        following = materialize(data, store, environment=server.environment).ended()
    assert following.code == 0, following.said
    assert (store / "far" / "raw_dataset" / "all" / "files" / "far.txt").read_bytes() == text
    assert not list((store / ".transfers").rglob("*.*"))
    assert staging_leftovers(store) == []


def test_state_that_cannot_be_written_is_ignored(tmp_path: Path) -> None:
    state = State(write_text(tmp_path / "full", "") / "corpus.json")
    state.remember({"asked": "where"})
    assert state.recall() is None
    assert store_contents(tmp_path).keys() == {"full"}
