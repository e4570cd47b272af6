"""Flipped bits in published artifacts are found by `check` and rebuilt to the same bytes. (For the check of the asset: test_checks.py.)"""

import random
from pathlib import Path

import pytest

from phyagi_assets.inspection.integrity import store_problems
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.manifest import MANIFEST
from tests.robustness.command import Command, Ended
from tests.robustness.damage import flip_bit
from tests.robustness.reference_stores import ReferenceStores, check_whole, materialize, published
from tests.support import copy_store

ARRAY = "plays/numpy_cache/hamlet"


def check(reference: ReferenceStores, store: Path, *words: str) -> Ended:
    return Command("check", *words, "--data", reference.data, "--store", store, log=store.with_suffix(".log")).ended()


def test_check_names_the_damaged_file_and_the_next_run_rebuilds_the_same_bytes(reference: ReferenceStores, tmp_path: Path) -> None:
    store = copy_store(reference.built, tmp_path / "store")
    array = LocalStore(store).pointer(ARRAY).resolve() / "train.npy"
    flip_bit(array)
    for words, said in (
        ((), "Damaged artifacts are removed with --discard"),
        (("--discard",), f"{ARRAY}: discarded; materialize builds it"),
    ):
        found = check(reference, store, *words)
        assert found.code == 1, found.said
        assert f"error: {array}: its content is not what was written (checksum differs)" in found.said
        assert ", 1 problem" in found.said
        assert said in found.said
    assert published(store).keys() == published(reference.built).keys() - {ARRAY}
    following = materialize(reference.data, store).ended()
    assert "1 built, 4 up to date, 0 failed" in following.said
    check_whole(reference, store, like=reference.built)
    assert check(reference, store).code == 0


def test_flipped_bit_of_any_published_file_is_detected(reference: ReferenceStores, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    store, draw = copy_store(reference.built, tmp_path / "store"), random.Random(0)
    for address, artifact in published(store).items():
        for name in sorted(artifact.manifest.files.keys() - {MANIFEST}):
            path = artifact.path / name
            for _ in range(20 if pytestconfig.getoption("soak") else 1):
                bit = draw.randrange(8 * path.stat().st_size)
                flip_bit(path, bit)
                assert [str(problem) for problem in store_problems(LocalStore(store), lambda _: None, address.split("/")[0])] == [
                    f"{path}: its content is not what was written (checksum differs)"
                ]
                flip_bit(path, bit)
    assert list(store_problems(LocalStore(store), lambda _: None)) == []
