"""The real server of the UI: launched runs, metadata and pages."""

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from phyagi_assets.datasets import load_mixture
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.settings import Settings
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from tests.orchestration.live import LiveDagster, live_dagster
from tests.support import DATA, PARTITION_STEPS, build_partition, copy_store, declare, declare_corpus, write_jsonl

CHROMIUM = shutil.which("chromium")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path) -> Settings:
    data = tmp_path_factory.mktemp("live") / "data"
    (data / "raw").mkdir(parents=True)
    for play in ("hamlet", "macbeth"):
        shutil.copy(DATA / "raw" / "shakespeare" / f"{play}.txt", data / "raw")
    declare_corpus(data, "plays", "raw/*.txt", partition_by="file")
    write_jsonl(data / "notes" / "a.jsonl", ["a note", None])
    declare_corpus(data, "notes", "notes/*.jsonl")
    declare(data, "mixtures", name="mix", seq_len=128, datasets=[{"corpus": "plays", "weight": 2.0}])
    copy_store(prepared_store, data / "store")
    return Settings(data=data, store=data / "store")


@pytest.fixture(scope="module")
def dagster(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDagster]:
    """The UI as started by the command, in the folder of another project."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "workspace.yaml").write_text("load_from: [{python_module: another_project}]\n")
    (elsewhere / "yaml.py").write_text("raise ImportError('of another project')\n")
    with live_dagster(settings, cwd=elsewhere) as running:
        _until_partitions_are_known(running)
        yield running


def _until_partitions_are_known(dagster: LiveDagster) -> None:
    """Wait until the sensor has added the partitions, within seconds of the start."""
    query = 'query { assetNodeOrError(assetKey: {path: ["plays", "raw_dataset"]}) { ... on AssetNode { partitionKeys } } }'
    deadline = time.monotonic() + 60
    while dagster.query(query)["assetNodeOrError"]["partitionKeys"] != ["hamlet", "macbeth"]:
        assert time.monotonic() < deadline, "the sensor did not add the partitions"
        time.sleep(0.5)


def test_ui_materializes_a_partition_and_a_mixture_with_their_metadata(dagster: LiveDagster, settings: Settings) -> None:
    chain = [["plays", stage] for stage in PARTITION_STEPS]
    launched = dagster.launch(*chain, partition="hamlet")
    assert dagster.status(launched) == "SUCCESS"
    assert dagster.tags(launched)["phyagi_assets/corpus"] == "plays"
    corpus, workspace = load_catalog(settings.data).corpora["plays"], Workspace(data=settings.data, store=LocalStore(settings.store))
    build_partition(corpus, workspace.sources.partitions(corpus)["macbeth"], workspace)
    assert dagster.status(dagster.launch(["mix", "mixed_dataset"])) == "SUCCESS"

    cache = LocalStore(settings.store).open("plays/numpy_cache/hamlet")
    assert cache is not None
    shown = next(found for found in dagster.materializations("plays", "numpy_cache") if found["partition"] == "hamlet")
    metadata = {entry["label"]: entry for entry in shown["metadataEntries"]}
    assert metadata["tokens"]["intValue"] == cache.manifest.counts["train"]["tokens"]
    assert metadata["documents"]["intValue"] == 1
    assert metadata["dtype"]["text"] == "uint16"
    assert metadata["path"]["path"] == str(cache.path)
    assert "HAMLET, PRINCE OF DENMARK" in metadata["first tokens"]["mdStr"]
    assert "data:image/svg+xml," in metadata["tokens per document, plotted"]["mdStr"]
    assert {"key": "dagster/data_version", "value": cache.fingerprint} in shown["tags"]

    mixture = load_mixture("mix", store=settings.store)
    planned = dagster.materializations("mix", "mixed_dataset")[0]  # the sensor `mixtures` may have requested it too
    epoch = next(entry for entry in planned["metadataEntries"] if entry["label"] == "samples in an epoch")
    assert epoch["intValue"] == len(mixture.train) == 2 * mixture.plan.total("train", "samples")


def test_failed_run_reports_the_reason(dagster: LiveDagster) -> None:
    run = dagster.launch(*(["notes", stage] for stage in PARTITION_STEPS), partition="all")
    assert dagster.status(run) == "FAILURE"
    (message,) = dagster.failures(run)
    assert "a.jsonl: row 2: 'text' is null; correct the row" in message


def test_assets_link_to_reports_that_are_written_on_request(dagster: LiveDagster) -> None:
    query = """query { assetNodeOrError(assetKey: {path: ["mix", "mixed_dataset"]}) { ... on AssetNode {
      description metadataEntries { label ... on UrlMetadataEntry { url } } } } }"""
    shown = dagster.query(query)["assetNodeOrError"]
    (link,) = [entry["url"] for entry in shown["metadataEntries"] if entry["label"] == "report"]
    assert f"({link})" in shown["description"]
    with urllib.request.urlopen(dagster.url + link, timeout=60) as answer:
        page = answer.read().decode()
    assert "<h1>mix</h1>" in page
    assert "<h2>Samples chosen at random</h2>" in page
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'"), "text of a corpus runs no scripts"
    with pytest.raises(urllib.error.HTTPError, match="404") as missing:
        urllib.request.urlopen(f"{dagster.url}/reports/mxi", timeout=60)
    assert "has nothing named &#x27;mxi&#x27;; did you mean" in missing.value.read().decode()


def test_server_logs_no_warnings(dagster: LiveDagster) -> None:
    assert "Serving dagster-webserver" in dagster.log
    assert not [line for line in dagster.log.splitlines() if "warning" in line.lower()]


def test_ui_command_loads_only_this_project_from_any_folder(dagster: LiveDagster) -> None:
    locations = dagster.query("query { workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } } }")
    assert locations["workspaceOrError"]["locationEntries"] == [{"name": "phyagi-assets", "loadStatus": "LOADED"}]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_asset_page_draws_the_lineage_of_four_assets(dagster: LiveDagster, tmp_path: Path) -> None:
    page = f"{dagster.url}/assets/mix/mixed_dataset?view=lineage&lineageScope=upstream&lineageDepth=5"
    command = [str(CHROMIUM), *QUIET.split(), f"--user-data-dir={tmp_path}", "--window-size=1800,900", "--virtual-time-budget=10000"]
    drawn = subprocess.run([*command, "--dump-dom", page], capture_output=True, text=True, timeout=120, check=False).stdout
    for asset in (*PARTITION_STEPS, "mixed_dataset"):
        assert f">{asset}<" in drawn
