"""The asset graph of a small catalog, compared with a recorded one: names that users and Dagster's records refer to stay.

After an intended change, record it again with ``PHYAGI_ASSETS_RECORD=1 pytest tests/orchestration/test_asset_graph.py``.
"""

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg

from phyagi_assets.declare.catalog import read_catalog
from phyagi_assets.orchestration.component import catalog_definitions
from phyagi_assets.orchestration.progress import logged_progress
from phyagi_assets.steps.step import Workspace
from tests.support import declare, declare_corpus, write_text

RECORDED = Path(__file__).with_name("asset_graph.json")


def test_asset_graph_matches_the_snapshot(workspace: Workspace) -> None:
    data = workspace.data
    declare_corpus(data, "plays", "raw/*.txt", partition_by="file", refresh="0 3 * * *")
    declare_corpus(data, "notes", "raw/*.jsonl", refresh="10 minutes")
    declare(data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": "plays"}, {"corpus": "notes"}])
    write_text(data / "corpora" / "torn.yaml", "name: torn\nsource: [\n")
    found = graph(workspace)
    if os.environ.get("PHYAGI_ASSETS_RECORD"):
        RECORDED.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    assert found == json.loads(RECORDED.read_text(encoding="utf-8"))


def graph(workspace: Workspace) -> dict[str, Any]:
    definitions = catalog_definitions(read_catalog(workspace.data)[0], workspace, logged_progress)
    repository = definitions.get_repository_def()
    assets = {
        spec.key.to_user_string(): {
            "code version": spec.code_version,
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            "tags": {name: value for name, value in spec.tags.items() if name.startswith("phyagi_assets/")},
            "columns": [column.name for column in getattr(spec.metadata.get("dagster/column_schema"), "columns", ())],
            "partitions": getattr(spec.partitions_def, "name", None),
            "is automated": spec.automation_condition is not None,
        }
        for spec in definitions.resolve_all_asset_specs()
    }
    checks = {
        f"{key.asset_key.to_user_string()}:{key.name}": getattr(repository.asset_graph.get(key).partitions_def, "name", None)
        for key in repository.asset_graph.asset_check_keys
    }
    ops = [op for job in repository.get_all_jobs() for op in job.all_node_defs if isinstance(op, dg.OpDefinition)]
    pools = {pool: sorted({op.name for op in ops if op.pool == pool}) for pool in {op.pool for op in ops if op.pool}}
    return {
        "assets": assets,
        "checks, with their partitions": checks,
        "pools, with their ops": pools,
        "jobs": sorted(repository.job_names),
        "schedules": {of.name: str(of.cron_schedule) for of in repository.schedule_defs},
        "sensors": sorted(of.name for of in repository.sensor_defs),
    }
