"""A dry run names the artifacts that a command would build, and the reasons."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from phyagi_assets.build.reasons import changes
from phyagi_assets.build.selection import select
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.inspection.dry_run import DryRunReport, dry_run
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.mixture import MIXTURE
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.step import Workspace
from phyagi_assets.steps.tokenize import build_tokenized
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.store.read_only import read_only
from tests.project import PLAY, Project
from tests.support import GPT2, build, copy_store, declare, declare_corpus, write_text


@pytest.fixture
def built(built_plays: Workspace) -> Workspace:
    """The plays and their mixture, built."""
    return built_plays


def report(workspace: Workspace, *targets: str) -> DryRunReport:
    fresh = Workspace(data=workspace.data, store=workspace.store, engines=workspace.engines)
    with read_only(fresh.store) as view:
        return dry_run(select(load_catalog(workspace.data), targets), replace(fresh, store=view))


def reasons(workspace: Workspace, *targets: str) -> dict[str, Sequence[str]]:
    return {stale.name: stale.reasons for stale in report(workspace, *targets).stale}


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {str(path): (of.st_mtime_ns, of.st_ino) for path, of in found.items()}


def test_dry_run_before_anything_is_built_lists_everything_and_reads_no_source(project: Project) -> None:
    (project.raw / "one.txt").chmod(0)
    before = contents(project.workspace.data)
    found = report(project.workspace)
    assert {stale.name: stale.reasons for stale in found.stale} == {
        **{f"plays/{name}": ("never built",) for name in ("one", "three", "two")},
        "mix": ("never built",),
    }
    assert [step.step for step in found.stale[0].steps] == ["raw_dataset", "tokenized_arrow", "numpy_cache"]
    assert found.stale[0].bytes == len(PLAY * 3)
    assert contents(project.workspace.data) == before


def test_dry_run_of_a_current_store_finds_nothing(built: Workspace) -> None:
    assert report(built) == DryRunReport(stale=(), current=4, failed={})


def test_changed_new_and_deleted_files_are_named(built: Workspace) -> None:
    write_text(built.data / "raw" / "one.txt", "Another play.")
    write_text(built.data / "raw" / "four.txt", "A new play.")
    (built.data / "raw" / "three.txt").unlink()
    before = contents(built.data)
    found = report(built)
    assert {stale.name: stale.reasons for stale in found.stale} == {
        "plays/four": ("new partition",),
        "plays/one": ("source file one.txt changed",),
        "mix": ("plays/four is new", "plays/three is gone", "plays/one changed"),
    }
    assert [(step.step, step.reasons) for step in found.stale[1].steps][1:] == [("tokenized_arrow", ()), ("numpy_cache", ())]
    assert (found.current, found.failed) == (1, {})
    assert contents(built.data) == before
    assert set(reasons(built, "plays/one")) == {"plays/one"}


def test_changed_settings_are_named_with_both_values(built: Workspace) -> None:
    declare_corpus(built.data, "plays", "raw/*.txt", partition_by="file", append_eos=False, splits={"validation": 0.5})
    declare(built.data, "mixtures", name="mix", seq_len=8, datasets=[{"corpus": "plays", "weight": 2.0}])
    found = reasons(built)
    assert found["plays/one"] == ("append_eos: true → false", "splits.validation: not set → 0.5")
    assert found["mix"][-2:] == ("datasets.plays.weight: 1.5 → 2.0", "seq_len: 16 → 8")


def test_changed_order_of_corpora_is_named() -> None:
    datasets = [{"corpus": "a", "weight": 1.0}, {"corpus": "b", "weight": 1.0}]
    old, new = (
        Manifest.expected(MIXTURE.name, code_version="1", inputs={}, settings={"datasets": of}) for of in (datasets, datasets[::-1])
    )
    assert changes(new, old) == ["order of datasets: a, b → b, a"]


def test_changed_tokenizer_and_code_version_are_named(built: Workspace) -> None:
    tokenizer = built.data / "tokenizers" / "own"
    shutil.copytree(GPT2, tokenizer)
    (tokenizer / "README.md").write_text("Another file of the tokenizer.")
    declare_corpus(built.data, "plays", "raw/*.txt", partition_by="file", tokenizer="tokenizers/own")
    (reason,) = reasons(built)["plays/one"]
    before, _, after = reason.removeprefix("tokenizer changed: ").partition(" → ")
    assert (before.partition("@")[0], after.partition("@")[0]) == ("gpt2", "own")
    assert len(before.partition("@")[2]) == len(after.partition("@")[2]) == 8

    declare_corpus(built.data, "plays", "raw/*.txt", partition_by="file")
    path = built.store.pointer("plays/tokenized_arrow/one") / "manifest.json"
    manifest = json.loads(path.read_text())
    version = built.store.version_path("plays/tokenized_arrow/one", "0" * 32)
    copy_store(path.parent.resolve(), version)
    (version / "manifest.json").unlink()
    (version / "manifest.json").write_text(json.dumps({**manifest, "code_version": "0", "fingerprint": "0" * 32}))
    pointer = built.store.pointer("plays/tokenized_arrow/one")
    pointer.unlink()
    pointer.symlink_to(os.path.relpath(version, pointer.parent))
    assert reasons(built)["plays/one"] == ("code version of tokenized_arrow 0 → 1",)


def test_damaged_artifact_is_named_and_a_version_in_the_store_is_found(built: Workspace) -> None:
    (built.store.pointer("plays/numpy_cache/one") / "train.npy").unlink()
    (reason,) = reasons(built)["plays/one"]
    assert reason.startswith("damaged: ")
    assert reason.endswith("train.npy: is missing")
    text = (built.data / "raw" / "two.txt").read_bytes()
    write_text(built.data / "raw" / "two.txt", "A play that is withdrawn.")
    build(load_catalog(built.data).corpora["plays"], built)
    write_text(built.data / "raw" / "two.txt", text)
    stale = {stale.name: stale for stale in report(built).stale}
    assert [step.is_stored for step in stale["plays/two"].steps] == [True, True, True]


def test_build_that_was_interrupted_between_steps_names_the_source_file(built: Workspace) -> None:
    write_text(built.data / "raw" / "two.txt", "Another play.")
    corpus = load_catalog(built.data).corpora["plays"]
    partition: Partition = built.sources.partitions(corpus)["two"]
    build_raw(corpus, partition, built)
    assert reasons(built)["plays/two"] == ("source file two.txt changed",)
    build_tokenized(corpus, partition, built)
    assert reasons(built)["plays/two"] == ("tokenized_arrow changed",)


def test_failures_that_are_known_before_building_are_listed(built: Workspace) -> None:
    declare_corpus(built.data, "lost", "lost/*.txt")
    declare(built.data, "mixtures", name="both", seq_len=8, datasets=[{"corpus": "plays"}, {"corpus": "lost"}])
    found = report(built)
    assert "no file matches" in found.failed["lost"]
    assert found.failed["both"] == "not built, because of lost"
    assert (found.stale, found.current) == ((), 4)
