"""Preparation of tokenizers: load a declared tokenizer once with ``transformers``, and store it in the forms that the steps need.

The tokenizer is loaded with ``transformers`` because the ids of its fast tokenizer are the exact ones. Afterwards the steps use the stored
forms, so that runs do not have to import ``transformers``.
"""

import copy
import json
import os
import pickle
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import TokenizerError
from phyagi_assets.formats.cache_tokenizer import PICKLED, SAVED
from phyagi_assets.sources.local_file import FileStamp, stamp_of
from phyagi_assets.store.base import Artifact, Store
from phyagi_assets.store.fingerprint import canonical_json, file_digest, text_digest
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.store.state import State
from phyagi_assets.tokenizers.transformers_import import import_transformers

CODE_VERSION = "1"
BACKEND = "backend.json"
LARGEST_ID = 2**31 - 1
_QUIET_NS = 2_000_000_000
"""Time for which a file must not have changed for its digest to be cached: a file that changes moments later can keep its stamp."""

Commits = Mapping[tuple[str, str], str]
"""Commits of tokenizers on the Hub, by name and revision."""

_commits: dict[tuple[str, str], str] = {}
"""Commits that this process uses until `forget_commits`, so that all partitions of a run use the same commit even if a branch moves."""


_identities: dict[str, str] = {}
"""Identities of declared tokenizers that another process found; see `use_identities`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedTokenizer:
    """A tokenizer in the forms that the steps use."""

    artifact: Artifact
    """Artifact with the ``tokenizers`` JSON file (`BACKEND`), the folder of ``save_pretrained`` (`SAVED`) and the pickle (`PICKLED`)."""
    name: str
    """Name of the tokenizer, as declared."""
    eos_token_id: int | None
    """Id of the EOS; None if the tokenizer has no EOS."""
    max_id: int
    """Largest token id, including added tokens."""
    vocab_size: int
    """Number of tokens, including added tokens."""
    record: State
    """Record of facts from the JSON file, which has megabytes and takes long to read."""

    def details(self) -> dict[str, object]:
        """Return the details of the tokenizer that manifests record."""
        return {"name": tokenizer_label(self.name), "eos_token_id": self.eos_token_id, "max_id": self.max_id, "vocab_size": self.vocab_size}

    @property
    def backend(self) -> Path:
        """The ``tokenizers`` JSON file."""
        return self.artifact.folder(BACKEND) / BACKEND

    @property
    def special_tokens(self) -> tuple["SpecialToken", ...]:
        """The added tokens that ``transformers`` marks as special, such as EOS, BOS and the tokens of chat templates."""
        return _facts(self).special_tokens

    @property
    def ends_with_eos(self) -> bool:
        """Whether the tokenizer itself ends every text with the EOS, so that the steps must not append it."""
        return self.eos_token_id is not None and _facts(self).behind[-1:] == (self.eos_token_id,)

    @property
    def appends_token_after_eos(self) -> bool:
        """Whether the tokenizer appends the EOS to every text, and another token after the EOS."""
        return not self.ends_with_eos and self.eos_token_id in _facts(self).behind


@dataclass(frozen=True, kw_only=True, slots=True)
class SpecialToken:
    """A token that stands for something other than text."""

    content: str
    """Spelling of the token."""
    normalized: bool
    """Whether the tokenizer searches for the token in the normalized text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Facts:
    """Facts from the JSON file of a tokenizer."""

    special_tokens: tuple[SpecialToken, ...]
    behind: tuple[int, ...]
    """Ids that the post-processor appends to every text."""


_known_facts: dict[str, _Facts] = {}
"""Facts that this process has read, by the fingerprint of the prepared tokenizer, which determines them."""


def _facts(prepared: PreparedTokenizer) -> _Facts:
    """Return facts from the JSON file of a prepared tokenizer; read the file once."""
    key = prepared.artifact.fingerprint
    if key not in _known_facts:
        facts = _recorded_facts(prepared.record)
        if facts is None:
            facts = _read_facts(prepared.backend)
            special_tokens = [(token.content, token.normalized) for token in facts.special_tokens]
            prepared.record.remember({"special_tokens": special_tokens, "behind": facts.behind})
        _known_facts[key] = facts
    return _known_facts[key]


def _recorded_facts(record: State) -> _Facts | None:
    """Return the facts in a record; None if there is no record, or a damaged one."""
    with suppress(TypeError, ValueError, KeyError):
        recorded = record.recall()
        special = tuple(SpecialToken(content=content, normalized=normalized) for content, normalized in recorded["special_tokens"])
        return _Facts(special_tokens=special, behind=tuple(map(int, recorded["behind"])))
    return None


