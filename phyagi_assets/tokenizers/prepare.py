"""Preparation of tokenizers: load a declared tokenizer once with ``transformers``, and store it in the forms that the steps need.

The tokenizer is loaded with ``transformers`` because the ids of its fast tokenizer are the exact ones. Afterwards the steps use the stored
forms, so that runs do not have to import ``transformers``.
"""

import copy
import json
import logging
import os
import pickle
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import OutOfMemoryError, TokenizerError, TooManyFilesError, translate_limit_errors
from phyagi_assets.formats.cache_tokenizer import PICKLED, SAVED
from phyagi_assets.formatting import listed, one_line
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store
from phyagi_assets.store.fingerprint import text_digest
from phyagi_assets.store.manifest import FileRecord, Manifest
from phyagi_assets.tokenizers.identity import Identities, errors_of_hub
from phyagi_assets.tokenizers.prepared import BACKEND, PreparedTokenizer, facts_of, tokenizer_label
from phyagi_assets.tokenizers.transformers_import import import_transformers

_FILES = re.compile(r"[^/]+(?<!\.index)\.(json|jinja|txt|model|spm|tiktoken|bpe|codes)|additional_chat_templates/[^/]+\.jinja")
"""Paths of the files in a repository on the Hub that tokenizers are loaded from, not those of weights and their indices."""

_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tokenizer.tiktoken")
"""Files that hold the vocabulary of a tokenizer; ``transformers`` converts the later forms to a fast tokenizer if it can."""

CODE_VERSION = "1"
LARGEST_ID = 2**31 - 1
logger = logging.getLogger(__name__)


def tokenizer_store(store: Store) -> Store:
    """Return the inner store for prepared tokenizers and conformance reports, apart from the artifacts of corpora and mixtures."""
    return store.inner("tokenizers")


def prepare_tokenizer(corpus: Corpus, identities: Identities, store: Store) -> PreparedTokenizer:
    """Return the tokenizer of a corpus; read it from the store, or load and store it.

    Raises
    ------
    TokenizerError
        The tokenizer cannot be loaded, is not a fast tokenizer, has no usable EOS although the corpus appends one, or has ids that do not
        fit the dtype.
    """
    name = corpus.config.tokenizer
    try:
        identity = identities.identity(corpus)
        source = identity.removeprefix("hub:") if identity.startswith("hub:") else str(identities.data / name)

        def load_identified() -> Any:
            tokenizer = load(source, name)
            if identities.identity(corpus) != identity:  # it would be kept under the identity of another one
                raise TokenizerError(f"tokenizer {name!r} has changed while it was loaded; run the command again once it is complete")
            return tokenizer

        prepared = prepare(name, identity, load_identified, store)
    except TokenizerError as problem:
        raise type(problem)(f"{corpus.path}: {problem}") from problem
    _check_fit(corpus, prepared)
    return prepared


def prepare(name: str, identity: str, load: Callable[[], Any], store: Store) -> PreparedTokenizer:
    """Return a prepared tokenizer; read it from the store, or load and store it.

    Parameters
    ----------
    identity
        Identity of the tokenizer; the fingerprint of the prepared tokenizer depends on it.
    load
        Loads the ``transformers`` fast tokenizer; called if the store does not have it.
    """
    expected = Manifest.expected("tokenizer", code_version=CODE_VERSION, inputs={"tokenizer": identity}, settings={})
    tokenizers = tokenizer_store(store)
    address = f"prepared/{tokenizer_label(name)}"
    artifact = tokenizers.find(address, expected.fingerprint, lately=True)
    if artifact is None or _is_damaged(artifact):
        with tokenizers.lock(address, silent=True):  # other threads, processes and machines need the same tokenizer
            artifact = _find_intact(tokenizers, address, expected.fingerprint)
            artifact = artifact or tokenizers.write(address, expected, lambda folder: _fill(folder, expected, load()))
    facts = facts_of(artifact, tokenizers.state("facts", artifact.fingerprint))
    return PreparedTokenizer(artifact=artifact, name=name, **artifact.manifest.details, **facts)


def _find_intact(tokenizers: Store, address: str, fingerprint: str) -> Artifact | None:
    """Return a prepared tokenizer of the store, and discard a damaged one; None if the store has no intact one."""
    artifact = tokenizers.find(address, fingerprint)
    if artifact is None or not _is_damaged(artifact):
        return artifact
    if not tokenizers.damage(address, artifact.path):  # only the copy of a version in a bucket was damaged, which has been deleted
        return tokenizers.find(address, fingerprint)
    logger.warning("%s: its content is not what was written; the tokenizer is prepared again", artifact.place)
    tokenizers.discard(address, artifact.path)
    return None


