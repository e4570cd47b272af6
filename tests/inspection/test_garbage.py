"""Unreferenced versions are garbage; referenced ones are not."""

import errno
import os
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.errors import StoreError
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.inspection.garbage import Cleaning, Reason, Removable
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from tests.support import build, declare, declare_corpus, write_jsonl, write_text


@pytest.fixture
def corpus(workspace: Workspace) -> Corpus:
    for part in ("a", "b"):
        write_jsonl(workspace.data / "raw" / f"{part}.jsonl", [f"{part} number {i}" for i in range(30)])
    return declare_corpus(workspace.data, "one", "raw/*.jsonl", partition_by="file")


@pytest.fixture
def mixture(workspace: Workspace) -> Mixture:
    return load_yaml(declare(workspace.data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": "one"}]), MixtureConfig)


def bring_up_to_date(corpus: Corpus, mixture: Mixture, workspace: Workspace) -> Path:
    """Build everything, and give the plan's folder."""
    build(corpus, workspace)
    return build_mixture(mixture, {"one": corpus}, {"one": list(workspace.sources.partitions(corpus))}, workspace).artifact.path


def removable(workspace: Workspace, partitions: dict[str, set[str]], mixtures: set[str], **options: Any) -> list[Removable]:
    return Cleaning(store=workspace.store, partitions=partitions, mixtures=mixtures, **options).find()


def remove(workspace: Workspace, partitions: dict[str, set[str]], mixtures: set[str], **options: Any) -> list[Removable]:
    """Remove the removable versions, and return them."""
    cleaning = Cleaning(store=workspace.store, partitions=partitions, mixtures=mixtures, **options)
    return cleaning.remove(cleaning.find())


def found(corpus: Corpus, workspace: Workspace, **options: Any) -> dict[str, str]:
    """Return the reasons for removal, by name without fingerprint."""
    partitions = {"one": set(workspace.sources.partitions(corpus))}
    return {item.name.partition("@")[0]: item.why for item in removable(workspace, partitions, {"mix"}, **options)}


def size_without_manifests(folder: Path) -> int:
    """Return the size of the files below a folder, in bytes; hard links to one file are counted once."""
    files = (path.stat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.name != "manifest.json")
    return sum({status.st_ino: status.st_size for status in files}.values())


def arrays(folder: Path) -> list[list[int]]:
    plan = read_plan(folder / "mixture.json")
    shards = (shard for corpus in plan.corpora for partition in corpus.partitions for shard in partition.shards.values())
    return [np.load(folder / shard.path).tolist() for shard in shards]


def test_current_artifacts_are_not_removable(corpus: Corpus, mixture: Mixture, workspace: Workspace) -> None:
    bring_up_to_date(corpus, mixture, workspace)
    assert found(corpus, workspace) == {}


def test_caches_of_an_old_plan_are_kept_until_old_plans_are_removed(corpus: Corpus, mixture: Mixture, workspace: Workspace) -> None:
    old = bring_up_to_date(corpus, mixture, workspace)
    before = arrays(old)
    write_jsonl(workspace.data / "raw" / "b.jsonl", ["another b"] * 40)
    new = bring_up_to_date(corpus, mixture, workspace)
    steps = {f"one/{stage}/.versions/b": Reason.SUPERSEDED for stage in ("raw_dataset", "tokenized_arrow")}
    assert found(corpus, workspace) == steps
    remove(workspace, {"one": {"a", "b"}}, {"mix"})
    assert arrays(old) == before
    assert found(corpus, workspace, old_plans=True) == {
        "mix/.versions/mixed_dataset": Reason.OLD_PLAN,
        "one/numpy_cache/.versions/b": Reason.SUPERSEDED,
    }
    remove(workspace, {"one": {"a", "b"}}, {"mix"}, old_plans=True)
    assert not old.exists()
    assert len(arrays(new)) == 2
    assert bring_up_to_date(corpus, mixture, workspace) == new


@pytest.mark.parametrize("how", ["damaged", "unreadable", "unlisted", "unmounted"])
def test_nothing_is_removable_while_a_plan_cannot_be_read(
    corpus: Corpus, mixture: Mixture, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    plan = bring_up_to_date(corpus, mixture, workspace)
    write_jsonl(workspace.data / "raw" / "b.jsonl", ["another b"] * 40)
    build(corpus, workspace)
    if how == "damaged":
        (plan / "manifest.json").write_text("{")
    elif how == "unmounted":
        shutil.rmtree(plan.parents[1])
        plan.parents[1].symlink_to("/not/mounted/mix")
    else:
        at, number = (plan / "mixture.json", errno.EIO) if how == "unreadable" else (plan.parent, errno.EBADMSG)

        def broken(read: Any) -> Any:
            def fail(path: Path) -> Any:
                if path == at:
                    raise OSError(number, os.strerror(number), str(path))
                return read(path)

            return fail

        monkeypatch.setattr(Path, "read_bytes", broken(Path.read_bytes))
        monkeypatch.setattr(Path, "iterdir", broken(Path.iterdir))
    with pytest.raises(StoreError, match=f"^{plan.parents[1]}.*: (cannot be read|cannot be accounted for|is a link to /not/mounted/mix)"):
        found(corpus, workspace)
    if how == "damaged":  # without its mixture, the plan is not needed either
        assert {item.why for item in removable(workspace, {"one": {"a", "b"}}, set())} == {Reason.SUPERSEDED}


def test_version_that_another_command_removes_during_the_search_is_not_found(
    corpus: Corpus, mixture: Mixture, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_up_to_date(corpus, mixture, workspace)
    write_jsonl(workspace.data / "raw" / "a.jsonl", ["another"] * 30)
    bring_up_to_date(corpus, mixture, workspace)
    surveyed = workspace.store.survey()
    assert remove(workspace, {"one": {"a", "b"}}, {"mix"}, old_plans=True)
    monkeypatch.setattr(workspace.store, "survey", lambda: surveyed)
    assert found(corpus, workspace, old_plans=True) == {}


def test_partition_missing_from_the_source_is_removable_if_no_plan_reads_it(corpus: Corpus, mixture: Mixture, workspace: Workspace) -> None:
    bring_up_to_date(corpus, mixture, workspace)
    (workspace.data / "raw" / "b.jsonl").unlink()
    stages = ("raw_dataset", "tokenized_arrow")
    assert found(corpus, workspace) == {f"one/{stage}/.versions/b": Reason.RETIRED for stage in stages}  # the plan names the cache
    bring_up_to_date(corpus, mixture, workspace)
    assert found(corpus, workspace, old_plans=True) == {
        "mix/.versions/mixed_dataset": Reason.OLD_PLAN,
        **{f"one/{stage}/.versions/b": Reason.RETIRED for stage in (*stages, "numpy_cache")},
    }
    remove(workspace, {"one": {"a"}}, {"mix"}, old_plans=True)
    assert [address for address in workspace.store.list() if address.endswith("/b")] == []
    assert found(corpus, workspace, old_plans=True) == {}


def test_undeclared_artifacts_are_removable_with_their_plan(corpus: Corpus, mixture: Mixture, workspace: Workspace) -> None:
    bring_up_to_date(corpus, mixture, workspace)
    gone = removable(workspace, {}, set())
    assert {item.why for item in gone} == {Reason.UNDECLARED}
    listed = sum(item.bytes for item in gone)
    before = size_without_manifests(workspace.store.root)
    assert remove(workspace, {}, set()) == gone
    assert 0 < listed == before - size_without_manifests(workspace.store.root)
    assert list(workspace.store.list()) == []


def test_interrupted_transfer_of_a_missing_partition_is_removable(corpus: Corpus, workspace: Workspace) -> None:
    for partition in ("a", "gone"):
        write_text(workspace.store.root / ".transfers" / "one" / partition / "digest" / "object.part", "half")
    (item,) = removable(workspace, {"one": set(workspace.sources.partitions(corpus))}, {"mix"})
    assert (item.name, item.why, item.bytes) == (".transfers/one/gone", Reason.BROKEN_OFF, 4)
    assert remove(workspace, {"one": {"a", "b"}}, {"mix"}) == [item]
    assert (workspace.store.root / ".transfers" / "one" / "a" / "digest" / "object.part").exists()


def test_transfer_that_ends_during_the_search_is_not_found(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(workspace.store.root / ".transfers" / "one" / "gone" / "digest" / "object.part", "half")
    unfinished = list(workspace.store.unfinished())
    shutil.rmtree(workspace.store.root / ".transfers")
    monkeypatch.setattr(workspace.store, "unfinished", lambda: unfinished)
    assert removable(workspace, {}, set()) == []


@pytest.mark.parametrize("ahead", [-86_400.0, 86_400.0])
def test_age_of_an_interrupted_transfer_is_that_of_the_local_clock(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    monkeypatch.setattr(type(workspace.store), "now", lambda _store: time.time() + ahead)  # the clock of a bucket's server
    for partition, age in (("new", 0), ("old", 7_200)):
        part = workspace.store.root / ".transfers" / "one" / partition
        write_text(part / "digest" / "object.part", "half")
        os.utime(part, (time.time() - age,) * 2)
    assert [item.address for item in removable(workspace, {}, set(), grace=timedelta(hours=1))] == ["one/transfers/old"]
