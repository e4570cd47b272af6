"""Integrity checks of a store: its artifacts match their checksums, its plans can be read, and no link leads into a loop."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from phyagi_assets.errors import StoreAccessError, StoreError
from phyagi_assets.formats.plan import PLAN
from phyagi_assets.formats.plan_file import plan_of, read_plan
from phyagi_assets.formats.plan_paths import plan_folder
from phyagi_assets.steps.checks.plans import array_problems, remote_array_problems
from phyagi_assets.steps.mixture import MIXTURE
from phyagi_assets.store.base import Store


def links_in_loops(folders: Sequence[Path]) -> list[Path]:
    """Return the symbolic links in folders that are part of a loop or lead into one, sorted. Links to other folders are not followed."""
    found = {folder for folder in folders if _is_link_loop(folder)}
    for folder in folders:
        for parent, *names in os.walk(folder):
            found.update(path for name in chain(*names) if _is_link_loop(path := Path(parent, name)))
    return sorted(found)


def _is_link_loop(link: Path) -> bool:
    if link.is_symlink():
        try:
            link.stat()
        except OSError as problem:
            return problem.errno == errno.ELOOP
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreProblem:
    """A problem with a published artifact."""

    address: str
    found: str
    """Description of the problem."""
    version: Path | None = None
    """Folder of the damaged version; None if the problem is not damage to a version."""

    def __str__(self) -> str:
        return self.found


def store_problems(store: Store, on_checked: Callable[[str], None], corpus: str = "") -> Iterator[StoreProblem]:
    """Compare every published artifact with its checksums, and yield the problems.

    Parameters
    ----------
    on_checked
        Called with the address of each artifact that was checked.
    corpus
        Name of the corpus or mixture whose artifacts are checked; by default, all artifacts are checked.
    """
    for address in store.list():
        if corpus and address.name != corpus:
            continue
        pointer, path = store.pointer(address), store.published_path(address)
        own = None if store.is_copy(address) else path
        if own is None:
            found = f"{pointer}: is a folder where the store keeps a link: it was copied without its links; materialize puts them back"
            yield StoreProblem(address=address, found=found)
        try:
            damage = store.damage(address, path)
        except StoreAccessError as problem:
            yield StoreProblem(address=address, found=str(problem))
            on_checked(address)
            continue
        yield from (StoreProblem(address=address, found=found, version=own) for found in damage)
        if not damage and store.is_remote and address.step == MIXTURE.name:
            yield from (StoreProblem(address=address, found=found) for found in _remote_plan_problems(store, address))
        elif own and not damage and (path / PLAN).is_file():  # the paths in a plan are relative to the place of its version
            yield from (StoreProblem(address=address, found=found) for found in _plan_problems(plan_folder(pointer / PLAN) / PLAN))
        on_checked(address)


def tokenizer_problems(tokenizers: Store) -> Iterator[StoreProblem]:
    """Compare the prepared tokenizers, given their store, with their checksums, and yield the problems."""
    for artifact in tokenizers.versions():
        try:
            found = artifact.damage(checksums=True)
        except StoreAccessError as problem:
            yield StoreProblem(address=artifact.address, found=str(problem))
        else:
            yield from (StoreProblem(address=artifact.address, found=each, version=artifact.path) for each in found)


def discard_damaged(store: Store, problems: Iterable[StoreProblem]) -> tuple[list[str], list[str]]:
    """Remove damaged versions from the store, so that they are built again.

    Returns
    -------
    discarded : list of str
        Addresses of the versions that were removed, sorted.
    left : list of str
        Reasons why other versions were not removed: the store did not make all their files, or they were rebuilt in the meantime.
    """
    damaged = {problem.version: problem.address for problem in problems if problem.version}
    discarded, left = set(), []
    for version, address in damaged.items():
        with store.lock(address):  # a run may be rebuilding the artifact right now
            try:
                if not store.damage(address, version):
                    left.append(f"{address}: has been built again in the meantime")
                    continue
                store.discard(address, version)
            except StoreError as problem:
                left.append(str(problem))
            else:
                discarded.add(address)
    return sorted(discarded), left


def _plan_problems(file: Path) -> Iterator[str]:
    try:
        plan = read_plan(file)
    except StoreError as problem:
        yield str(problem)
        return
    for found in array_problems(plan, file):
        yield f"{file}: names {found}; bring {plan.name} up to date"


def _remote_plan_problems(store: Store, address: str) -> Iterator[str]:
    artifact = store.open(address)
    if artifact:
        plan = plan_of(artifact)
        for found in remote_array_problems(plan, store):
            yield f"{artifact.place}/{PLAN}: names {found}; bring {plan.name} up to date"
