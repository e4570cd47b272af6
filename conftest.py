"""Where tests run: in memory if possible, examples in docstrings in a folder of their own, and without torch if asked for."""

import os
import shutil
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phyagi_assets.formats.plan import PLAN, Group, Plan, PlannedCorpus, PlannedPartition, Segment, Shard, Source
from phyagi_assets.settings import DATA_VARIABLE, STORE_VARIABLE
from phyagi_assets.store.manifest import MANIFEST, FileRecord, Manifest

_MEMORY, _ENOUGH = Path("/dev/shm"), 6 << 30


def pytest_configure() -> None:
    """Keep temporary folders in memory where there is room: Dagster's databases and the store wait for a disk at every event and file."""
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without-torch", action="store_true", help="Skip tests that need torch, in an environment without it.")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip modules that cannot be imported without torch, if asked for."""
    report = yield
    if collector.config.getoption("--without-torch") and report.failed and "torch" in str(report.longrepr):
        report.outcome, report.longrepr = "skipped", (str(collector.path), 0, "Skipped: needs torch")
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("torch") and item.config.getoption("--without-torch"):
        pytest.skip("needs torch")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(request: pytest.FixtureRequest) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch, folder = request.getfixturevalue("monkeypatch"), request.getfixturevalue("tmp_path")
        for name in (DATA_VARIABLE, STORE_VARIABLE):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(folder)
        if any(package in request.node.name for package in ("datasets.mix", "reading.mix")):
            version = folder / "data" / "store" / "demo" / ".versions" / "mixed_dataset@1"
            _materialize_demo(version)
            (version.parents[1] / "mixed_dataset").symlink_to(version.relative_to(version.parents[1]))


def _materialize_demo(home: Path) -> None:
    """The mixture ``demo``: one corpus of 8 samples."""
    home.mkdir(parents=True)
    np.save(home / "train.npy", np.arange(8 * 512 + 1, dtype=np.uint16))
    shard = Shard(path="train.npy", tokens=8 * 512 + 1, documents=1)
    corpus = PlannedCorpus(name="numbers", partitions=(PlannedPartition(key="all", fingerprint="1", shards={"train": shard}),))
    group = Group(partitions=(0,), samples=8, offset=0, key=1)
    source = Source(corpus=0, weight=1.0, share=None, rate=8, drawn=8, groups=(group,))
    plan = Plan(
        name="demo",
        fingerprint="1",
        seq_len=512,
        seed=42,
        dtype="uint16",
        tokenizer="",
        concat="interleaved",
        shuffle=True,
        corpora=(corpus,),
        segments=(Segment(start=0, sources=(source,)),),
    )
    (home / PLAN).write_text(plan.to_json(), encoding="utf-8")
    manifest = Manifest.expected("mixed_dataset", code_version="3", inputs={}, settings={})
    (home / MANIFEST).write_text(replace(manifest, files={PLAN: FileRecord.of(home / PLAN)}).to_json(), encoding="utf-8")