def _is_damaged(artifact: Artifact) -> bool:
    """Return whether a file of a prepared tokenizer on this machine differs from its record: all that is encoded depends on it."""
    for name, record in artifact.manifest.files.items():
        path = artifact.path / name
        with suppress(FileNotFoundError):  # not fetched yet
            found = path.stat()
            if _record_of(path, found.st_size, found.st_mtime_ns, found.st_ino) != record:
                return True
    return False


@lru_cache
def _record_of(path: Path, *_: int) -> FileRecord:
    """Return the record of a file, given what changes when it is replaced. New links to it, from caches, change nothing."""
    return FileRecord.of(path)


def _check_fit(corpus: Corpus, prepared: PreparedTokenizer) -> None:
    if corpus.config.append_eos and prepared.eos_token_id is None:
        raise TokenizerError(
            f"{corpus.path}: tokenizer {prepared.name!r} has no EOS token to append to each document; "
            "give it one (eos_token in its tokenizer_config.json), or set append_eos: false"
        )
    if corpus.config.append_eos and corpus.config.messages is None and prepared.appends_token_after_eos:
        raise TokenizerError(
            f"{corpus.path}: tokenizer {prepared.name!r} appends its EOS and then another token to each text; "
            "set append_eos: false to keep the ending that the tokenizer gives"
        )
    if prepared.max_id > LARGEST_ID:
        raise TokenizerError(
            f"{corpus.path}: tokenizer {prepared.name!r} has ids up to {prepared.max_id}, and arrays hold ids up to {LARGEST_ID}; "
            "number its tokens from 0"
        )
    if corpus.config.dtype == "uint16" and prepared.max_id > 0xFFFF:
        raise TokenizerError(
            f"{corpus.path}: tokenizer {prepared.name!r} has ids up to {prepared.max_id}, and uint16 ends at 65535; "
            "set dtype: int32, or leave it to auto"
        )


def prepare_loaded(tokenizer: Any, store: Store) -> PreparedTokenizer:
    """Prepare a ``transformers`` tokenizer that is already loaded. The tokenizer itself is not changed.

    Raises
    ------
    TokenizerError
        The tokenizer is not a fast tokenizer, or has a setting that the steps do not support.
    """
    name = str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
    own = _usable(copy.deepcopy(tokenizer), name)
    own.backend_tokenizer.no_truncation()
    own.backend_tokenizer.no_padding()
    identity = text_digest(f"{own.backend_tokenizer.to_str()}\n{own!r}\n{own.chat_template}")
    return prepare(name, f"loaded:{identity}", lambda: own, store)


def save_forms(tokenizer: Any, folder: Path) -> dict[str, object]:
    """Write a tokenizer in the forms that a cache holds: as a folder (`SAVED`) and as a pickle (`PICKLED`).

    Returns
    -------
    dict of str to object
        The `eos_token_id`, `max_id` and `vocab_size` of the tokenizer.
    """
    with _translate_os_errors():
        tokenizer.save_pretrained(folder / SAVED)
    _remove_loading_settings(folder / SAVED / "tokenizer_config.json")
    (folder / PICKLED).write_bytes(pickle.dumps(_without_paths(tokenizer)))
    return {"eos_token_id": tokenizer.eos_token_id, "max_id": max(tokenizer.get_vocab().values()), "vocab_size": len(tokenizer)}


@contextmanager
def _translate_os_errors() -> Iterator[None]:
    """Convert a plain `Exception` of ``tokenizers`` about an error of the operating system, as on a full disk, into an `OSError`."""
    try:
        yield
    except Exception as problem:
        if match := re.search(r"\(os error (\d+)\)", str(problem)):
            raise OSError(int(match[1]), os.strerror(int(match[1]))) from problem
        raise


def _without_paths(tokenizer: Any) -> Any:
    """Return a copy of a tokenizer without the paths of its files, so that all machines pickle the same bytes."""
    files, own = tokenizer.vocab_files_names.values(), copy.copy(tokenizer)

    def is_path(value: object) -> bool:
        return isinstance(value, str) and Path(value).name in files

    own.init_kwargs = {key: value for key, value in tokenizer.init_kwargs.items() if not is_path(value)}
    vars(own).update({key: None for key, value in vars(own).items() if is_path(value)})
    return own


