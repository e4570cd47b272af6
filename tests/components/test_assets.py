"""Declarations as Dagster's assets: how they look, what they say, how they fail."""

import dagster as dg
import pytest

from phyagi_assets.pipeline.chain import STAGES
from tests.components.conftest import Project
from tests.support import write_text


def key(*path: str) -> dg.AssetKey:
    return dg.AssetKey(path)


@pytest.fixture
def graph(project: Project) -> dict[dg.AssetKey, dg.AssetSpec]:
    return {spec.key: spec for spec in project.definitions.resolve_all_asset_specs()}


def run(project: Project, *assets: dg.AssetKey, partition: str | None = None) -> dg.ExecuteInProcessResult:
    job = project.definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=project.instance, partition_key=partition, asset_selection=assets, raise_on_error=False)


def failure(result: dg.ExecuteInProcessResult) -> str:
    data = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert data.user_failure_data
    return str(data.user_failure_data.description)


def test_the_lineage_is_that_of_the_flow(graph: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    upstream = {spec.key: [dep.asset_key for dep in spec.deps] for spec in graph.values()}
    assert upstream == {
        key("plays", "raw_dataset"): [],
        key("plays", "tokenized_arrow"): [key("plays", "raw_dataset")],
        key("plays", "numpy_cache"): [key("plays", "tokenized_arrow")],
        key("mix", "mixed_dataset"): [key("plays", "numpy_cache")],
    }


def test_assets_carry_group_kinds_owners_code_version_and_the_declaration(graph: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    for stage in STAGES:
        spec = graph[key("plays", stage)]
        assert spec.group_name == "plays"
        assert spec.kinds
        assert set(spec.owners) == {"team:data", "a@b.org"}
        assert spec.code_version
        assert spec.description
        assert "path: raw/*.txt" in spec.description
        assert isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition)
    mixture = graph[key("mix", "mixed_dataset")]
    assert mixture.group_name == "mix"
    assert mixture.partitions_def is None
    assert mixture.description
    assert "weight: 1.5" in mixture.description


def test_a_materialization_says_what_it_is(project: Project) -> None:
    project.bring_up_to_date()
    wanted = {
        "tokenized_arrow": {"documents", "tokens", "bytes", "tokens a second", "dtype", "engine", "path", "tokens a document"},
        "numpy_cache": {"documents", "tokens", "bytes", "tokens a second", "dtype", "engine", "path", "tokens a document", "first tokens"},
    }
    for stage, labels in wanted.items():
        record = project.instance.fetch_materializations(key("plays", stage), limit=1).records[0]
        materialization = record.asset_materialization
        assert materialization
        assert labels <= set(materialization.metadata)
        assert isinstance(materialization.metadata["tokens a document"], dg.TableMetadataValue)
        artifact = project.workspace.store.open(f"plays/{stage}/{record.partition_key}")
        assert artifact
        assert (materialization.tags or {})["dagster/data_version"] == artifact.fingerprint
        assert materialization.metadata["path"].value == str(artifact.path)
    assert "ALL THE WORLD" in str(materialization.metadata["first tokens"].value)


def test_the_mixture_refuses_with_the_list_of_what_is_missing(project: Project) -> None:
    project.instance.add_dynamic_partitions("plays", ["one", "two", "three"])
    run(project, *(key("plays", stage) for stage in STAGES), partition="two")
    found = failure(run(project, key("mix", "mixed_dataset")))
    assert "plays/numpy_cache/one" in found
    assert "plays/numpy_cache/three" in found
    assert "plays/numpy_cache/two" not in found
    assert project.workspace.store.open("mix/mixed_dataset") is None


def test_a_step_without_the_one_before_it_says_what_to_materialize(project: Project) -> None:
    project.instance.add_dynamic_partitions("plays", ["one"])
    assert "plays/raw_dataset/one" in failure(run(project, key("plays", "tokenized_arrow"), partition="one"))


def test_what_is_wrong_with_the_data_is_the_message_of_the_failure(project: Project) -> None:
    project.instance.add_dynamic_partitions("plays", ["one"])
    write_text(project.raw / "one.txt", b"\xff")
    found = failure(run(project, *(key("plays", stage) for stage in STAGES), partition="one"))
    assert f"{project.raw / 'one.txt'}:1: is not UTF-8" in found
