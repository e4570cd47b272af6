"""Whether what is declared can be built, and what is stored is what was written."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from phyagi_assets.declare.catalog import Corpus, read_catalog
from phyagi_assets.declare.removals import read_removals
from phyagi_assets.errors import PhyagiAssetsError, StoreError
from phyagi_assets.formats.plan import PLAN
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.formats.plan_paths import plan_folder
from phyagi_assets.paths import real_path
from phyagi_assets.sources.files import format_of
from phyagi_assets.steps.checks.plans import array_problems
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import Store, is_copy
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.tokenizers.prepare import prepare_tokenizer

OnChecked = Callable[[str], None]
"""Told the name of each thing that was looked at."""
OnLeftOut = Callable[[str, str], None]
"""Called with the name of a corpus and one line on the files that its source leaves out."""


def links_in_loops(folders: Sequence[Path]) -> list[Path]:
    """Find the links in some folders that lead in a circle, sorted. Other links are not followed."""
    found = {folder for folder in folders if _leads_in_a_circle(folder)}
    for folder in folders:
        for parent, *names in os.walk(folder):
            found.update(path for name in chain(*names) if _leads_in_a_circle(path := Path(parent, name)))
    return sorted(found)


def _leads_in_a_circle(link: Path) -> bool:
    if link.is_symlink():
        try:
            link.stat()
        except OSError as problem:
            return problem.errno == errno.ELOOP
    return False


def declaration_problems(workspace: Workspace, on_checked: OnChecked, on_left_out: OnLeftOut | None = None) -> Iterator[str]:
    """Everything that is wrong with the declarations, the sources and the tokenizers that they name.

    Parameters
    ----------
    on_left_out
        Called with the name of each corpus whose source leaves out files, and one line on them. They are not problems. Without it, a
        warning is logged.
    """
    catalog, problems = read_catalog(workspace.data)
    yield from map(str, problems)
    known_bad = {problem.path for problem in problems}
    for corpus in catalog.corpora.values():
        if corpus.path not in known_bad:
            try:
                _check_source(corpus, workspace, warn=on_left_out is None)
            except PhyagiAssetsError as problem:
                yield str(problem)
            if on_left_out and (left_out := workspace.sources.left_out(corpus)):
                on_left_out(corpus.config.name, left_out)
        on_checked(corpus.config.name)
    for name in catalog.mixtures:
        on_checked(name)


def _check_source(corpus: Corpus, workspace: Workspace, *, warn: bool) -> None:
    for partition in workspace.sources.listing(corpus, warn=warn).partitions.values():
        for file in partition.files:
            format_of(corpus, file.name)
    read_removals(corpus)
    prepare_tokenizer(corpus, workspace.data, workspace.store)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreProblem:
    """Something in the store that is not as it should be."""

    address: str
    found: str
    version: Path | None = None
    """The folder that does not hold what was written to it; None where something else is wrong."""

    def __str__(self) -> str:
        return self.found


def store_problems(store: Store, on_checked: OnChecked, corpus: str = "") -> Iterator[StoreProblem]:
    """Everything in the store that is not what was written: each published artifact read and compared with its checksums.

    Parameters
    ----------
    corpus
        Whose artifacts to read; by default, everybody's.
    """
    for address in store.list():
        if corpus and not address.startswith(f"{corpus}/"):
            continue
        pointer = store.pointer(address)
        path = real_path(pointer)
        if is_copy(pointer):
            found = f"{pointer}: is a folder where the store keeps a link: it was copied without its links; materialize puts them back"
            yield StoreProblem(address=address, found=found)
        damage = _damage(path)
        own = None if is_copy(pointer) else path
        yield from (StoreProblem(address=address, found=found, version=own) for found in damage)
        if not damage and (path / PLAN).is_file():
            yield from (StoreProblem(address=address, found=found) for found in _plan_problems(plan_folder(pointer / PLAN) / PLAN))
        on_checked(address)


def discard_damaged(store: Store, problems: Iterable[StoreProblem]) -> tuple[list[str], list[str]]:
    """Take what is damaged out of the store, so that it is built again.

    Returns
    -------
    tuple of list of str
        The addresses at which nothing is published any more, and why others were left as they are: because the store did not make
        everything in them, or because they were mended meanwhile.
    """
    damaged = {problem.version: problem.address for problem in problems if problem.version}
    discarded, left = set(), []
    for version, address in damaged.items():
        with store.turn(address):  # a run may be building it again at this moment
            if not _damage(version):
                left.append(f"{address}: has been built again meanwhile")
                continue
            try:
                store.discard(address, version)
            except StoreError as problem:
                left.append(str(problem))
            else:
                discarded.add(address)
    return sorted(discarded), left


def _damage(path: Path) -> list[str]:
    try:
        return Manifest.read(path).damage(path, checksums=True)
    except StoreError as problem:
        return [str(problem)]


def _plan_problems(file: Path) -> Iterator[str]:
    try:
        plan = read_plan(file)
    except StoreError as problem:
        yield str(problem)
        return
    for found in array_problems(plan, file):
        yield f"{file}: names {found}; bring {plan.name} up to date"
