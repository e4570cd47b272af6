"""Materializations killed at any moment: published artifacts are always complete, and the next run completes the store."""

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.robustness.command import Changes
from tests.robustness.readers import Known, Reader
from tests.robustness.reference_stores import ReferenceStores, check_whole, materialize, staging_leftovers
from tests.support import copy_store


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Kills at random moments of one command."""

    what: str
    by: str
    kills: int
    handful: int
    words: tuple[str, ...] = ()
    alone: bool = False
    """Whether only the command is killed, without its processes."""

    def seeds(self, *, soak: bool) -> range:
        return range(self.kills if soak else self.handful)

    def __str__(self) -> str:
        return " ".join([self.what, self.by, *self.words, *(["alone"] if self.alone else [])])


JOBS = ("--jobs", "2")
ATTEMPTS = 20
"""Number of attempts to kill a command before it ends, at times within the duration of an uninterrupted command."""
SWEEPS = [
    Sweep(what="everything", by="clock", kills=100, handful=1),
    Sweep(what="everything", by="change", kills=30, handful=1),
    Sweep(what="everything", by="first clock", kills=5, handful=0),
    Sweep(what="everything", by="last changes", kills=10, handful=0),
    Sweep(what="everything", by="clock", kills=5, handful=0, words=JOBS),
    Sweep(what="everything", by="clock", kills=5, handful=0, words=JOBS, alone=True),
    Sweep(what="refresh", by="clock", kills=10, handful=1),
    Sweep(what="refresh", by="change", kills=20, handful=1),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        soak = metafunc.config.getoption("soak")
        cases = [(sweep, seed) for sweep in SWEEPS for seed in sweep.seeds(soak=soak)]
        metafunc.parametrize(("sweep", "seed"), cases, ids=[f"{sweep}-{seed}" for sweep, seed in cases])


def test_killed_run_leaves_no_partial_artifact_and_the_next_run_completes(
    reference: ReferenceStores, known: Known, tmp_path: Path, sweep: Sweep, seed: int, record_property: Callable[[str, object], None]
) -> None:
    data, before, after = {
        "everything": (reference.data, reference.prepared, reference.built),
        "refresh": (reference.refreshed_data, reference.built, reference.refreshed),
    }[sweep.what]
    uninterrupted, draw = reference.uninterrupted(after), random.Random(f"{sweep}{seed}")
    for attempt in range(ATTEMPTS):
        store = copy_store(before, tmp_path / f"store{attempt}")
        with Reader(store, known) as reader:
            if sweep.by.endswith("clock"):
                command = materialize(data, store, *sweep.words)
                until = uninterrupted.ended * (2 if sweep.words else 1)  # processes of its own take time to begin
                between = (uninterrupted.begun, until) if sweep.by == "clock" else (0, uninterrupted.begun)
                sooner = 0.8**attempt  # the machine may be less busy than when the times were taken
                command.kill_at(draw.uniform(*between) * sooner, alone=sweep.alone)
            else:
                last = draw.randrange(uninterrupted.changes) if sweep.by == "change" else uninterrupted.changes - 1 - seed
                command = materialize(data, store, changes=Changes(last=last))
            killed = command.ended()
            if killed.code == 0 and sweep.by != "last changes":  # it was quicker this time, and had ended
                continue
            assert killed.code == -signal.SIGKILL, killed.said
            left = staging_leftovers(store)
            following = materialize(data, store).ended()
        assert following.code == 0, following.said
        assert reader.saw == []
        check_whole(reference, store, like=after)
        record_property("kill", {"half": bool(left), "looks": reader.looks})
        return
    pytest.fail(f"the command ended before it was killed, {ATTEMPTS} times")
