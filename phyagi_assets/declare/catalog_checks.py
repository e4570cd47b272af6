"""Checks of declarations against each other and against the files of the data folder. Each raises a `DeclarationError`."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from phyagi_assets.declare.corpus_schema import TOKENIZERS_TEMPLATE, CorpusConfig
from phyagi_assets.declare.mixture_schema import SHORTEST_PACKED, MixtureConfig
from phyagi_assets.declare.yaml_reader import Declaration
from phyagi_assets.errors import DeclarationError
from phyagi_assets.formatting import listed
from phyagi_assets.suggestions import did_you_mean, suggesting

SameName = Mapping[str, Sequence[Declaration[Any]]]
"""All declarations by case-folded name, because some file systems ignore case."""


def check_corpus(data: Path, corpus: Declaration[CorpusConfig], same_name: SameName) -> None:
    """Check the name of a corpus, and that the files that it names exist."""
    _check_name(corpus, same_name)
    _check_tokenizer(data, corpus)
    _check_template(data, corpus)


def check_mixture(data: Path, mixture: Declaration[MixtureConfig], same_name: SameName, corpora: Collection[str]) -> None:
    """Check the name, the corpora and the settings of a mixture, given the names of all declared corpora."""
    _check_name(mixture, same_name)
    _check_parts(data, mixture, corpora)
    _check_stages(mixture)
    _check_packing(mixture)


def check_usable(mixture: Declaration[MixtureConfig], unusable: Mapping[str, DeclarationError]) -> None:
    """Check that no corpus of a mixture has a broken declaration, given the errors of the broken ones."""
    for key, name in _named_corpora(mixture.config):
        if name in unusable:
            raise mixture.error(f"the declaration of {name!r} is broken: {unusable[name]}", *key)


def _check_name(declared: Declaration[Any], same_name: SameName) -> None:
    """Refuse all declarations that share a name, because a reference to the name would be ambiguous."""
    name = declared.config.name
    if others := ", ".join(str(other.path) for other in same_name[name.casefold()] if other is not declared):
        raise declared.error(f"{name!r} is also the name in {others}; corpora and mixtures share one set of names", "name")


def _check_tokenizer(data: Path, corpus: Declaration[CorpusConfig]) -> None:
    name = corpus.config.tokenizer
    try:
        is_folder = (data / name).is_dir()
    except OSError as problem:
        raise corpus.error(f"{name[:100]!r} cannot be a folder: {problem.strerror}", "tokenizer") from None
    if "@" not in name and not is_folder:
        raise corpus.error(_no_tokenizer(data, name), "tokenizer")


def _no_tokenizer(data: Path, name: str) -> str:
    """Return the message for a tokenizer that is not a folder, with the folders that exist and how to name a tokenizer on the Hub."""
    path = data / name
    if path.is_file():
        return f"{path} is a file; name the folder that contains it, {PurePath(name).parent}"
    known_folders = sorted(file.parent.relative_to(data).as_posix() for file in data.glob("tokenizers/*/tokenizer.json"))
    known = f"; {data} has {listed(known_folders)}" if known_folders else ""
    on_hub = "; a tokenizer on the Hub is named with a revision, as in gpt2@main"
    return f"there is no folder {path}{did_you_mean(name, known_folders) or known + on_hub}"


def _check_template(data: Path, corpus: Declaration[CorpusConfig]) -> None:
    name = corpus.config.chat_template
    if corpus.config.messages is not None and name != TOKENIZERS_TEMPLATE and not (data / name).is_file():
        raise corpus.error(
            f"there is no file {data / name}; name a Jinja template, or write tokenizer to use the template of the tokenizer",
            "chat_template",
        )


def _check_parts(data: Path, mixture: Declaration[MixtureConfig], corpora: Collection[str]) -> None:
    for key, name in _named_corpora(mixture.config):
        if name not in corpora:
            declared = f"declared names: {listed(sorted(corpora), 20) or 'none'}"
            raise mixture.error(f"{name!r} is not declared under {data / 'corpora'}{suggesting(name, corpora, declared)}", *key)
    for i, name in enumerate(mixture.config.evaluation):
        if name in mixture.config.trained:
            raise mixture.error(f"{name!r} is trained on too; remove it from evaluation, or from the datasets", "evaluation", i)
        if name in mixture.config.evaluation[:i]:
            raise mixture.error(f"{name!r} is listed twice", "evaluation", i)


def _check_stages(mixture: Declaration[MixtureConfig]) -> None:
    config = mixture.config
    packings: dict[str, str | None] = {}
    for key, part in config.all_parts:
        if packings.setdefault(part.corpus, part.packing) != part.packing:
            raise mixture.error(f"{part.corpus!r} has another packing in an earlier stage; use one in all stages", *key, "packing")
    before = 0
    stages = config.stages or ()
    for k, stage in enumerate(stages):
        if stage.until is None:
            if k + 1 < len(stages):
                raise mixture.error("is missing, and only the last stage may have no end", "stages", k, "until")
        elif stage.until < before + config.seq_len:
            message = f"is {stage.until:,} tokens, and a stage ends at least a sample (seq_len: {config.seq_len:,}) after"
            raise mixture.error(f"{message} {f'the one before it, at {before:,}' if k else 'the beginning'}", "stages", k, "until")
        before = (stage.until or 0) // config.seq_len * config.seq_len


def _check_packing(mixture: Declaration[MixtureConfig]) -> None:
    config = mixture.config
    if config.seq_len < SHORTEST_PACKED and any(config.packing_of(part) == "best_fit" for part in config.parts):
        raise mixture.error(
            f"is {config.seq_len}, which is too short for packing: best_fit; a sample of whole documents has at least {SHORTEST_PACKED} "
            "tokens, one of them to predict",
            "seq_len",
        )


def _named_corpora(config: MixtureConfig) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the path of the key of each corpus in a declaration, and its name."""
    yield from (((*key, "corpus"), part.corpus) for key, part in config.all_parts)
    yield from ((("evaluation", i), name) for i, name in enumerate(config.evaluation))