def _read_facts(backend: Path) -> _Facts:
    declared = json.loads(backend.read_text(encoding="utf-8"))
    special = tuple(
        SpecialToken(content=token["content"], normalized=token["normalized"])
        for token in declared.get("added_tokens") or ()
        if token["special"]
    )
    return _Facts(special_tokens=special, behind=_appended_ids(declared.get("post_processor")))


def _appended_ids(processor: Mapping[str, Any] | None) -> tuple[int, ...]:
    """Return the ids that a post-processor of a ``tokenizer.json`` adds after every text."""
    if processor is None or processor["type"] == "ByteLevel":
        return ()
    if processor["type"] == "Sequence":
        return tuple(id_ for part in reversed(processor["processors"]) for id_ in _appended_ids(part))
    if processor["type"] in ("BertProcessing", "RobertaProcessing"):
        return (processor["sep"][1],)
    single = processor["single"]  # of TemplateProcessing, the only other kind
    last = max(i for i, piece in enumerate(single) if "Sequence" in piece)
    added = (processor["special_tokens"][piece["SpecialToken"]["id"]]["ids"] for piece in single[last + 1 :])
    return tuple(id_ for ids in added for id_ in ids)


def tokenizer_store(store: Store) -> Store:
    """Return the inner store for prepared tokenizers and conformance reports, apart from the artifacts of corpora and mixtures."""
    return store.inner("tokenizers")


def tokenizer_identity(corpus: Corpus, data: Path) -> str:
    """Return a string that identifies a corpus's tokenizer: a digest of the files in its folder, or its commit on the Hub.

    Raises
    ------
    TokenizerError
        The Hub does not know the name or the revision, or does not answer.
    """
    name, _, revision = corpus.config.tokenizer.partition("@")
    if revision:
        return f"hub:{name}@{_commit(name, revision)}"
    if known := _identities.get(name):
        return known
    folder = data / name
    paths = (Path(at, name) for at, _, names in os.walk(folder) for name in sorted(names) if not name.startswith("."))
    stamps = tuple(stamp_of(path) for path in paths if path.is_file())
    has_settled = all(max(modified, changed) + _QUIET_NS < time.time_ns() for _, _, modified, changed, _ in stamps)
    return f"files:{(_folder_digest if has_settled else _folder_digest.__wrapped__)(folder, stamps)}"


@lru_cache(maxsize=64)
def _folder_digest(folder: Path, stamps: tuple[FileStamp, ...]) -> str:
    """Return a digest of the names and contents of files in a folder; computed once for the same stamps, because every partition asks."""
    files = [Path(path) for path, *_ in stamps]
    return text_digest(canonical_json({path.relative_to(folder).as_posix(): file_digest(path) for path in files}))


def prepare_tokenizer(corpus: Corpus, data: Path, store: Store) -> PreparedTokenizer:
    """Return the tokenizer of a corpus; read it from the store, or load and store it.

    Raises
    ------
    TokenizerError
        The tokenizer cannot be loaded, is not a fast tokenizer, has no usable EOS although the corpus appends one, or has ids that do not
        fit the dtype.
    """
    name = corpus.config.tokenizer
    try:
        identity = tokenizer_identity(corpus, data)
        source = identity.removeprefix("hub:") if identity.startswith("hub:") else str(data / name)
        prepared = prepare(name, identity, lambda: _load(source, name), store)
    except TokenizerError as problem:
        raise TokenizerError(f"{corpus.path}: {problem}") from problem
    _check_fit(corpus, prepared)
    return prepared


def prepare(name: str, identity: str, load: Callable[[], Any], store: Store) -> PreparedTokenizer:
    """Return a prepared tokenizer; read it from the store, or load and store it.

    Parameters
    ----------
    name
        Name of the tokenizer.
    identity
        Identity of the tokenizer; the fingerprint of the prepared tokenizer depends on it.
    load
        Loads the ``transformers`` fast tokenizer; called if the store does not have it.
    """
    wanted = Manifest.expected("tokenizer", code_version=CODE_VERSION, inputs={"tokenizer": identity}, settings={})
    kept = tokenizer_store(store)
    address = f"prepared/{tokenizer_label(name)}"
    artifact = kept.find(address, wanted.fingerprint)
    if artifact is None:
        artifact = kept.write(address, wanted, lambda folder: _fill(folder, wanted, load()))
    record = kept.state("facts", artifact.fingerprint)
    return PreparedTokenizer(artifact=artifact, name=name, record=record, **artifact.manifest.details)


