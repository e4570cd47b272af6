"""The cost of keeping up: building many tiny partitions, a command where nothing changed, and one where one partition was added.

Run it with ``make bench-keeping-up``. Seconds are of whole processes, from start to end, ``phyagi-assets materialize`` as its user types
it; medians of the runs. The time of a partition is given three times: of its steps alone, of the command (without its time where nothing
changed), and of a backfill in the UI, from its launch to the end of its last run. Writes ``results.json`` and ``results.md``.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import results

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.settings import Settings
from phyagi_assets.steps.cache import build_cache
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.step import Workspace
from phyagi_assets.steps.tokenize import build_tokenized
from phyagi_assets.store.local import LocalStore
from tests.live import live_dagster

HERE = Path(__file__).parent
TOKENIZER = HERE.parent / "data" / "tokenizers" / "gpt2"
NAME = "many"
LAUNCHED = 100
"""Number of partitions of a backfill."""
LAUNCH = """
mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
STATUS = "query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
COMMAND = [sys.executable, "-c", "from phyagi_assets.cli import main; main()", "materialize"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "benchmarks", metavar="DIR")
    options = parser.parse_args()
    found = {str(count): measured(options.work / "keeping_up", count, options.runs) for count in options.partitions}
    table = ["## Keeping up", "", "Tiny partitions of 20 documents, a file each. Seconds of whole processes, and of a partition.", ""]
    table += ["| partitions | nothing changed | one added | its steps alone | by the command | by a backfill |", f"|{' --- |' * 6}"]
    columns = {"nothing": ".1f", "one": ".1f", "bare": ".3f", "command": ".3f", "ui": ".2f"}
    table += [f"| {count} | {' | '.join(f'{of[name]:{form}}' for name, form in columns.items())} |" for count, of in found.items()]
    results.keep("keeping_up", {"machine": results.machine(), "seconds": found}, "\n".join(table))
    print("\n".join(table))


def measured(work: Path, count: int, runs: int) -> dict[str, float]:
    """Seconds with as many partitions."""
    shutil.rmtree(work, ignore_errors=True)
    data = work / "data"
    (data / "raw").mkdir(parents=True)
    (data / "corpora").mkdir()
    declaration = f"name: {NAME}\nsource: {{path: 'raw/*.jsonl'}}\npartition_by: file\ntokenizer: '{TOKENIZER}'\n"
    (data / "corpora" / f"{NAME}.yaml").write_text(declaration, encoding="utf-8")
    write(data, "first")
    command(data)  # compares the engines, once for the store
    for number in range(count):
        write(data, f"{number:05}")
    built = command(data)
    nothing = statistics.median(command(data) for _ in range(runs))
    one = []
    for run in range(runs):
        write(data, f"new{run}")
        one.append(command(data))
    bare = by_steps(Settings(data=data, store=data / "store"), count)
    launched = from_ui(Settings(data=data, store=data / "store"))
    return {"nothing": nothing, "one": statistics.median(one), "bare": bare, "command": (built - nothing) / count, "ui": launched}


def from_ui(settings: Settings) -> float:
    """Seconds per partition of a backfill, from its launch to the end of its last run."""
    keys = [f"launched{number}" for number in range(LAUNCHED)]
    for key in keys:
        write(settings.data, key)
    with open_instance(settings) as instance:
        instance.add_dynamic_partitions(NAME, keys)
    assets = [{"path": [NAME, stage]} for stage in ("raw_dataset", "tokenized_arrow", "numpy_cache")]
    with live_dagster(settings) as dagster:
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
    return (max(run.end_time or 0.0 for run in runs) - began) / LAUNCHED


def write(data: Path, name: str) -> None:
    lines = (json.dumps({"text": f"Document {i} of partition {name}, of a few words."}) for i in range(20))
    (data / "raw" / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def by_steps(settings: Settings, count: int) -> float:
    """Build new partitions by the steps alone, and return the seconds per partition."""
    corpus = load_catalog(settings.data).corpora[NAME]
    workspace = Workspace(data=settings.data, store=LocalStore(settings.store))
    for number in range(min(count, 100) + 1):
        write(settings.data, f"steps{number}")
    added = {key: partition for key, partition in workspace.sources.partitions(corpus).items() if key.startswith("steps")}
    seconds = []
    for partition in added.values():
        started = time.perf_counter()
        for step in (build_raw, build_tokenized, build_cache):
            step(corpus, partition, workspace)
        seconds.append(time.perf_counter() - started)
    return statistics.mean(seconds[1:])  # the first one loads the tokenizer


def command(data: Path) -> float:
    started = time.perf_counter()
    subprocess.run([*COMMAND, "--data", str(data)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
