"""The data folder: every corpus and mixture that it declares, checked against each other."""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path

from phyagi_assets.config import CorpusConfig, MixtureConfig
from phyagi_assets.errors import DeclarationError, PhyagiAssetsError
from phyagi_assets.yamlfile import Declaration, load_yaml

Corpus = Declaration[CorpusConfig]
Mixture = Declaration[MixtureConfig]


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalog:
    """Everything that a data folder declares, by name."""

    data: Path
    corpora: dict[str, Corpus]
    mixtures: dict[str, Mixture]

    def select(self, names: Iterable[str]) -> "Catalog":
        """The named corpora and mixtures and the corpora that those mixtures are made of; all of them where nothing is named.

        Raises
        ------
        PhyagiAssetsError
            A name that nothing has, or nothing is declared at all.
        """
        wanted = list(names)
        known = [*self.corpora, *self.mixtures]
        if not known:
            raise PhyagiAssetsError(
                f"{self.data}: nothing is declared here, in corpora/*.yaml or mixtures/*.yaml; "
                "make a data folder to start from with: phyagi-assets init DIR"
            )
        if not wanted:
            return self
        for name in wanted:
            if name not in known:
                raise PhyagiAssetsError(f"{name!r} is declared nowhere in {self.data}; declared are: {', '.join(known)}")
        mixtures = {name: self.mixtures[name] for name in wanted if name in self.mixtures}
        parts = {part.corpus for mixture in mixtures.values() for part in mixture.config.datasets}
        corpora = {name: corpus for name, corpus in self.corpora.items() if name in wanted or name in parts}
        return Catalog(data=self.data, corpora=corpora, mixtures=mixtures)


def load_catalog(data: Path) -> Catalog:
    """Read every declaration under `data`.

    Raises
    ------
    DeclarationError
        A file does not parse or fit its schema; two things have one name; a mixture names a corpus that is not declared; a
        tokenizer's folder is not there. The first of them, where there are several.
    """
    catalog, problems = read_catalog(data)
    if problems:
        raise problems[0]
    return catalog


def read_catalog(data: Path) -> tuple[Catalog, list[DeclarationError]]:
    """Read what can be read of the declarations under `data`, with everything that is wrong with the others."""
    taken: dict[str, Path] = {}
    corpora: dict[str, Corpus] = {}
    mixtures: dict[str, Mixture] = {}
    problems: list[DeclarationError] = []
    for path in _yaml_files(data / "corpora"):
        try:
            corpus = load_yaml(path, CorpusConfig)
            _take_name(taken, corpus)
            corpora[corpus.config.name] = corpus  # known to the mixtures, whatever is wrong with its tokenizer
            _check_tokenizer(data, corpus)
        except DeclarationError as problem:
            problems.append(problem)
    for path in _yaml_files(data / "mixtures"):
        try:
            mixture = load_yaml(path, MixtureConfig)
            _take_name(taken, mixture)
            unread = {problem.path.stem for problem in problems}  # a corpus that cannot be read is declared all the same
            _check_parts(data, mixture, corpora.keys() | unread)
            mixtures[mixture.config.name] = mixture
        except DeclarationError as problem:
            problems.append(problem)
    return Catalog(data=data, corpora=corpora, mixtures=mixtures), problems


def _yaml_files(folder: Path) -> list[Path]:
    """The declarations in a folder; names with a leading dot are those of editors and file systems."""
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in (".yaml", ".yml") and not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise PhyagiAssetsError(f"{folder}: cannot be listed: {problem.strerror}; it is a folder of declarations") from None
    return sorted(found)


def _take_name(taken: dict[str, Path], declared: Corpus | Mixture) -> None:
    # Folded, because two names that differ in case alone are one folder on some file systems.
    name = declared.config.name
    if first := taken.get(name.casefold()):
        raise declared.error(f"{name!r} is taken already, by {first}; corpora and mixtures share one set of names", "name")
    taken[name.casefold()] = declared.path


def _check_tokenizer(data: Path, corpus: Corpus) -> None:
    name = corpus.config.tokenizer
    try:
        is_folder = (data / name).is_dir()
    except OSError as problem:
        raise corpus.error(f"{name[:100]!r} cannot be a folder: {problem.strerror}", "tokenizer") from None
    if "@" not in name and not is_folder:
        raise corpus.error(
            f"there is no folder {data / name}; a tokenizer on the Hub is named with a revision, as in gpt2@main", "tokenizer"
        )


def _check_parts(data: Path, mixture: Mixture, corpora: Set[str]) -> None:
    for i, part in enumerate(mixture.config.datasets):
        if part.corpus not in corpora:
            declared = ", ".join(sorted(corpora)) or "none"
            message = f"{part.corpus!r} is not declared under {data / 'corpora'}; declared are: {declared}"
            raise mixture.error(message, "datasets", i, "corpus")
