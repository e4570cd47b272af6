"""Build partitions on the nodes of a cluster: the folders that every node has to see, and errors that name the node."""

import errno
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from phyagi_assets.build.outcome import PartitionResult
from phyagi_assets.build.tasks import Builder, PartitionTask, Task, TaskResult
from phyagi_assets.build.work import Work
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.corpus_schema import TOKENIZERS_TEMPLATE
from phyagi_assets.declare.removals import removals_file
from phyagi_assets.errors import MissingArtifactsError, PhyagiAssetsError, StoreError
from phyagi_assets.execution.executor import OnProgress, Run
from phyagi_assets.execution.node_check import NeededFolder, NodeCheck
from phyagi_assets.execution.ray_worker import node_name
from phyagi_assets.sources.files import SourceFile
from phyagi_assets.sources.readable import Stamp
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.disk import stamp_of
from phyagi_assets.store.markers import StoreMarkers
from phyagi_assets.store.pickling import Pickling


def node_check(corpora: Sequence[Corpus], work: Sequence[Work], workspace: Workspace, pickling: Pickling) -> NodeCheck:
    """Return the requirements that every node of a cluster has to meet to build partitions."""
    store = StoreMarkers(pickling) if workspace.store.is_remote else None
    return NodeCheck(folders=tuple(needed_folders(corpora, work, workspace)), store=store)


def needed_folders(corpora: Sequence[Corpus], work: Sequence[Work], workspace: Workspace) -> Iterator[NeededFolder]:
    """Yield the folders that building partitions needs on every node of a cluster.

    Tokenizers are taken from the store, and need not be visible.
    """
    if not workspace.store.is_remote:
        yield NeededFolder(what="the store", path=workspace.store.root)
    by_name, found = {corpus.config.name: corpus for corpus in corpora}, dict[Path, NeededFolder]()
    for corpus in filter(_reads_data_folder, corpora):
        what = f"the data folder, with the chat template or the removed documents of {corpus.path}"
        found.setdefault(workspace.data, NeededFolder(what=what, path=workspace.data, by_all=False))
    for item in work:
        for folder in _source_folders(item):
            what = f"source files of {by_name[item.corpus].path}"
            found.setdefault(folder, NeededFolder(what=what, path=folder, by_all=False))
    yield from found.values()


def _reads_data_folder(corpus: Corpus) -> bool:
    """Return whether building a partition of a corpus reads a chat template or removed documents in the data folder."""
    return removals_file(corpus).exists() or (corpus.config.messages is not None and corpus.config.chat_template != TOKENIZERS_TEMPLATE)


def _source_folders(work: Work) -> list[Path]:
    """Return the folder of the first source file of a partition; empty if the file is not on a disk."""
    return [file.path.parent for file in (work.partition.files[:1] if work.partition else ()) if file.path]


def folders_of_task(builder: Builder, task: Task) -> set[Path]:
    """Return the folders of `needed_folders` that a task needs, besides that of the store."""
    data = [builder.workspace.data] if _reads_data_folder(builder.corpora[task.work.corpus]) else []
    return {*data, *_source_folders(task.work)}


def run_on_node(run: Run[Task, TaskResult], task: Task, on_progress: OnProgress) -> TaskResult:
    """Run a task on a node of a cluster. Add the name of the node to errors of the store or a disk, which may affect this node only."""
    if isinstance(task, PartitionTask) and task.work.partition:  # for chunks, the last task of the partition compares the stamps
        _require_as_listed(task.work.partition.files)
    try:
        result = run(task, on_progress)
    except MissingArtifactsError:
        raise
    except (StoreError, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno == errno.ENOMEM:
            raise
        raise StoreError(f"{node_name()}: {problem}") from problem
    if isinstance(result, PartitionResult) and type(result.problem) is StoreError:
        return replace(result, problem=StoreError(f"{node_name()}: {result.problem}"))
    return result


def _require_as_listed(files: Sequence[SourceFile]) -> None:
    """Require that local files of a partition have the size and time, in seconds, that the driver listed."""
    for file in files:
        if file.path is None:
            continue
        listed = _described(file.stamp)
        try:
            found = _described(stamp_of(file.path))
        except OSError as problem:
            found = f"unreadable ({problem.strerror})"
        if found != listed:
            raise PhyagiAssetsError(
                f"{node_name()} sees {file.path} as {found}, and the driver listed it as {listed}: the node has another file at this "
                "path, or the file has changed; mount the same folder on all nodes, or run the command again"
            )


def _described(stamp: Stamp) -> str:
    _, size, changed, *_ = stamp
    return f"{int(size):,} bytes, changed {datetime.fromtimestamp(int(changed) // 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"
