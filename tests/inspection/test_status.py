"""The state of corpora and mixtures."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from phyagi_assets.build.failures import Failures
from phyagi_assets.declare.catalog import load_catalog, read_catalog
from phyagi_assets.inspection.status import StatusReport, status
from phyagi_assets.steps.step import Workspace
from tests.project import Project
from tests.support import build, declare_corpus, write_text

RECORDERS: list[list[str]] = []
"""Lists to which the paths of files are appended that this process opens."""


def record(event: str, arguments: tuple[Any, ...]) -> None:
    for recorder in RECORDERS if event == "open" else ():
        recorder.append(str(arguments[0]))


sys.addaudithook(record)


@contextmanager
def opened_files() -> Iterator[list[str]]:
    RECORDERS.append([])
    try:
        yield RECORDERS[-1]
    finally:
        RECORDERS.pop()


@pytest.fixture
def built(built_plays: Workspace) -> Workspace:
    """The plays and their mixture, built."""
    return built_plays


def state(workspace: Workspace) -> StatusReport:
    catalog, _ = read_catalog(workspace.data)
    return status(catalog, Workspace(data=workspace.data, store=workspace.store, engines=workspace.engines))


def test_status_counts_built_artifacts(built: Workspace) -> None:
    found = state(built)
    (corpus,), (mixture,) = found.corpora, found.mixtures
    assert (corpus.partitions, corpus.current, corpus.stale, corpus.failed, corpus.not_current) == (3, 3, 0, 0, ())
    caches = [built.store.open(f"plays/numpy_cache/{key}") for key in ("one", "two", "three")]
    assert corpus.tokens == sum(cache.manifest.counts["train"]["tokens"] for cache in caches if cache)
    assert (corpus.documents, corpus.problem, mixture.state, mixture.tokens) == (3, None, "current", mixture.samples * 16)
    assert corpus.last_built is not None
    arrays = [path for cache in caches if cache for path in cache.path.glob("*.npy")]
    settings = [cache.path / "config.json" for cache in caches if cache]
    assert corpus.bytes == sum(path.stat().st_size for path in [*arrays, *settings])  # without the tokenizer, which is kept once
    assert mixture.last_built is not None
    assert datetime.fromisoformat(corpus.last_built).utcoffset() == timedelta(0)
    assert corpus.last_built <= mixture.last_built


def test_status_before_anything_is_built_reads_no_source_file(project: Project) -> None:
    with opened_files() as opened:
        found = state(project.workspace)
    assert [(of.partition, of.state, of.step) for of in found.corpora[0].not_current] == [
        (key, "never built", "raw_dataset") for key in ("one", "three", "two")
    ]
    assert (found.mixtures[0].state, found.corpora[0].last_built) == ("never built", None)
    assert not [path for path in opened if path.endswith(".txt")]


def test_status_distinguishes_stale_never_built_and_failed(built: Workspace) -> None:
    write_text(built.data / "raw" / "one.txt", "Another play.")
    write_text(built.data / "raw" / "four.txt", "A new play.")
    write_text(built.data / "raw" / "two.txt", "A play that fails.")
    Failures(built.store).record("plays/two", "no stage")
    Failures(built.store).record("plays/three", "a failure before the partition was built")
    found = state(built)
    assert [(of.partition, of.state, of.problem) for of in found.corpora[0].not_current] == [
        ("four", "never built", None),
        ("one", "stale", None),
        ("two", "failed", "no stage"),
    ]
    assert (found.corpora[0].current, found.corpora[0].stale, found.corpora[0].failed) == (1, 3, 1)
    assert found.mixtures[0].state == "stale"


def test_status_of_a_damaged_cache_is_not_current(built: Workspace) -> None:
    manifest = built.store.published_path("plays/numpy_cache/two") / "manifest.json"
    manifest.unlink()  # other copies of the store link to it
    manifest.write_text("{}")
    shutil.rmtree(built.store.published_path("plays/numpy_cache/three"))
    found = state(built)
    (corpus,), (mixture,) = found.corpora, found.mixtures
    assert [(of.partition, of.state, of.step) for of in corpus.not_current] == [(key, "stale", "numpy_cache") for key in ("three", "two")]
    assert mixture.state == "stale"


def test_failure_is_known_until_the_partition_is_built(project: Project) -> None:
    good = (project.raw / "one.txt").read_bytes()
    write_text(project.raw / "one.txt", b"\xff\xfe\x00")
    project.bring_up_to_date("plays")
    (failed,) = state(project.workspace).corpora[0].not_current
    assert (failed.partition, failed.state, failed.step) == ("one", "failed", "tokenized_arrow")
    assert "UTF-16" in (failed.problem or "")
    write_text(project.raw / "one.txt", good)
    project.bring_up_to_date("plays")
    assert Failures(project.workspace.store).last("plays/one") is None
    assert state(project.workspace).corpora[0].not_current == ()


def test_status_opens_few_files_per_partition(built: Workspace) -> None:
    def opened() -> int:
        with opened_files() as found:
            assert state(built).corpora[0].stale == 0
        assert not [path for path in found if path.endswith((".npy", ".arrow"))]
        return len(found)

    few = opened()
    for i in range(4):
        write_text(built.data / "raw" / f"more{i}.txt", f"Play {i}.")
    build(load_catalog(built.data).corpora["plays"], built)
    assert (opened() - few) / 4 <= 6


def test_unlistable_source_and_broken_declaration_are_reported(built: Workspace) -> None:
    declare_corpus(built.data, "lost", "lost/*.txt")
    write_text(built.data / "corpora" / "bad.yaml", "name: bad\n")
    found = state(built)
    assert "no file matches" in (next(of for of in found.corpora if of.name == "lost").problem or "")
    assert list(found.left_out) == ["bad"]


def test_list_of_removed_documents_that_cannot_be_read_is_the_reason_for_stale_partitions(built: Workspace) -> None:
    write_text(built.data / "corpora" / "plays.removed.jsonl", "not JSON\n")
    (corpus,) = state(built).corpora
    assert {of.state for of in corpus.not_current} == {"stale"}
    assert (corpus.problem or "").startswith(f"{built.data / 'corpora' / 'plays.removed.jsonl'}:1: is not JSON")
