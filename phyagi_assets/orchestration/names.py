"""Names of jobs, ops, their options and tags, which several modules of this package refer to."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from phyagi_assets.steps.step import Step

WORKSPACE, PROGRESS = "workspace", "progress"
"""Keys of the Dagster resources: the data folder with the store, and the receiver of progress."""
COMMAND_JOB = "materialize"
"""Name of the job of the command, which builds stale partitions of any corpora."""

PARTITIONS, PROCESSES, EXECUTOR, CONTENTS = "partitions", "processes", "executor", "contents"
"""Options of the ops that build partitions."""

BUILD_POOL, CHECK_POOL = "build_partitions", "check_store"
"""Concurrency pools of the ops that build partitions, and of those that read the whole store: an operator can limit how many runs of each
are in progress."""

HIDDEN = ".dagster/phyagi_assets_"
"""Prefix of internal tags of runs; the UI hides tags that begin with Dagster's part of it."""
BUILDS_ALL_TAG = {f"{HIDDEN}builds": "all stale steps"}
"""Tag of runs that also build the steps downstream of a change, so that automation need not."""
CORPUS_TAG = "phyagi_assets/corpus"
"""Tag of a run: the corpus that it builds."""
LAUNCHED_BY = "phyagi_assets/launched_by"
"""Tag of a run: its launcher, unless that was the UI."""
COMMAND, REFRESH = "command", "refresh"
"""Values of `LAUNCHED_BY`: the command; a sensor or schedule that scans a source."""
INPUTS_TAG = f"{HIDDEN}inputs"
"""Tag of a run of a mixture: the digest of the declaration and of the inputs of the plan."""
FAILURE_TAG, LASTING, OPEN = f"{HIDDEN}failure", "lasting", "open"
"""Tag of a failed run; its value if the cause persists until one of the run's inputs changes, and its value once the run is re-executed."""
LASTING_TAG = f"{HIDDEN}lasting_failures"
"""Tag of a failed run: the partitions (``corpus/partition``) whose failure persists until an input changes, as a list in JSON."""
FOLLOW_CHANGES = "follow_changes"
"""Name of the sensor that builds the steps downstream of a change."""


def build_job_name(name: str) -> str:
    """Return the name of the job that builds chosen partitions of a corpus, or a mixture."""
    return f"{name}_build"


def stale_job_name(corpus: str) -> str:
    """Return the name of the job that builds the stale partitions of a corpus."""
    return f"{corpus}_build_stale"


def partitions_op_name(name: str) -> str:
    """Return the name of the op that builds partitions, given the name of its corpus or job."""
    return f"{name}__partitions"


def op_name(name: str, step: Step) -> str:
    """Return the name of the op of a step that is not partitioned."""
    return f"{name}__{step.name}"


def run_config(op: str, **options: Any) -> dict[str, Any]:
    """Return the run configuration that sets options of an op."""
    return {"ops": {op: {"config": options}}}


def configured(run: dg.DagsterRun, option: str) -> Mapping[str, Any]:
    """Return the value of an option of the only op of a run, by corpus or partition; empty if it is not set."""
    config: Any = run.run_config
    found: Mapping[str, Any] = next((op["config"][option] for op in config.get("ops", {}).values() if option in op.get("config", {})), {})
    return found