def tokenizer_label(name: str) -> str:
    """Return the name of a tokenizer as part of an address: without folder, revision and special characters."""
    return re.sub(r"\W+", "-", name.partition("@")[0].rstrip("/").rpartition("/")[2]).strip("-") or "tokenizer"


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
    tokenizer.save_pretrained(folder / SAVED)
    _remove_loading_settings(folder / SAVED / "tokenizer_config.json")
    (folder / PICKLED).write_bytes(pickle.dumps(tokenizer))
    return {"eos_token_id": tokenizer.eos_token_id, "max_id": max(tokenizer.get_vocab().values()), "vocab_size": len(tokenizer)}


def _fill(folder: Path, wanted: Manifest, tokenizer: Any) -> Manifest:
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    (folder / BACKEND).write_text(backend.to_str(), encoding="utf-8")
    details = save_forms(tokenizer, folder)
    return replace(wanted, details=details, produced_with={"transformers": version("transformers")})


def _load(source: str, name: str) -> Any:
    transformers = import_transformers()
    path, _, revision = source.partition("@") if not Path(source).is_dir() else (source, "", "")
    try:
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            path, revision=revision or "main", local_files_only=not revision, trust_remote_code=False
        )
    except Exception as problem:  # loaders raise all kinds of exceptions
        reason = " ".join(str(problem).split()) or type(problem).__name__
        needed = "" if revision else "; use a folder written by save_pretrained, with its tokenizer.json"
        raise TokenizerError(f"tokenizer {name!r} cannot be loaded from {path}: {reason}{needed}") from problem
    return _usable(tokenizer, name)


def _usable(tokenizer: Any, name: str) -> Any:
    """Check that the steps support a tokenizer, and remove the traces of its loading, such as paths, from it."""
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
                f"on several readings of a text; set it to null, so that a text has one"
            )
    tokenizer.name_or_path = tokenizer_label(name)  # a path would say where the tokenizer was loaded from, not what it is
    for key in ("local_files_only", "is_local", "_commit_hash", "name_or_path"):
        tokenizer.init_kwargs.pop(key, None)
    return tokenizer


def _remove_loading_settings(config: Path) -> None:
    """Remove the settings that record how the tokenizer was loaded; they do not describe the tokenizer."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    kept = {key: value for key, value in settings.items() if key not in ("local_files_only", "is_local")}
    config.write_text(json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def forget_commits() -> None:
    """Forget the commits of branches and tags. Long-running processes call this at the beginning of each refresh."""
    _commits.clear()


def find_commits(corpora: Iterable[Corpus]) -> Commits:
    """Return the commits of the corpora's tokenizers on the Hub, to pass to the other processes of a run.

    A commit that cannot be found is left out; the step that needs it raises the error.
    """
    for corpus in corpora:
        with suppress(TokenizerError):
            name, _, revision = corpus.config.tokenizer.partition("@")
            if revision:
                _commit(name, revision)
    return dict(_commits)


def use_commits(commits: Commits) -> None:
    """Use commits that another process of the run found, instead of asking the Hub."""
    _commits.update(commits)


def find_identities(corpora: Iterable[Corpus], data: Path, store: Store) -> Mapping[str, str]:
    """Prepare the corpora's tokenizers, and return the identities of those in folders, to pass to processes on other machines.

    These processes take the tokenizers from the store, and need not see the folders. A tokenizer that cannot be loaded is left out; the
    step that needs it raises the error.
    """
    found = {}
    for corpus in corpora:
        with suppress(TokenizerError):
            prepare_tokenizer(corpus, data, store)
            if "@" not in corpus.config.tokenizer:
                found[corpus.config.tokenizer] = tokenizer_identity(corpus, data)
    return found


def use_identities(identities: Mapping[str, str]) -> None:
    """Use the identities of tokenizers that another process of the run found, instead of those that it used before."""
    _identities.clear()
    _identities.update(identities)


def _commit(name: str, revision: str) -> str:
    if (name, revision) not in _commits:
        _commits[name, revision] = _commit_on_hub(name, revision)
    return _commits[name, revision]


def _commit_on_hub(name: str, revision: str) -> str:
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    from huggingface_hub import HfApi

    try:
        commit = HfApi().model_info(name, revision=revision).sha
    except Exception as problem:  # network, protocol or permission: in all cases, the commit is unknown
        reason = str(problem).strip().splitlines()
        raise TokenizerError(
            f"the commit of tokenizer {name}@{revision} cannot be read from the Hub: {reason[0] if reason else problem!r}"
        ) from problem
    if not commit:
        raise TokenizerError(f"the Hub gives no commit for tokenizer {name}@{revision}; name the commit itself after the @")
    return commit
