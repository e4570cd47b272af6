"""Processes forked from one that has done the imports, because imports take longer than most commands.

A test process has one such server, whose imports are set before its first fork: all that fork from it share this module.
"""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "alembic.context",
        "awkward",
        "dagster._core.definitions.external_asset",
        "dagster._core.execution.execute_in_process",
        "dagster._core.executor.in_process",
        "dagster._core.instance.factory",
        "dagster._core.storage.legacy_storage",
        "dagster._core.storage.local_compute_log_manager",
        "dagster._core.storage.sqlite_storage",
        "datasets",
        "dotenv",
        "fsspec.implementations.local",
        "gigatoken",
        "pandas",
        "phyagi_assets.cli",
        "phyagi_assets.cli.dry_run",
        "phyagi_assets.cli.progress",
        "phyagi_assets.cli.render",
        "phyagi_assets.cli.render_state",
        "phyagi_assets.inspection.check",
        "phyagi_assets.inspection.garbage",
        "phyagi_assets.inspection.removal",
        "phyagi_assets.inspection.status",
        "phyagi_assets.orchestration.component",
        "phyagi_assets.orchestration.instance",
        "phyagi_assets.orchestration.materialize",
        "tests.robustness.command",
        "tokenizers",
        "transformers",
        "upath.implementations.local",
        "watchdog.observers.polling",
    ]
)
