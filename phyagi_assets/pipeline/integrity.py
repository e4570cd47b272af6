"""Whether what is declared can be built, and what is stored is what was written."""

from collections.abc import Callable, Iterator
from pathlib import Path

from phyagi_assets.declarations import Corpus, read_catalog
from phyagi_assets.errors import PhyagiAssetsError, StoreError
from phyagi_assets.pipeline.manifest import Manifest
from phyagi_assets.pipeline.sources.files import format_of
from phyagi_assets.pipeline.step import Workspace
from phyagi_assets.pipeline.store import Store
from phyagi_assets.pipeline.tokenizers.prepare import prepare_tokenizer
from phyagi_assets.plan import PLAN, Plan

OnChecked = Callable[[str], None]
"""Told the name of each thing that was looked at."""


def declaration_problems(workspace: Workspace, on_checked: OnChecked) -> Iterator[str]:
    """Everything that is wrong with the declarations, the sources and the tokenizers that they name."""
    catalog, problems = read_catalog(workspace.data)
    yield from map(str, problems)
    known_bad = {problem.path for problem in problems}
    for corpus in catalog.corpora.values():
        if corpus.path not in known_bad:
            try:
                _check_source(corpus, workspace)
            except PhyagiAssetsError as problem:
                yield str(problem)
        on_checked(corpus.config.name)
    for name in catalog.mixtures:
        on_checked(name)


def _check_source(corpus: Corpus, workspace: Workspace) -> None:
    for partition in workspace.sources.partitions(corpus).values():
        for file in partition.files:
            format_of(corpus, file.name)
    prepare_tokenizer(corpus, workspace.data, workspace.store)


def store_problems(store: Store, on_checked: OnChecked) -> Iterator[str]:
    """Everything in the store that is not what was written: each published artifact read and compared with its checksums."""
    for address in store.list():
        path = store.pointer(address).resolve()
        try:
            manifest = Manifest.read(path)
        except StoreError as problem:
            yield str(problem)
        else:
            yield from manifest.damage(path, checksums=True)
            if (path / PLAN).is_file():
                yield from _plan_problems(path / PLAN)
        on_checked(address)


def _plan_problems(file: Path) -> Iterator[str]:
    try:
        plan = Plan.read(file)
    except StoreError as problem:
        yield str(problem)
        return
    for corpus in plan.corpora:
        for partition in corpus.partitions:
            for shard in partition.shards.values():
                if not (file.parent / shard.path).is_file():
                    yield f"{file}: names {shard.path}, which is not there; bring {plan.name} up to date"
