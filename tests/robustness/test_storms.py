"""Builds and training on a bucket whose server fails at random requests."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.objects.retries import RetryPolicy
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.base import Store
from phyagi_assets.store.copying import copy_versions, version_copies
from phyagi_assets.store.local import LocalStore
from tests.bucket_stores import store_in_bucket
from tests.s3 import S3Server, Storm
from tests.support import build

PLACE = "s3://raw/lab/store"
PATIENT = RetryPolicy(attempts=20, pause=0.01)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    soak = metafunc.config.getoption("soak")
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(50 if soak else 1))
    if "count" in metafunc.fixturenames:
        metafunc.parametrize("count", [10 if soak else 4])


@pytest.fixture
def quiet(built_plays: Workspace) -> Workspace:
    """The plays and their mixture, built on a disk."""
    return built_plays


def build_all(workspace: Workspace) -> None:
    catalog = load_catalog(workspace.data)
    partitions = list(build(catalog.corpora["plays"], workspace))
    assert not build_mixture(catalog.mixtures["mix"], catalog.corpora, {"plays": partitions}, workspace).failures


def in_bucket(quiet: Workspace, scratch: Path, read_timeout: float = 60.0) -> Workspace:
    """Return a workspace of another machine: with the store in the bucket, and a scratch folder of its own."""
    store = store_in_bucket(PLACE, scratch=scratch, retry_policy=PATIENT, read_timeout=read_timeout)
    return Workspace(data=quiet.data, store=store, engines=quiet.engines)


def put_tokenizer(prepared: Path, store: Store) -> None:
    """Copy the tokenizer with the report of its conformance run, which takes longer to make than everything else."""
    assert list(copy_versions(version_copies(LocalStore(prepared), store)))


def published(store: Store) -> dict[str, dict[str, bytes]]:
    """Return the files of all published artifacts, by address and path."""
    folders = {address: artifact.folder() for address in store.list() if (artifact := store.open(address, intact=True))}
    return {
        address: {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")} for address, folder in folders.items()
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_build_during_a_storm_has_the_bytes_of_a_quiet_disk(
    quiet: Workspace, prepared_store: Path, s3: S3Server, tmp_path: Path, seed: int
) -> None:
    there = in_bucket(quiet, tmp_path / "scratch", read_timeout=2.0)
    storm = s3.faults.storm = Storm(seed, share=0.25, stall=3.0)
    put_tokenizer(prepared_store, there.store)
    build_all(there)
    assert published(there.store) == published(quiet.store)
    assert sum(storm.raised.values()) > 10
    s3.faults.storm = None
    after = in_bucket(quiet, tmp_path / "after")
    assert published(after.store) == published(quiet.store)
    assert all(version.damage(checksums=True) == [] for version in after.store.survey().versions)


@pytest.mark.usefixtures("s3")
def test_machines_that_build_in_one_bucket_at_once_lose_nothing(quiet: Workspace, prepared_store: Path, tmp_path: Path, count: int) -> None:
    machines = [in_bucket(quiet, tmp_path / f"{number}") for number in range(count)]
    put_tokenizer(prepared_store, machines[0].store)
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(build_all, machines))
    after = in_bucket(quiet, tmp_path / "after").store
    assert published(after) == published(quiet.store)
    assert len(after.survey().versions) == len(published(quiet.store))
