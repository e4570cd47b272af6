"""Integrity checks: whether the declarations can be built, and whether the store is intact."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from phyagi_assets.declare.catalog import Corpus, Mixture, read_catalog
from phyagi_assets.declare.removals import read_removals
from phyagi_assets.errors import DeclarationError, PhyagiAssetsError, SourceError, StoreError
from phyagi_assets.formats.plan import PLAN
from phyagi_assets.formats.plan_file import plan_of, read_plan
from phyagi_assets.formats.plan_paths import plan_folder
from phyagi_assets.sources.documents import read_documents
from phyagi_assets.sources.files import format_of, readable
from phyagi_assets.steps.checks.plans import array_problems, remote_array_problems
from phyagi_assets.steps.mixture import MIXTURE
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.base import Store
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from phyagi_assets.tokenizers.prepare_chat import prepare_chat
from phyagi_assets.tokenizers.prepared import PreparedTokenizer

OnChecked = Callable[[str], None]
"""Called with the name of each declaration, or the address of each artifact, that was checked."""
OnLeftOut = Callable[[str, str], None]
"""Called with the name of a corpus and one line on the files that its source leaves out."""


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


def declaration_problems(workspace: Workspace, on_checked: OnChecked, on_left_out: OnLeftOut | None = None) -> Iterator[str]:
    """Yield every problem with the declarations, and with the sources and tokenizers that they name.

    Parameters
    ----------
    on_left_out
        Called with the name of each corpus whose source leaves out files, and one line on the files, which are not a problem. By default, a
        warning is logged.
    """
    catalog, problems = read_catalog(workspace.data)
    yield from (str(error) for problem in problems for error in (problem, *problem.further))
    known_bad = {problem.path for problem in problems}
    for broken in catalog.broken:
        on_checked(broken.name)
    prepared: dict[str, PreparedTokenizer] = {}
    for corpus in catalog.corpora.values():
        if corpus.path not in known_bad:
            try:
                prepared[corpus.config.name] = _check_source(corpus, workspace, warn=on_left_out is None)
            except PhyagiAssetsError as problem:
                yield str(problem)
            else:
                yield from _unreadable(corpus, workspace)
            if on_left_out and (left_out := workspace.sources.left_out(corpus)):
                on_left_out(corpus.config.name, left_out)
        on_checked(corpus.config.name)
    for name, mixture in catalog.mixtures.items():
        if mixture.path not in known_bad and (unlike := _unlike(mixture, catalog.corpora, prepared)):
            yield str(unlike)
        on_checked(name)


_READ = 20
"""Largest number of files of a corpus whose beginnings are read."""


def _unlike(mixture: Mixture, corpora: Mapping[str, Corpus], prepared: Mapping[str, PreparedTokenizer]) -> DeclarationError | None:
    """Return the error of a mixture whose corpora have different tokenizers or dtypes, as building it would raise it."""
    parts = [name for name in mixture.config.corpora if name in prepared]
    for what in ("tokenizer", "dtype"):
        found: dict[str, str] = {}
        for name in parts:
            of = prepared[name]
            found.setdefault(of.artifact.fingerprint if what == "tokenizer" else str(of.dtype(corpora[name].config.dtype)), name)
        if len(found) > 1:
            one, other = list(found.values())[:2]
            shown = [str(getattr(corpora[name].config, what)) for name in (one, other)]
            return mixture.error(
                f"{one!r} and {other!r} do not have the same {what} ({shown[0]} and {shown[1]}); declare the same {what} for both",
                "stages" if mixture.config.stages else "datasets",
            )
    return None


def _unreadable(corpus: Corpus, workspace: Workspace) -> Iterator[str]:
    """Read the beginnings of some local files of a source as building would, and yield each problem once, for all files that have it."""
    local = (file for partition in workspace.sources.partitions(corpus).values() if partition.is_local for file in readable(partition))
    files = list(islice(local, _READ))
    found: dict[str, list[str]] = {}
    for file in files:
        try:
            next(read_documents(corpus, [file]), None)
        except SourceError as problem:
            place, _, what = str(problem).partition(": ")
            found.setdefault(what, []).append(place)
    for what, places in found.items():
        more = f" (the same in {len(places)} of {len(files)} files)" if len(places) > 1 else ""
        yield f"{places[0]}: {what}{more}"


def _check_source(corpus: Corpus, workspace: Workspace, *, warn: bool) -> PreparedTokenizer:
    for partition in workspace.sources.listing(corpus, warn=warn).partitions.values():
        for file in partition.files:
            format_of(corpus, file.name)
    read_removals(corpus)
    prepared = prepare_tokenizer(corpus, workspace.identities, workspace.store)
    if corpus.config.messages is not None:
        prepare_chat(corpus, prepared, workspace.data, workspace.store)
    return prepared


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


def store_problems(store: Store, on_checked: OnChecked, corpus: str = "") -> Iterator[StoreProblem]:
    """Compare every published artifact with its checksums, and yield the problems.

    Parameters
    ----------
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
        damage = store.damage(address, path)
        yield from (StoreProblem(address=address, found=found, version=own) for found in damage)
        if not damage and store.is_remote and address.step == MIXTURE.name:
            yield from (StoreProblem(address=address, found=found) for found in _remote_plan_problems(store, address))
        elif not damage and (path / PLAN).is_file():
            yield from (StoreProblem(address=address, found=found) for found in _plan_problems(plan_folder(pointer / PLAN) / PLAN))
        on_checked(address)


def discard_damaged(store: Store, problems: Iterable[StoreProblem]) -> tuple[list[str], list[str]]:
    """Remove damaged versions from the store, so that they are built again.

    Returns
    -------
    discarded : list of str
        Addresses of the versions that were removed, sorted.
    left : list of str
        Reasons why the other versions were left alone: the store did not make all their files, or they were rebuilt in the meantime.
    """
    damaged = {problem.version: problem.address for problem in problems if problem.version}
    discarded, left = set(), []
    for version, address in damaged.items():
        with store.lock(address):  # a run may be rebuilding the artifact right now
            if not store.damage(address, version):
                left.append(f"{address}: has been built again meanwhile")
                continue
            try:
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
