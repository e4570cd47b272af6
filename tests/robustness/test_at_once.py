"""Ten concurrent commands on one store build everything once, and a killed command does not block the others."""

import random
import re
import signal
import time
from pathlib import Path

import dagster as dg
import pytest

from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.settings import Settings
from tests.robustness.command import Changes, Ended
from tests.robustness.readers import Known, Reader
from tests.robustness.reference_stores import ARTIFACTS, ReferenceStores, check_whole, materialize, published
from tests.support import copy_store

TEN = 10


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(5 if metafunc.config.getoption("soak") else 1))


def test_ten_commands_build_everything_once(reference: ReferenceStores, known: Known, tmp_path: Path) -> None:
    store = copy_store(reference.prepared, tmp_path / "store")
    with Reader(store, known) as reader:
        commands = [materialize(reference.data, store, log=tmp_path / f"{number}.log") for number in range(TEN)]
        ended = [command.ended() for command in commands]
    assert [done.code for done in ended] == [0] * TEN, ended
    built = [counted(done) for done in ended]
    assert all(done + current == ARTIFACTS for done, current in built), built
    assert sum(done for done, _ in built) == ARTIFACTS
    assert set(materializations(reference, store).values()) == {1}
    assert reader.saw == []
    check_whole(reference, store, like=reference.built)


def test_ten_commands_complete_although_some_are_killed(reference: ReferenceStores, known: Known, tmp_path: Path, seed: int) -> None:
    store, draw = copy_store(reference.prepared, tmp_path / "store"), random.Random(seed)
    with Reader(store, known) as reader:
        # The first is ahead of the others, and holds what they wait for when it dies of one of its changes.
        last = draw.randrange(20, reference.uninterrupted(reference.built).changes // 2)
        changes = Changes(last=last, waits=True)
        commands = [materialize(reference.data, store, changes=changes, log=tmp_path / "0.log")]
        while changes.count.value < last:
            time.sleep(0.01)
        commands += [materialize(reference.data, store, log=tmp_path / f"{number}.log") for number in range(1, TEN)]
        commands[1].kill_at(draw.uniform(0, reference.uninterrupted(reference.built).ended))
        changes.told.value = True
        ended = [command.ended() for command in commands]
    assert ended[0].code == -signal.SIGKILL, ended
    assert ended[1].code in (0, -signal.SIGKILL), ended
    assert [done.code for done in ended[2:]] == [0] * (TEN - 2), ended
    assert all(sum(counted(done)) == ARTIFACTS for done in ended[2:])
    assert reader.saw == []
    assert materialize(reference.data, store).ended().code == 0
    check_whole(reference, store, like=reference.built)


def counted(done: Ended) -> tuple[int, int]:
    """Return the numbers of artifacts that a command reports as built and as up to date."""
    found = re.search(r"(\d+) built, (\d+) up to date, 0 failed", done.said)
    assert found, done.said
    return int(found[1]), int(found[2])


def materializations(reference: ReferenceStores, store: Path) -> dict[str, int]:
    """Return the number of materializations that Dagster records for each published artifact."""
    found = {}
    with open_instance(Settings(data=reference.data, store=store)) as instance:
        for address in published(store):
            corpus, stage, *partition = address.split("/")
            filter_ = dg.AssetRecordsFilter(asset_key=dg.AssetKey([corpus, stage]), asset_partitions=partition or None)
            found[address] = len(instance.fetch_materializations(filter_, limit=100).records)
    return found
