"""The expected version of the tokenized artifact of a partition."""

from collections.abc import Mapping, Sequence
from typing import Any

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.removals import read_removals
from phyagi_assets.errors import DeclarationError, MissingPackageError, TokenizerError
from phyagi_assets.sources.documents import read_documents
from phyagi_assets.sources.files import Partition, readable
from phyagi_assets.sources.irregular import irregular_files
from phyagi_assets.sources.readable import Readable
from phyagi_assets.steps.eos import BY_TOKENIZER, EOS_BY
from phyagi_assets.steps.exclusions import REMOVED, ExcludedDocuments
from phyagi_assets.steps.raw import RAW, held_files, pinned_objects, raw_address, readable_files
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from phyagi_assets.tokenizers.prepare_chat import prepare_chat, template_identity
from phyagi_assets.tokenizers.trained_parts import renderer_of

STEP = "tokenized_arrow"
CODE_VERSION = "1"
FIRST_PROMPT, ADDED = "first_prompt", "added"
"""Setting of an artifact of conversations whose template leaves out the generation prompt before a first turn: its name and value. It marks
artifacts that were encoded with the prompt; earlier releases encoded without it."""
TRAINED_TOKENS, OVERLAPPING = "trained_tokens", "overlapping"
"""Setting of an artifact of conversations whose template itself marks what the assistant writes: its name and value. It marks artifacts in
which all tokens that overlap a part are trained on. Earlier releases left some out, as ``transformers`` did before 5.24."""


def tokenized_address(corpus: Corpus, partition: str) -> str:
    """Return the address of a partition's tokenized artifact."""
    return f"{corpus.config.name}/{STEP}/{partition}"


def expected_tokenized(
    corpus: Corpus, partition: Partition, workspace: Workspace, inputs: Mapping[str, str], files: Sequence[Readable] | None = None
) -> Manifest:
    """Return the expected manifest of a partition's tokenized artifact, given the fingerprint of its raw artifact by the name of its step.

    The settings list the excluded documents and the irregular files that occur in the partition. Without the files to read, they are listed
    as far as they are known without fetching or reading documents.
    """
    identity, raw_fingerprint = workspace.identities.identity(corpus), inputs[RAW.name]
    settings = _encoding_settings(corpus, partition, workspace, raw_fingerprint, files)
    if corpus.config.append_eos and corpus.config.messages is None and _ends_with_eos(corpus, workspace, identity):
        settings[EOS_BY] = BY_TOKENIZER
    settings |= template_settings(corpus, workspace)
    excluded = ExcludedDocuments(corpus, tokenized_address(corpus, partition.key), raw_fingerprint, settings, workspace.store)
    removed = excluded.known()
    if removed is None and files is not None:
        removed = excluded.find(read_documents(corpus, files))
    if removed:
        settings[REMOVED] = removed
    return Manifest.expected(STEP, code_version=CODE_VERSION, inputs={**inputs, "tokenizer": identity}, settings=settings)


def shared_inputs(corpus: Corpus, workspace: Workspace) -> list[object]:
    """Return the inputs that all partitions of a corpus share: the tokenizer, the chat template and the excluded documents."""
    template = [] if corpus.config.messages is None else [template_identity(corpus, workspace.data)]
    return [workspace.identities.identity(corpus), *template, *template_settings(corpus, workspace), sorted(read_removals(corpus))]


def _encoding_settings(
    corpus: Corpus, partition: Partition, workspace: Workspace, raw_fingerprint: str, files: Sequence[Readable] | None
) -> dict[str, Any]:
    config = corpus.config
    documents: dict[str, Any] = {"columns": config.columns, "separator": config.separator if len(config.columns) > 1 else None}
    if config.messages is not None:
        template = template_identity(corpus, workspace.data)
        documents = {"messages": config.messages, "chat_template": template, "train_on": config.train_on}
        if config.template_date is not None:
            documents["template_date"] = config.template_date.isoformat()
    settings: dict[str, Any] = {
        "format": config.source.format,
        "sample_by": config.source.sample_by,
        **documents,
        "append_eos": config.append_eos,
        "dtype": config.dtype,
        "on_invalid": config.on_invalid,
    }
    if config.special_tokens != "allow":
        settings["special_tokens"] = config.special_tokens
    if config.source.delimiter is not None:
        settings["delimiter"] = config.source.delimiter
    address = tokenized_address(corpus, partition.key)

    def available() -> Sequence[Readable] | None:
        return _available_files(corpus, partition, workspace, raw_fingerprint) if files is None else files

    def published() -> Mapping[str, str] | None:
        """Return the irregular files that the published artifact lists, if its content and settings are the same."""
        artifact = workspace.store.open(address)
        if artifact is None or artifact.manifest.inputs.get(RAW.name) != raw_fingerprint:
            return None
        listed = artifact.manifest.settings
        same = all(listed.get(name) == settings[name] for name in ("format", "on_invalid"))
        return listed.get("irregular", {}) if same else None

    cache = workspace.store.state("irregular", address)
    if irregular := irregular_files(corpus, partition, raw_fingerprint, cache, available, published):
        settings["irregular"] = irregular
    return settings


def _available_files(corpus: Corpus, partition: Partition, workspace: Workspace, raw_fingerprint: str) -> Sequence[Readable] | None:
    """Return the files of a partition for reading; None if one of them is not on this machine or in a snapshot."""
    if partition.is_local:
        return readable(partition)
    if pinned_objects(corpus, partition, workspace) != ():
        return None
    raw = workspace.store.find(raw_address(corpus, partition.key), raw_fingerprint, held_files(corpus, partition, workspace))
    return readable_files(partition, raw, workspace) if raw else None


def _ends_with_eos(corpus: Corpus, workspace: Workspace, identity: str) -> bool:
    """Return whether the corpus's tokenizer itself ends texts with the EOS; loads the tokenizer if the answer is not cached."""
    known = workspace.engines.ends_with_eos
    if identity not in known:
        try:
            known[identity] = prepare_tokenizer(corpus, workspace.identities, workspace.store).ends_with_eos
        except TokenizerError:
            return False  # the build says why the tokenizer cannot be loaded
    return known[identity]


def template_settings(corpus: Corpus, workspace: Workspace) -> Mapping[str, str]:
    """Return the settings that follow from the chat template of a corpus: the rules that earlier releases did not apply to such a template.

    The tokenizer is loaded if the answer is not cached.
    """
    known, train_on = workspace.engines.template_settings, corpus.config.train_on
    if corpus.config.messages is None or train_on == "all":
        return {}
    identities = workspace.identities.identity(corpus), template_identity(corpus, workspace.data)
    key = *identities, str(corpus.config.template_date), train_on
    if key not in known:
        try:
            prepared = prepare_tokenizer(corpus, workspace.identities, workspace.store)
            chat = prepare_chat(corpus, prepared, workspace.data, workspace.store).chat
        except (DeclarationError, MissingPackageError, TokenizerError):
            return {}  # the build reports the error
        renderer = renderer_of(chat, train_on)
        first_prompt = {FIRST_PROMPT: ADDED} if renderer.adds_first_prompt else {}
        known[key] = first_prompt | ({TRAINED_TOKENS: OVERLAPPING} if renderer.uses_marks else {})
    return known[key]
