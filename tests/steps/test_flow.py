"""Assets and commands are derived from the list of steps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from phyagi_assets.build.staleness import partition_artifacts
from phyagi_assets.declare.catalog import Corpus, load_catalog
from phyagi_assets.execution.executor import OnProgress
from phyagi_assets.inspection.garbage import Cleaning, Reason
from phyagi_assets.inspection.named import inspect_named
from phyagi_assets.orchestration.component import catalog_definitions
from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.orchestration.progress import logged_progress
from phyagi_assets.settings import Settings
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.cache import CACHE
from phyagi_assets.steps.checks.check import SOUND, Check
from phyagi_assets.steps.facts import Facts
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.step import Built, Scope, Step, Workspace, built_facts, require, reuse_or_build
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.manifest import Manifest
from tests.project import Project
from tests.support import declare_corpus, write_text

CODE_VERSION = "1"


def expected_lengths(_corpus: Corpus, _partition: Partition, _workspace: Workspace, inputs: Mapping[str, str]) -> Manifest:
    return Manifest.expected("lengths", code_version=CODE_VERSION, inputs=inputs, settings={})


def build_lengths(corpus: Corpus, partition: Partition, workspace: Workspace, _on_progress: OnProgress) -> Built:
    name, key = corpus.config.name, partition.key
    cache = require(workspace.store, CACHE.address(name, key), needed_by="lengths")
    expected = expected_lengths(corpus, partition, workspace, {CACHE.name: cache.fingerprint})
    tokens = sum(of["tokens"] for of in cache.manifest.counts.values())

    def fill(folder: Path) -> Manifest:
        (folder / "tokens.json").write_text(json.dumps(tokens))
        return replace(expected, counts={"tokens": tokens})

    def examine(artifact: Artifact) -> list[Check]:
        read = json.loads((artifact.path / "tokens.json").read_text())
        return [Check(name="tokens", passed=read == artifact.manifest.counts["tokens"], found=f"{read} tokens")]

    return reuse_or_build(workspace.store, LENGTHS.address(name, key), expected, fill, examine=examine)


def length_facts(built: Built) -> Facts:
    return {"tokens": built.artifact.manifest.counts["tokens"], **built_facts(built)}


def expected_total(_corpus: Corpus, _workspace: Workspace, inputs: Mapping[str, str]) -> Manifest:
    return Manifest.expected("total", code_version=CODE_VERSION, inputs={"lengths": dict(inputs)}, settings={})


def build_total(corpus: Corpus, partitions: Sequence[str], workspace: Workspace) -> Built:
    name = corpus.config.name
    found = {key: require(workspace.store, LENGTHS.address(name, key), needed_by="total") for key in partitions}
    expected = expected_total(corpus, workspace, {key: artifact.fingerprint for key, artifact in found.items()})
    total = sum(artifact.manifest.counts["tokens"] for artifact in found.values())
    return reuse_or_build(workspace.store, TOTAL.address(name), expected, lambda _folder: replace(expected, counts={"tokens": total}))


LENGTHS = Step(
    name="lengths",
    scope=Scope.PARTITION,
    code_version=CODE_VERSION,
    input=CACHE.name,
    description="The number of tokens of a partition.",
    kinds=frozenset({"json"}),
    expected=expected_lengths,
    build=build_lengths,
    checks={SOUND: "The number that was written is read back."},
    facts=length_facts,
)
TOTAL = Step(
    name="total",
    scope=Scope.CORPUS,
    code_version=CODE_VERSION,
    input="lengths",
    description="The number of tokens of a corpus.",
    kinds=frozenset({"json"}),
    expected=expected_total,
    build=build_total,
)
OWN = Flow(steps=(*FLOW.steps, LENGTHS, TOTAL))


def materialize(workspace: Workspace, instance: dg.DagsterInstance) -> list[str]:
    runner = Project(workspace=workspace, instance=instance).runner(flow=OWN)
    outcome = runner.run(runner.stale())
    assert not outcome.failed
    return outcome.built


def test_added_steps_are_assets_built_once_and_inspected(workspace: Workspace) -> None:
    for name in ("a", "b"):
        write_text(workspace.data / "raw" / f"{name}.txt", f"play {name}\n" * 3)
    declare_corpus(workspace.data, "plays", "raw/*.txt", partition_by="file")
    catalog = load_catalog(workspace.data)
    specs = {spec.key: spec for spec in catalog_definitions(catalog, workspace, logged_progress, OWN).resolve_all_asset_specs()}
    lengths, total = specs[dg.AssetKey(["plays", "lengths"])], specs[dg.AssetKey(["plays", "total"])]
    assert lengths.partitions_def == specs[dg.AssetKey(["plays", "numpy_cache"])].partitions_def
    assert total.partitions_def is None
    assert [dependency.asset_key for dependency in total.deps] == [lengths.key]
    with open_instance(Settings(data=workspace.data, store=workspace.store.root)) as instance:
        assert materialize(workspace, instance) == ["plays/a", "plays/b", "plays/total"]
        assert instance.get_materialized_partitions(lengths.key) == {"a", "b"}
        event = instance.get_latest_materialization_event(lengths.key)
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["tokens"].value > 0
        assert materialize(workspace, instance) == []
        first = workspace.store.open("plays/total")
        write_text(workspace.data / "raw" / "b.txt", "another play\n" * 4)
        assert materialize(workspace, instance) == ["plays/b", "plays/total"]
        lengths_of_a = workspace.store.open(LENGTHS.address("plays", "a"))
        assert lengths_of_a is not None
        workspace.store.discard(lengths_of_a.address, lengths_of_a.path)
        stale = Project(workspace=workspace, instance=instance).runner(flow=OWN).stale()
        assert [(item.name, item.steps, item.bytes) for item in stale] == [("plays/a", ("lengths",), 0)]
        assert materialize(workspace, instance) == ["plays/a"]
    cleaning = Cleaning(store=workspace.store, partitions={"plays": ["a", "b"]}, mixtures=())
    assert first is not None
    whole = [(item.path.name, item.why) for item in cleaning.find() if item.address == "plays/total"]
    assert whole == [(first.path.name, Reason.SUPERSEDED)]
    tokens = [inspect_named(f"plays/lengths/{name}", workspace.store).facts["tokens"] for name in ("a", "b")]
    assert inspect_named("plays/total", workspace.store).facts["tokens"] == str(sum(map(int, tokens)))
    partition = workspace.sources.partitions(catalog.corpora["plays"])["a"]
    assert [artifact.step for artifact in partition_artifacts(catalog.corpora["plays"], partition, workspace, OWN)][-1] == "lengths"


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((*FLOW.steps, LENGTHS, LENGTHS), "'lengths': two steps have this name"),
        ((*FLOW.steps, TOTAL), "'total': reads 'lengths', which does not come before it"),
        ((*FLOW.steps, LENGTHS, TOTAL, replace(LENGTHS, name="late", input="total")), "'late': reads 'total', which is not built per"),
        ((*FLOW.steps, replace(TOTAL, input=None)), "'total': is built per corpus and reads no other step"),
    ],
)
def test_steps_that_do_not_follow_each_other_are_refused(steps: tuple[Step, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Flow(steps=steps)
