"""Prepare tokenizers for conversations: their chat templates, and the tokenizer without the tokens that it adds around every text.

A template writes all special tokens itself, so ``transformers`` encodes what it renders without adding any. Engines add what the
tokenizer's post-processor says; for conversations, they get a tokenizer without one.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.corpus_schema import TOKENIZERS_TEMPLATE
from phyagi_assets.errors import translate_missing_packages
from phyagi_assets.formats.cache_tokenizer import SAVED
from phyagi_assets.store.base import Store
from phyagi_assets.store.fingerprint import file_digest
from phyagi_assets.store.state import State
from phyagi_assets.tokenizers.chat_template import DEFAULT, ChatFormat
from phyagi_assets.tokenizers.prepare import load, prepare, tokenizer_store
from phyagi_assets.tokenizers.prepared import PreparedTokenizer, tokenizer_label
from phyagi_assets.tokenizers.trained_parts import renderer_of


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedChat:
    """The data, besides the tokenizer, that encoding conversations requires."""

    chat: ChatFormat
    bare: PreparedTokenizer
    """The tokenizer without the tokens that it adds around every text."""
    trims_offsets: bool
    """Whether the offsets of tokens leave out blanks, as ``transformers`` reports them."""


def template_identity(corpus: Corpus, data: Path) -> str:
    """Return a string that identifies the chat template of a corpus, apart from its tokenizer: a digest of the file.

    Raises
    ------
    DeclarationError
        The file cannot be read.
    """
    name = corpus.config.chat_template
    if name == TOKENIZERS_TEMPLATE:
        return name  # the tokenizer's identity covers its template
    try:
        return f"file:{file_digest(data / name)}"
    except OSError as problem:
        raise corpus.error(f"{data / name} cannot be read: {problem.strerror}; name a Jinja template", "chat_template") from None


def prepare_chat(corpus: Corpus, prepared: PreparedTokenizer, data: Path, store: Store) -> PreparedChat:
    """Return the chat template of a corpus and the tokenizer for what it renders; read them from the store, or prepare them.

    Raises
    ------
    DeclarationError
        The tokenizer has no chat template and the corpus names no other, or the template is not valid or writes nothing between turns.
    """
    record = tokenizer_store(store).state("chats", prepared.artifact.fingerprint)
    facts = _recalled(record)
    if facts is None:
        facts = _facts(_loaded(prepared))
        record.remember(facts)
    templates = _templates(corpus, data, facts["templates"])
    chat = ChatFormat(templates=tuple(templates.items()), variables=tuple(facts["variables"].items()), day=corpus.config.template_date)
    _check(corpus, chat)
    bare = _without_post_processor(prepared, store) if facts["adds_tokens"] else prepared
    return PreparedChat(chat=chat, bare=bare, trims_offsets=facts["trims_offsets"])


def _recalled(record: State) -> dict[str, Any] | None:
    """Return the recorded facts, or None if the record is missing or damaged."""
    with suppress(ValueError, KeyError, TypeError):
        facts = record.recall()
        templates, variables = (dict(facts[name]) for name in ("templates", "variables"))
        flags = {name: bool(facts[name]) for name in ("adds_tokens", "trims_offsets")}
        return {"templates": templates, "variables": variables, **flags}
    return None


def _templates(corpus: Corpus, data: Path, own: dict[str, str]) -> dict[str, str]:
    name = corpus.config.chat_template
    if name == TOKENIZERS_TEMPLATE:
        if not own:
            message = f"tokenizer {corpus.config.tokenizer!r} has no chat template; name a file with one, as in chat_template: chat.jinja"
            raise corpus.error(message, *(["chat_template"] if ("chat_template",) in corpus.lines else ["tokenizer"]))
        return own
    try:
        return {DEFAULT: (data / name).read_text(encoding="utf-8-sig")}
    except OSError as problem:
        raise corpus.error(f"{data / name} cannot be read: {problem.strerror}; name a Jinja template", "chat_template") from None
    except UnicodeDecodeError as problem:
        raise corpus.error(f"{data / name} is not UTF-8 at byte {problem.start}; name a Jinja template", "chat_template") from None


def _check(corpus: Corpus, chat: ChatFormat) -> None:
    with translate_missing_packages():
        import jinja2

    try:
        renderer = renderer_of(chat, corpus.config.train_on)
    except jinja2.TemplateError as problem:
        line = f" in line {problem.lineno}" if isinstance(problem, jinja2.TemplateSyntaxError) else ""
        raise corpus.error(f"the chat template is not valid{line}: {problem}; correct it, or name another", "chat_template") from None
    if not renderer.separates_turns():
        message = (
            "the chat template writes nothing between turns, so it is unknown where one begins; mark each turn, or name another template"
        )
        raise corpus.error(message, "chat_template")


def _loaded(prepared: PreparedTokenizer) -> Any:
    return load(str(prepared.artifact.folder(SAVED) / SAVED), prepared.name)


def _facts(tokenizer: Any) -> dict[str, Any]:
    own, processor = tokenizer.chat_template, tokenizer.backend_tokenizer.post_processor
    return {
        "templates": {DEFAULT: own} if isinstance(own, str) else dict(own or {}),
        "variables": dict(tokenizer.special_tokens_map),
        "adds_tokens": tokenizer.backend_tokenizer.num_special_tokens_to_add(False) > 0,
        "trims_offsets": processor is not None and b'"trim_offsets":true' in processor.__getstate__().replace(b" ", b""),
    }


def _without_post_processor(prepared: PreparedTokenizer, store: Store) -> PreparedTokenizer:
    def bare() -> Any:
        tokenizer = _loaded(prepared)
        tokenizer.backend_tokenizer.post_processor = None
        return tokenizer

    return prepare(f"{tokenizer_label(prepared.name)}-without-added-tokens", f"bare:{prepared.artifact.fingerprint}", bare, store)
