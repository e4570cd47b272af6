"""Commands that remove something, killed at any of their changes: the store works, and repeating the command completes it."""

import random
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from phyagi_assets.store.local import LocalStore
from tests.robustness.command import Changes, Command, Ended
from tests.robustness.damage import flip_bit
from tests.robustness.readers import what_is_published
from tests.robustness.reference_stores import ReferenceStores, materialize, published, staging_leftovers
from tests.support import copy_store
from tests.tokenizers.faulty_engines import store_contents

ARRAY = "plays/numpy_cache/hamlet"


@dataclass(frozen=True, kw_only=True)
class Removing:
    """A command, and whether it changes the data folder or the store."""

    words: tuple[str, ...]
    in_data: bool = False
    handful: tuple[int, ...] = (0,)
    """Seeds that run without ``--soak``."""

    def __str__(self) -> str:
        return "-".join(word.strip("-") for word in self.words[:3])


COMMANDS = [
    Removing(words=("clean", "--yes", "--grace", "0"), handful=()),
    Removing(words=("clean", "--old-plans", "--yes", "--grace", "0")),
    Removing(words=("check", "--discard"), handful=(5,)),  # between the version and its pointer
    Removing(words=("remove", "notes", "--match", "old note 7"), in_data=True),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    soak = metafunc.config.getoption("soak")
    if "removing" in metafunc.fixturenames:
        cases = [(removing, seed) for removing in COMMANDS for seed in (range(20) if soak else removing.handful)]
        metafunc.parametrize(("removing", "seed"), cases, ids=[f"{removing}-{seed}" for removing, seed in cases])
    elif "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(5 if soak else 1))


def prepare(reference: ReferenceStores, folder: Path) -> tuple[Path, Path]:
    """Copy the data folder and the store, and return their paths."""
    data, store = shutil.copytree(reference.refreshed_data, folder / "data"), copy_store(reference.refreshed, folder / "store")
    return data, store


def run(removing: Removing, data: Path, store: Path, changes: Changes | None = None) -> Ended:
    return Command(*removing.words, "--data", data, "--store", store, log=store.with_suffix(".log"), changes=changes).ended()


def test_store_works_after_a_kill_and_the_same_command_completes(
    reference: ReferenceStores, tmp_path: Path, removing: Removing, seed: int
) -> None:
    folders = [prepare(reference, tmp_path / name) for name in ("uninterrupted", "killed")]
    if "--discard" in removing.words:
        for _, store in folders:
            flip_bit(LocalStore(store).pointer(ARRAY).resolve() / "train.npy")
    counted, (data, uninterrupted) = Changes(folder=folders[0][0] if removing.in_data else None), folders[0]
    first = run(removing, data, uninterrupted, counted)
    assert first.code == (1 if "--discard" in removing.words else 0), first.said
    assert counted.count.value > 0
    data, store = folders[1]
    last = random.Random(seed).randrange(counted.count.value)
    killed = run(removing, data, store, Changes(last=last, folder=data if removing.in_data else None))
    assert killed.code == -signal.SIGKILL, killed.said
    LocalStore(store).remove_abandoned_files()
    assert published(store).keys() | {ARRAY} >= published(uninterrupted).keys() if "--discard" not in removing.words else True
    again = run(removing, data, store)
    assert again.code in (0, 1 if "--discard" in removing.words else 0), again.said
    assert "Traceback" not in again.said
    assert store_contents(store) == store_contents(uninterrupted)
    assert staging_leftovers(store) == []
    assert store_contents(data) == store_contents(folders[0][0])
    following = materialize(data, store).ended()
    assert following.code == 0, following.said
    assert what_is_published(store)


def test_ten_refreshes_during_a_clean_keep_everything_published(reference: ReferenceStores, tmp_path: Path, seed: int) -> None:
    del seed
    store = copy_store(reference.built, tmp_path / "store")
    words = ("clean", "--yes", "--grace", "0", "--data", reference.refreshed_data, "--store", store)
    building = [materialize(reference.refreshed_data, store, log=tmp_path / f"{number}.log") for number in range(10)]
    ended = [Command(*words, log=tmp_path / f"clean{number}.log").ended() for number in range(3)]
    ended += [command.ended() for command in building]
    assert [done.code for done in ended] == [0] * 13, [done.said for done in ended]
    assert {address: artifact.fingerprint for address, artifact in published(store).items()} == {
        address: artifact.fingerprint for address, artifact in published(reference.refreshed).items()
    }
    assert what_is_published(store)
