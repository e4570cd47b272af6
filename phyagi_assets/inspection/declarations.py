"""Checks of declarations: whether the sources, tokenizers and templates that they name can be used."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from phyagi_assets.declare.catalog import Corpus, Mixture, read_catalog
from phyagi_assets.declare.removals import read_removals
from phyagi_assets.errors import DeclarationError, PhyagiAssetsError, SourceError
from phyagi_assets.sources.documents import read_documents
from phyagi_assets.sources.files import format_of, readable
from phyagi_assets.steps.step import Workspace
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from phyagi_assets.tokenizers.prepare_chat import prepare_chat
from phyagi_assets.tokenizers.prepared import PreparedTokenizer

_READ = 20
"""Largest number of files of a corpus whose beginnings are read."""


def declaration_problems(
    workspace: Workspace, on_checked: Callable[[str], None], on_left_out: Callable[[str, str], object]
) -> Iterator[str]:
    """Yield every problem with the declarations, and with the sources and tokenizers that they name.

    Parameters
    ----------
    on_checked
        Called with the name of each declaration that was checked.
    on_left_out
        Called with the name of each corpus whose source leaves out files, and one line on the files, which are not a problem.
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
                prepared[corpus.config.name] = _check_source(corpus, workspace)
            except PhyagiAssetsError as problem:
                yield str(problem)
            else:
                yield from _unreadable(corpus, workspace)
            if left_out := workspace.sources.left_out(corpus):
                on_left_out(corpus.config.name, left_out)
        on_checked(corpus.config.name)
    for name, mixture in catalog.mixtures.items():
        if mixture.path not in known_bad and (mismatch := _mismatch(mixture, catalog.corpora, prepared)):
            yield str(mismatch)
        on_checked(name)


def _mismatch(mixture: Mixture, corpora: Mapping[str, Corpus], prepared: Mapping[str, PreparedTokenizer]) -> DeclarationError | None:
    """Return the error that building a mixture would raise if its corpora have different tokenizers or dtypes."""
    parts = [name for name in mixture.config.corpora if name in prepared]
    for what in ("tokenizer", "dtype"):
        found: dict[str, str] = {}
        for name in parts:
            tokenizer = prepared[name]
            found.setdefault(
                tokenizer.artifact.fingerprint if what == "tokenizer" else str(tokenizer.dtype(corpora[name].config.dtype)), name
            )
        if len(found) > 1:
            one, other = list(found.values())[:2]
            shown = [str(getattr(corpora[name].config, what)) for name in (one, other)]
            return mixture.error(
                f"{one!r} and {other!r} do not have the same {what} ({shown[0]} and {shown[1]}); declare the same {what} for both",
                "stages" if mixture.config.stages else "datasets",
            )
    return None


def _unreadable(corpus: Corpus, workspace: Workspace) -> Iterator[str]:
    """Read the beginnings of some local files of a source as a build would, and yield each problem once for all files that have it."""
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


def _check_source(corpus: Corpus, workspace: Workspace) -> PreparedTokenizer:
    for partition in workspace.sources.listing(corpus, warn=False).partitions.values():
        for file in partition.files:
            format_of(corpus, file.name)
    read_removals(corpus)
    prepared = prepare_tokenizer(corpus, workspace.identities, workspace.store)
    if corpus.config.messages is not None:
        prepare_chat(corpus, prepared, workspace.data, workspace.store)
    return prepared
