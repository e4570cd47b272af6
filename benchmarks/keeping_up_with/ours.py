"""This project with many tiny partitions: a command after no change, a command after a partition was added, and the time per partition.

The time per partition is that of its steps alone, that of the command (without its time after no change), and that of a backfill in the
UI, from its launch to the end of its last run.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
from contender import Stopwatch, done, given
from documents import documents

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.settings import Settings
from phyagi_assets.steps.cache import build_cache
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.step import Workspace
from phyagi_assets.steps.tokenize import build_tokenized
from phyagi_assets.store.local import LocalStore
from tests.orchestration.live import live_dagster

NAME = "many"
LAUNCHED = 100
"""Largest number of partitions of a backfill, and of the steps alone."""
LAUNCH = """
mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
STATUS = "query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
COMMAND = [sys.executable, "-c", "from phyagi_assets.cli import main; main()", "materialize"]


def main() -> None:
    told = given()
    data: Path = told.work / "data"
    (data / "raw").mkdir(parents=True)
    (data / "corpora").mkdir()
    declaration = f"name: {NAME}\nsource: {{path: 'raw/*.jsonl'}}\npartition_by: file\ntokenizer: '{told.tokenizer}'\n"
    (data / "corpora" / f"{NAME}.yaml").write_text(declaration, encoding="utf-8")
    write(data, "first")
    command(data)  # compares the engines, once for the store
    for number in range(told.partitions):
        write(data, f"{number:05}")
    settings, few = Settings(data=data, store=data / "store"), min(told.partitions, LAUNCHED)
    with Stopwatch() as watch:
        built = command(data)
        nothing = statistics.median(command(data) for _ in range(3))
        one = []
        for run in range(3):
            write(data, f"new{run}")
            one.append(command(data))
        each = {"steps": by_steps(settings, few), "command": (built - nothing) / told.partitions, "backfill": from_ui(settings, few)}
    done(watch, nothing=nothing, one=statistics.median(one), **each)


def write(data: Path, name: str) -> None:
    lines = (json.dumps({"text": text}) for text in documents(name))
    (data / "raw" / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def command(data: Path) -> float:
    with Stopwatch() as watch:
        subprocess.run([*COMMAND, "--data", str(data)], check=True, stdout=subprocess.DEVNULL)
    return watch.seconds


def by_steps(settings: Settings, count: int) -> float:
    """Build new partitions by the steps alone, and return the seconds per partition."""
    corpus = load_catalog(settings.data).corpora[NAME]
    workspace = Workspace(data=settings.data, store=LocalStore(settings.store))
    for number in range(count + 1):
        write(settings.data, f"steps{number}")
    added = {key: partition for key, partition in workspace.sources.partitions(corpus).items() if key.startswith("steps")}
    seconds = []
    for partition in added.values():
        with Stopwatch() as watch:
            for step in (build_raw, build_tokenized, build_cache):
                step(corpus, partition, workspace)
        seconds.append(watch.seconds)
    return statistics.mean(seconds[1:])  # the first one loads the tokenizer


def from_ui(settings: Settings, count: int) -> float:
    """Return the seconds per partition of a backfill, from its launch to the end of its last run."""
    keys = [f"launched{number}" for number in range(count)]
    for key in keys:
        write(settings.data, key)
    with open_instance(settings) as instance:
        instance.add_dynamic_partitions(NAME, keys)
    assets = [{"path": [NAME, stage]} for stage in ("raw_dataset", "tokenized_arrow", "numpy_cache")]
    with live_dagster(settings, cwd=settings.data) as dagster:
        began = time.time()
        launched = dagster.query(LAUNCH, params={"assetSelection": assets, "partitionNames": keys})["launchPartitionBackfill"]
        if "backfillId" not in launched:
            raise RuntimeError(f"the backfill was not launched: {launched}")
        backfill = launched["backfillId"]
        while (status := dagster.query(STATUS, id=backfill)["partitionBackfillOrError"]["status"]) in ("REQUESTED", "COMPLETING"):
            time.sleep(0.5)
    if status != "COMPLETED_SUCCESS":
        raise RuntimeError(f"the backfill ended as {status}")
    with open_instance(settings) as instance:
        runs = instance.get_run_records(dg.RunsFilter(tags={"dagster/backfill": backfill}))
    return (max(run.end_time or 0.0 for run in runs) - began) / count


if __name__ == "__main__":
    main()
