"""The catalog of a data folder: all declared corpora and mixtures, checked against each other."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from phyagi_assets.declare.catalog_checks import check_corpus, check_mixture, check_usable
from phyagi_assets.declare.corpus_schema import CorpusConfig
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import Declaration, load_yaml
from phyagi_assets.errors import DeclarationError, PhyagiAssetsError
from phyagi_assets.suggestions import suggesting

Corpus = Declaration[CorpusConfig]
Mixture = Declaration[MixtureConfig]
Config = TypeVar("Config", CorpusConfig, MixtureConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """A declaration that cannot be used."""

    name: str
    """Name of its corpus or mixture, or the stem of the file if the name cannot be read."""
    path: Path
    reason: DeclarationError


def nothing_declared(data: Path) -> str:
    """Return the message about a data folder without declarations, with a data folder above or below it that may be the right one."""
    near = next(filter(_has_declarations, [*data.absolute().parents[:_NEAR], *islice(_folders_in(data), _MOST_FOLDERS)]), None)
    here = "mount its disk if it is on another one, or make a data folder with: phyagi-assets init DIR"
    remedy = f"name the data folder with --data {near}" if near else here
    return f"{data}: nothing is declared here, in corpora/*.yaml or mixtures/*.yaml; {remedy}"


_NEAR = 3
"""Number of folders above one without declarations that may be the data folder."""
_MOST_FOLDERS = 100
"""Largest number of folders in one without declarations that may be the data folder."""


def _has_declarations(folder: Path) -> bool:
    try:
        return any(_yaml_files(folder / kind) for kind in ("corpora", "mixtures"))
    except PhyagiAssetsError:
        return False


def _folders_in(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalog:
    """The usable declarations of a data folder, by name, and the broken ones."""

    data: Path
    corpora: dict[str, Corpus]
    mixtures: dict[str, Mixture]
    """Mixtures whose corpora are all usable."""
    broken: Sequence[Broken] = ()

    def select(self, names: Iterable[str]) -> "Catalog":
        """Return a catalog of the named corpora and mixtures and of the corpora of these mixtures; the whole catalog if no name is given.

        Raises
        ------
        DeclarationError
            The declaration of a given name is broken, or every declaration is.
        PhyagiAssetsError
            A given name is not declared, or the data folder declares nothing.
        """
        wanted = list(names)
        known = [*self.corpora, *self.mixtures]
        for broken in self.broken:
            if broken.name in wanted and broken.name not in known:
                raise broken.reason
        if not known and self.broken:
            raise self.broken[0].reason
        if not known:
            raise PhyagiAssetsError(nothing_declared(self.data))
        if not wanted:
            return self
        for name in wanted:
            if name not in known:
                hint = suggesting(name, known, f"declared names: {', '.join(known)}")
                raise PhyagiAssetsError(f"{name!r} is not declared in {self.data}{hint}")
        mixtures = {name: self.mixtures[name] for name in wanted if name in self.mixtures}
        parts = {name for mixture in mixtures.values() for name in mixture.config.corpora}
        corpora = {name: corpus for name, corpus in self.corpora.items() if name in wanted or name in parts}
        return Catalog(data=self.data, corpora=corpora, mixtures=mixtures)


def load_catalog(data: Path) -> Catalog:
    """Read every declaration in the data folder `data`.

    Raises
    ------
    DeclarationError
        A file does not parse or fit its schema, two declarations share a name, a mixture names a corpus that is not declared, or the
        folder of a tokenizer does not exist. If there are several errors, the first one by path is raised.
    PhyagiAssetsError
        A folder of declarations cannot be listed.
    """
    catalog, problems = read_catalog(data)
    if problems:
        raise problems[0]
    return catalog


def read_catalog(data: Path) -> tuple[Catalog, list[DeclarationError]]:
    """Read the usable declarations in the data folder `data`, and collect the errors of the others.

    Returns
    -------
    catalog : Catalog
        The usable and the broken declarations.
    problems : list of DeclarationError
        The errors, sorted by path. A mixture of a broken corpus is broken too, but its file has no error, so that its reason is not listed
        here.

    Raises
    ------
    PhyagiAssetsError
        A folder of declarations cannot be listed.
    """
    broken: list[Broken] = []
    corpora = _read_files(data / "corpora", CorpusConfig, broken)
    mixtures = _read_files(data / "mixtures", MixtureConfig, broken)
    same_name: dict[str, list[Corpus | Mixture]] = {}
    everything: list[Corpus | Mixture] = [*corpora, *mixtures]
    for declared in everything:
        same_name.setdefault(declared.config.name.casefold(), []).append(declared)

    corpora = _passing(lambda corpus: check_corpus(data, corpus, same_name), corpora, broken)
    by_name = {corpus.config.name: corpus for corpus in corpora}
    unusable = {found.name: found.reason for found in broken if found.path.parent.name == "corpora" and found.name not in by_name}

    mixtures = _passing(lambda mixture: check_mixture(data, mixture, same_name, [*by_name, *unusable]), mixtures, broken)
    problems = [found.reason for found in sorted(broken, key=lambda found: found.path)]
    mixtures = _passing(lambda mixture: check_usable(mixture, unusable), mixtures, broken)
    conversations = {corpus.config.name for corpus in corpora if corpus.config.messages is not None}
    mixtures = [replace(mixture, config=mixture.config.with_conversations(conversations)) for mixture in mixtures]
    catalog = Catalog(data=data, corpora=by_name, mixtures={mixture.config.name: mixture for mixture in mixtures}, broken=broken)
    return catalog, problems


def _read_files(folder: Path, model: type[Config], broken: list[Broken]) -> list[Declaration[Config]]:
    found = []
    for path in _yaml_files(folder):
        try:
            found.append(load_yaml(path, model))
        except DeclarationError as problem:
            broken.append(Broken(name=_probable_name(path), path=path, reason=problem))
    return found


_NAME = re.compile(rb"^name:[ \t]*[\"']?([\w.-]+)", re.MULTILINE)


def _probable_name(path: Path) -> str:
    """Return the name that a broken file seems to declare, so that a mixture that names it is not reported for an undeclared corpus."""
    try:
        match = _NAME.search(path.read_bytes()[: 1 << 16]) if path.is_file() else None
    except OSError:
        match = None
    return match[1].decode() if match else path.stem


def _passing(
    check: Callable[[Declaration[Config]], None], declarations: Iterable[Declaration[Config]], broken: list[Broken]
) -> list[Declaration[Config]]:
    """Return the declarations that pass a check, and add the others to the broken ones."""
    passing = []
    for declared in declarations:
        try:
            check(declared)
            passing.append(declared)
        except DeclarationError as problem:
            broken.append(Broken(name=declared.config.name, path=declared.path, reason=problem))
    return passing


def _yaml_files(folder: Path) -> list[Path]:
    """Return the declarations in a folder, sorted. Files with a leading dot are skipped: editors and file systems create them."""
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in (".yaml", ".yml") and not path.name.startswith(".")]
    except FileNotFoundError:
        if folder.is_symlink():
            raise PhyagiAssetsError(f"{folder}: is a link to {folder.readlink()}, which does not exist; correct it, or remove it") from None
        return []
    except OSError as problem:
        raise PhyagiAssetsError(f"{folder}: cannot be listed: {problem.strerror}; it is a folder of declarations") from None
    return sorted(found)
