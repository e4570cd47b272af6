"""How tests are distributed over the processes of pytest-xdist: all tests of a file to one process, the longest files first.

What the fixtures of a file start or build is then started or built once, and no process waits at the end for a long file of another.
"""

from typing import Any

import pytest
from execnet import XSpec
from xdist.scheduler import LoadScopeScheduling

from tests.forks import interpreter_in_fork

LONGEST_FIRST = (
    ("tests/build/test_cluster.py", "tests/build/test_ways.py", "tests/execution/test_ray_cluster.py"),
    (  # what trainers import takes seconds
        "tests/datasets/test_loss_ledger.py",
        "tests/datasets/test_sharding.py",
        "tests/datasets/test_training.py",
        "tests/datasets/test_training_table.py",
    ),
    ("tests/datasets/test_loader_workers.py", "tests/datasets/test_mixture_loader.py", "tests/datasets/test_mixture.py"),
    ("tests/steps/test_in_place.py",),
    ("tests/orchestration/test_live.py",),
    ("tests/cli/test_commands.py",),
    ("tests/documentation/test_accessibility.py", "tests/documentation/test_site.py"),
    ("tests/documentation/test_blocks.py",),
    ("tests/documentation/test_tutorial.py",),
    ("tests/orchestration/test_materialize.py",),
    ("tests/datasets/train/lm/test_from_hub.py", "tests/sources/test_hub.py", "tests/sources/test_everywhere.py"),
    ("tests/cli/test_bucket_commands.py",),
    ("tests/steps/test_tokenize.py",),
    ("tests/orchestration/test_sensors.py",),
    ("tests/orchestration/test_mixtures.py",),
    ("tests/sources/test_object_store.py",),
    ("tests/robustness/test_at_once.py",),
    ("tests/reading/test_bucket_arrays.py",),
    ("tests/benchmarks/test_text.py", "tests/benchmarks/test_conversations.py"),
    ("tests/steps/test_tokenize_chunks.py",),
    ("tests/robustness/test_kills.py",),
    ("tests/robustness/test_storms.py",),
    ("tests/robustness/test_full_disk.py",),
    ("tests/orchestration/test_jobs.py",),
    ("tests/datasets/train/lm/test_tokenizing.py",),
    ("tests/store/test_bucket_store.py",),
    ("tests/orchestration/test_failed_partitions.py",),
    ("tests/orchestration/test_recorded_digests.py",),
    ("tests/orchestration/test_dg_tools.py",),
    ("tests/tokenizers/test_prepare.py",),
    ("tests/order/test_laws.py",),
    ("tests/order/test_mixture_order.py",),
    ("tests/robustness/test_damaged_variants.py",),
    ("tests/robustness/test_kills_of_removal.py",),
    ("tests/chat/test_conversations.py",),
    ("tests/chat/test_as_transformers.py",),
    ("tests/build/test_partitions.py",),
    ("tests/test_layering.py",),
    ("tests/steps/test_mixture.py",),
    ("tests/benchmarks/test_batches.py",),
    ("tests/order/test_permutation.py",),
    ("tests/sources/test_memory.py",),
    ("tests/test_train_install.py",),
    ("tests/cli/test_reports.py",),
    ("tests/datasets/test_packing.py",),
    ("tests/test_deployment.py",),
    ("tests/orchestration/test_interrupts.py",),
    ("tests/steps/test_packed_index.py",),
    ("tests/build/test_staleness.py",),
    ("tests/steps/test_cache.py",),
    ("tests/datasets/test_explain.py",),
)
"""Files by the time that they take; the many short ones are left out. Files beside each other share a fixture, such as a Ray cluster, or
slow imports."""

_SHORT = len(LONGEST_FIRST)
_RANKS = {file: rank for rank, files in enumerate(LONGEST_FIRST) for file in files}


class LongestFilesFirst(LoadScopeScheduling):
    """Hand out whole files, in the order of the tests."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        config.option.loadscopereorder = False  # it would go by the number of tests
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        """Return the name of what stays in one process: the file of a test, or the first of the files that share a fixture with it."""
        file = nodeid.partition("::")[0]
        return LONGEST_FIRST[_RANKS[file]][0] if file in _RANKS else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFilesFirst | None:
    return LongestFilesFirst(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[XSpec]) -> None:
    """Fork the processes that run the tests from one that has done the imports."""
    for spec in specs:
        if spec.popen:
            spec.python = interpreter_in_fork(config.rootpath)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start with the longest files in each process of pytest-xdist, and keep the tests that use the Ray cluster together."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (_RANKS.get(item.nodeid.partition("::")[0], _SHORT), "nodes" not in getattr(item, "fixturenames", ())))
