"""How tests are distributed over the processes of pytest-xdist: all tests of a file to one process, the longest files first.

What the fixtures of a file start or build is then started or built once, and no process waits at the end for a long file of another.
"""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

LONGEST_FIRST = (
    ("tests/steps/test_in_place.py",),
    ("tests/cli/test_commands.py",),
    ("tests/orchestration/test_live.py",),
    ("tests/documentation/test_tutorial.py",),
    ("tests/documentation/test_blocks.py",),
    ("tests/orchestration/test_sensors.py",),
    ("tests/datasets/train/lm/test_from_hub.py", "tests/sources/test_hub.py", "tests/sources/test_everywhere.py"),
    (  # what trainers import takes seconds
        "tests/datasets/test_loss_ledger.py",
        "tests/datasets/test_sharding.py",
        "tests/datasets/test_training.py",
        "tests/datasets/test_training_table.py",
    ),
    ("tests/datasets/test_loader_workers.py", "tests/datasets/test_mixture_loader.py", "tests/datasets/test_mixture.py"),
    ("tests/datasets/train/lm/test_tokenizing.py",),
    ("tests/cli/test_bucket_commands.py",),
    ("tests/orchestration/test_materialize.py",),
    ("tests/steps/test_tokenize.py",),
    ("tests/build/test_cluster.py", "tests/build/test_ways.py", "tests/execution/test_ray_cluster.py"),
    ("tests/orchestration/test_recorded_digests.py",),
    ("tests/steps/test_tokenize_chunks.py",),
    ("tests/robustness/test_storms.py",),
    ("tests/orchestration/test_dg_tools.py",),
    ("tests/tokenizers/test_conformance.py",),
    ("tests/build/test_partitions.py",),
    ("tests/reading/test_bucket_arrays.py",),
    ("tests/store/test_bucket_store.py",),
    ("tests/documentation/test_accessibility.py", "tests/documentation/test_site.py"),
    ("tests/benchmarks/test_text.py",),
    ("tests/robustness/test_at_once.py",),
    ("tests/order/test_mixture_order.py",),
    ("tests/robustness/test_damaged_variants.py",),
    ("tests/sources/test_object_store.py",),
    ("tests/robustness/test_kills.py",),
    ("tests/order/test_laws.py",),
    ("tests/tokenizers/test_prepare.py",),
    ("tests/robustness/test_kills_of_removal.py",),
    ("tests/robustness/test_full_disk.py",),
    ("tests/test_deployment.py",),
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start with the longest files in each process of pytest-xdist, and keep the tests that use the Ray cluster together."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (_RANKS.get(item.nodeid.partition("::")[0], _SHORT), "nodes" not in getattr(item, "fixturenames", ())))