def _fill(folder: Path, expected: Manifest, tokenizer: Any) -> Manifest:
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    (folder / BACKEND).write_text(backend.to_str(), encoding="utf-8")
    details = save_forms(tokenizer, folder)
    return replace(expected, details=details, produced_with={"transformers": version("transformers")})


def load(source: str, name: str) -> Any:
    """Load a tokenizer from a folder, or from the Hub by name and commit, as in ``gpt2@<commit>``, and check that the steps support it."""
    transformers = import_transformers()
    path, _, revision = source.partition("@") if not Path(source).is_dir() else (source, "", "")
    if revision:
        fetched = _fetched(path, revision)
        if Path(path).exists():  # `transformers` reads a folder in the working directory that has the name of the repository
            path, revision = str(fetched), ""
    try:
        with translate_limit_errors(f"tokenizer {name!r}"):
            tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                path, revision=revision or "main", local_files_only=not revision, trust_remote_code=False
            )
    except (OutOfMemoryError, TooManyFilesError):
        raise
    except Exception as problem:  # loaders raise all kinds of exceptions
        reason = _without_vocabulary(Path(path)) or one_line(problem) or type(problem).__name__
        needed = "" if revision else "; use a folder written by save_pretrained, with its tokenizer.json"
        raise TokenizerError(f"tokenizer {name!r} cannot be loaded from {path}: {reason}{needed}") from problem
    return _usable(tokenizer, name)


def _fetched(name: str, commit: str) -> Path:
    """Fetch the files of a tokenizer from the Hub, and return their folder in the cache of its client."""
    from phyagi_assets.sources.hub import fetch_of_model

    with errors_of_hub("set HF_HUB_OFFLINE=1 to use the files that were fetched before"):
        folder = fetch_of_model(name, commit, lambda path: bool(_FILES.fullmatch(path)))
    if folder is None:
        raise TokenizerError(f"tokenizer {name}@{commit} on the Hub: has no files of a tokenizer; correct its name")
    return folder


def _without_vocabulary(folder: Path) -> str:
    """Return a message if a folder has no vocabulary, with the files that it has; empty for a name on the Hub, or if there is one."""
    if not folder.is_dir() or any((folder / file).exists() for file in _VOCABULARIES):
        return ""
    files = sorted(file.name for file in folder.iterdir())
    return f"it has no tokenizer.json, but {listed(files)}" if files else "it is an empty folder"


def _usable(tokenizer: Any, name: str) -> Any:
    """Check that the steps support a tokenizer, and remove traces of its loading, such as paths."""
    if not getattr(tokenizer, "is_fast", False):
        raise TokenizerError(
            f"tokenizer {name!r} is {type(tokenizer).__name__}, which has no fast version; use a tokenizer with a tokenizer.json"
        )
    if tokenizer.split_special_tokens:  # a setting of ``transformers`` that the JSON file of the backend does not hold
        raise TokenizerError(
            f"tokenizer {name!r} has split_special_tokens, which reads special tokens as plain text; take it out of tokenizer_config.json"
        )
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    for key in ("dropout", "alpha", "nbest_size"):
        if model.get(key):
            raise TokenizerError(
                f"tokenizer {name!r} draws its tokens at random: its tokenizer.json has model.{key}: {model[key]}, for training a model "
                f"on several encodings of a text; set it to null, so that each text has one"
            )
    tokenizer.name_or_path = tokenizer_label(name)
    for key in ("local_files_only", "is_local", "_commit_hash", "name_or_path"):
        tokenizer.init_kwargs.pop(key, None)
    return tokenizer


def _remove_loading_settings(config: Path) -> None:
    """Remove the settings that record how the tokenizer was loaded; they do not describe the tokenizer."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    described = {key: value for key, value in settings.items() if key not in ("local_files_only", "is_local")}
    config.write_text(json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def find_identities(corpora: Collection[Corpus], identities: Identities, store: Store) -> Mapping[str, str]:
    """Prepare the tokenizers of corpora, and return their identities, also those of folders, for processes on other machines.

    These processes load the tokenizers from the store, and need no access to their folders. A tokenizer that cannot be loaded from its
    folder is left out; the step that needs it raises the error.
    """
    found = dict(identities.find_on_hub(corpora))
    for corpus in corpora:
        with suppress(TokenizerError):
            prepare_tokenizer(corpus, identities, store)
            found[corpus.config.tokenizer] = identities.identity(corpus)
    return found
