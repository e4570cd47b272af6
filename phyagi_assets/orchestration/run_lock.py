"""The lock that a run holds while one of its steps builds, and the checks before it builds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.orchestration.declared import require_as_requested
from phyagi_assets.orchestration.run_context import Context
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.data_folders import claim


@contextmanager
def hold_run(context: Context, builds: Sequence[Corpus | Mixture], reads: Sequence[Corpus] = ()) -> Iterator[None]:
    """Hold the lock of a run, check the declarations of what it builds or only reads, and record the data folder of what it builds."""
    workspace: Workspace = context.resources.workspace
    with workspace.store.hold_run_lock(context.run.run_id):
        for declared in (*builds, *reads):
            require_as_requested(context.run.tags, declared)
        claim(workspace.store, workspace.data, [declared.config.name for declared in builds], context.log)
        yield
