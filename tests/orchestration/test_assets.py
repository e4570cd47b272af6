"""Assets of Dagster: specs, metadata and failures."""

import warnings
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import dagster as dg
import pytest

from phyagi_assets.settings import REPORTS_VARIABLE, STORE_VARIABLE
from phyagi_assets.steps import cache, mixture, raw, tokenize
from phyagi_assets.store.artifact import Artifact
from tests.project import Project
from tests.support import PARTITION_STEPS, write_text


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


def test_run_without_a_partition_fails_with_a_remedy(project: Project) -> None:
    assert failure(run(project, key("plays", "raw_dataset"))) == (
        "no partition of plays is selected; select some, or launch plays_build_stale, which builds those that are stale"
    )


@pytest.mark.parametrize(("store", "links"), [("/somewhere", 4), ("s3://bucket/store", 0)])
def test_assets_link_to_reports_unless_the_store_is_in_a_bucket(
    project: Project, store: str, links: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REPORTS_VARIABLE, "/reports")
    monkeypatch.setenv(STORE_VARIABLE, store)
    specs = project.definitions.resolve_all_asset_specs()
    assert sum("report" in spec.metadata for spec in specs) == sum("](/reports/" in (spec.description or "") for spec in specs) == links


def test_lineage_follows_the_steps(graph: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    upstream = {spec.key: [dep.asset_key for dep in spec.deps] for spec in graph.values()}
    assert upstream == {
        key("plays", "raw_dataset"): [],
        key("plays", "tokenized_arrow"): [key("plays", "raw_dataset")],
        key("plays", "numpy_cache"): [key("plays", "tokenized_arrow")],
        key("mix", "mixed_dataset"): [key("plays", "numpy_cache")],
        key("store"): [],
    }


def test_assets_have_group_kinds_owners_code_version_and_declaration(graph: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    kinds = {raw: {"file"}, tokenize: {"arrow", "huggingface"}, cache: {"numpy"}}
    for step, shown in kinds.items():
        spec = graph[key("plays", step.STEP)]
        assert spec.group_name == "plays"
        assert spec.kinds == shown
        assert set(spec.owners) == {"team:data", "a@b.org"}
        assert spec.code_version == step.CODE_VERSION
        assert spec.description
        assert "path: raw/*.txt" in spec.description
        assert isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition)
        assert spec.partitions_def.name == "plays"
    mixed = graph[key("mix", "mixed_dataset")]
    assert (mixed.group_name, mixed.kinds, mixed.code_version) == ("mix", {"json"}, mixture.MIXTURE.code_version)
    assert mixed.partitions_def is None
    assert mixed.description
    assert "weight: 1.5" in mixed.description


def latest(project: Project, *path: str) -> tuple[dict[str, Any], Artifact]:
    """Assert that the latest materialization names the published version, and return its metadata."""
    record = project.instance.fetch_materializations(key(*path), limit=1).records[0]
    materialization = record.asset_materialization
    artifact = project.workspace.store.open("/".join(filter(None, [*path, record.partition_key])))
    assert materialization
    assert artifact
    assert (materialization.tags or {})["dagster/data_version"] == artifact.fingerprint
    assert materialization.metadata["path"] == dg.MetadataValue.path(str(artifact.path))
    return {label: value.value for label, value in materialization.metadata.items()}, artifact


def chart(markdown: str) -> ElementTree.Element:
    return ElementTree.fromstring(unquote(markdown.partition("data:image/svg+xml,")[2].rstrip(">)")))


def test_materialization_records_metadata_and_data_version(project: Project) -> None:
    project.bring_up_to_date()
    shown, artifact = latest(project, "plays", "raw_dataset")
    assert {label: shown[label] for label in ("files", "bytes")} == artifact.manifest.counts
    assert shown["source files"] == "".join(f"- `{name}`" for name in artifact.manifest.inputs["files"])

    text, encoded = latest(project, "plays", "tokenized_arrow")
    arrays, cached = latest(project, "plays", "numpy_cache")
    counts = encoded.manifest.counts
    assert {"documents": text["documents"], "tokens": text["tokens"]} == {"documents": counts["documents"], "tokens": counts["tokens"]}
    assert text["bytes"] == counts["text_bytes"]
    assert arrays["bytes"] == sum(record.bytes for name, record in cached.manifest.files.items() if name in {"train.npy", "validation.npy"})
    for said in (text, arrays):
        assert said["tokens"] == sum(of["tokens"] for of in cached.manifest.counts.values())
        assert said["tokens per second"] > 0
        assert said["dtype"] == "uint16"
        assert said["engine"].startswith("gigatoken")
        assert [row.data["longest"] for row in said["tokens per document"].records] == [said["tokens"]]  # a play is one document
        assert chart(said["tokens per document, plotted"]).tag.endswith("svg")
    assert "ALL THE WORLD" in arrays["first tokens"]

    planned, plan = latest(project, "mix", "mixed_dataset")
    assert planned["tokens"] == sum(of["tokens"] for of in plan.manifest.counts.values())
    assert (planned["documents"], planned["sequence length"]) == (3, 16)
    listed = [(row.data["corpus"], row.data["declared"], row.data["partitions"]) for row in planned["corpora"].records]
    assert listed == [("plays", "×1.5", 3)]
    assert (planned["plays: share, %"], planned["plays: epochs"]) == (100, 1.5)
    assert planned["plays: training tokens"] == planned["tokens"]
    samples = [row.data for row in planned["first samples"].records]
    assert [(row["position"], row["corpus"]) for row in samples] == [(position, "plays") for position in range(8)]
    assert "men and women" in planned["decoded sample"]
    assert f"plays/{samples[0]['partition']}, " in planned["decoded sample"]
    assert planned["largest deviation from the weights, samples"] <= 2
    assert planned["order"] == "one order from position 0 on"
    assert chart(planned["composition"]).tag.endswith("svg")


def test_assets_build_without_warnings(project: Project) -> None:
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", r".*utcfromtimestamp", DeprecationWarning)  # Dagster's own, since Python 3.12
        project.bring_up_to_date()
    ours = [
        str(warning) for warning in given if "phyagi_assets" in f"{warning.filename} {warning.message}" or "dagster" in warning.filename
    ]
    assert not ours


def test_mixture_fails_with_a_list_of_missing_caches(project: Project) -> None:
    project.instance.add_dynamic_partitions("plays", ["one", "two", "three"])
    run(project, *(key("plays", stage) for stage in PARTITION_STEPS), partition="two")
    found = failure(run(project, key("mix", "mixed_dataset")))
    assert "plays/numpy_cache/one" in found
    assert "plays/numpy_cache/three" in found
    assert "plays/numpy_cache/two" not in found
    assert project.workspace.store.open("mix/mixed_dataset") is None


def test_step_without_its_input_names_the_target_to_materialize(project: Project) -> None:
    project.instance.add_dynamic_partitions("plays", ["one"])
    assert "plays/raw_dataset/one" in failure(run(project, key("plays", "tokenized_arrow"), partition="one"))


def test_data_error_is_the_message_of_the_failure(project: Project) -> None:
    project.instance.add_dynamic_partitions("plays", ["one"])
    write_text(project.raw / "one.txt", b"\xff")
    found = failure(run(project, *(key("plays", stage) for stage in PARTITION_STEPS), partition="one"))
    assert f"{project.raw / 'one.txt'}:1: is not UTF-8" in found
