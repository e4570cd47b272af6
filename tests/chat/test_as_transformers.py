"""Ids and masks of conversations, compared with those of ``transformers`` on the formats of public chat templates."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phyagi_assets.declare.corpus_schema import TrainOn
from phyagi_assets.sources.conversation_json import conversation_json
from phyagi_assets.sources.documents import Documents, SpanPart
from phyagi_assets.sources.files import Span
from phyagi_assets.sources.row_tally import RowTally
from phyagi_assets.steps.conversations import ConversationRecipe, EncodedConversations
from phyagi_assets.tokenizers.chat_template import DEFAULT, ChatFormat
from phyagi_assets.tokenizers.engine_pool import EnginePool
from phyagi_assets.tokenizers.exact import ExactTokenizer
from phyagi_assets.tokenizers.identity import Identities
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from phyagi_assets.tokenizers.prepare_chat import PreparedChat, prepare_chat
from phyagi_assets.tokenizers.prepared import PreparedTokenizer
from tests.chat.conversations import SPELLINGS, conversations
from tests.chat.tokenizers import save
from tests.support import declare_corpus, local_file

TEMPLATES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("templates/*.jinja"))}
UNMARKED = {
    name: source.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    for name, source in TEMPLATES.items()
    if "generation %}" in source and "{%- generation" not in source
}
"""Templates as most tokenizers have them, without marks."""
KINDS = ("plain", "changing", "pieces")

Chat = Callable[[str, str], tuple[Any, ConversationRecipe, ExactTokenizer]]


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Chat:
    """Return a function that prepares a kind of tokenizer with a template, and returns it as ``transformers`` and this package use it."""
    from phyagi_assets.store.local import LocalStore
    from phyagi_assets.tokenizers import conformance

    data = tmp_path_factory.mktemp("chat")
    store, engines = LocalStore(data / "store"), EnginePool()

    @lru_cache
    def prepared(kind: str) -> tuple[Any, PreparedChat, PreparedTokenizer, ExactTokenizer]:
        reference = save(kind, data / kind, TEMPLATES["chatml"])
        corpus = declare_corpus(data, kind, "any.jsonl", tokenizer=kind, messages="messages")
        tokenizer = prepare_tokenizer(corpus, Identities(data), store)
        own = prepare_chat(corpus, tokenizer, data, store)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(conformance, "_code_point_groups", lambda: [range(0x300)])
            exact = ExactTokenizer(engines.engines(own.bare, store))
        return reference, own, tokenizer, exact

    def make(kind: str, template: str, train_on: TrainOn = "assistant") -> tuple[Any, ConversationRecipe, ExactTokenizer]:
        reference, own, declared, exact = prepared(kind)
        format_ = ChatFormat(templates=((DEFAULT, template),), variables=own.chat.variables)
        return reference, ConversationRecipe(prepared=replace(own, chat=format_), declared=declared, train_on=train_on), exact

    return make


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Conversations: 2,000 with ``--soak``."""
    return conversations(2_000 if request.config.getoption("soak") else 50)


def encode(recipe: ConversationRecipe, exact: ExactTokenizer, rows: list[dict[str, Any]]) -> EncodedConversations:
    texts = pa.array([conversation_json(row["messages"], row.get("tools")) for row in rows], pa.string())
    part = SpanPart(span=Span(file=local_file(Path("rows.jsonl"))), tally=RowTally(valid=len(rows)), ends=True)
    numbers = np.arange(len(rows), dtype=np.int64)
    documents = Documents(texts=texts, files=np.zeros(len(rows), np.int32), rows=numbers, parts=(part,))
    return recipe.encode(documents, np.zeros(0, np.uint64), exact, 0)


def by_row(found: EncodedConversations) -> dict[int, tuple[list[int], list[int]]]:
    ends = found.encoded.ends.tolist()
    starts = [0, *ends][: len(ends)]
    ids, trained = found.encoded.ids.tolist(), found.trained.astype(int).tolist()
    return {row: (ids[a:b], trained[a:b]) for row, a, b in zip(found.documents.rows.tolist(), starts, ends, strict=True)}


def marked_by_transformers(reference: Any, template: str, row: dict[str, Any]) -> tuple[list[int], list[int]] | None:
    try:
        found = reference.apply_chat_template(
            row["messages"], tools=row.get("tools"), chat_template=template, return_dict=True, return_assistant_tokens_mask=True
        )
    except Exception:  # templates raise all kinds of exceptions
        return None
    return found["input_ids"], found["assistant_masks"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_ids_and_masks_of_marked_templates_are_those_of_transformers(kind: str, name: str, chat: Chat, rows: list[dict[str, Any]]) -> None:
    reference, recipe, exact = chat(kind, TEMPLATES[name])
    found = by_row(encode(recipe, exact, rows))
    for number, row in enumerate(rows):
        wanted = marked_by_transformers(reference, TEMPLATES[name], row)
        if wanted is not None and any(wanted[1]):
            assert found[number] == wanted
        else:
            assert number not in found
    assert kind != "plain" or len(found) > len(rows) // 3


@pytest.mark.parametrize("kind", KINDS)
def test_part_includes_all_tokens_of_its_first_and_last_character(kind: str, chat: Chat) -> None:
    reference, recipe, exact = chat(kind, TEMPLATES["bare"])
    contents = ["𐍈", "a𐍈", " 𐍈 ", "ᚠᚢ", "é", "", " ", "b"]
    rows = [
        {"messages": [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, each, strict=True)]}
        for each in itertools.product(contents, ["𐍈", "", "ab"], contents, ["ᚠ ", ""])
    ]
    wanted = {number: marked_by_transformers(reference, TEMPLATES["bare"], row) for number, row in enumerate(rows)}
    assert by_row(encode(recipe, exact, rows)) == {number: found for number, found in wanted.items() if found and any(found[1])}


def found_turn_by_turn(reference: Any, template: str, row: dict[str, Any]) -> tuple[list[int], list[int]] | None:
    """Return ids and mask by rendering with ``transformers``; None if they are not well defined or nothing is trained on."""
    messages = row["messages"]

    def rendered(count: int, *, prompts: bool = False) -> str:
        if not count:  # transformers renders no conversation without messages
            raise ValueError
        shown = reference.apply_chat_template(
            messages[:count], tools=row.get("tools"), chat_template=template, tokenize=False, add_generation_prompt=prompts
        )
        return str(shown)

    try:
        whole = rendered(len(messages))
        parts = [
            (rendered(turn, prompts=True), rendered(turn + 1)) for turn, message in enumerate(messages) if message["role"] == "assistant"
        ]
    except Exception:
        return None
    if not all(whole.startswith(after) and after.startswith(before) for before, after in parts):
        return None
    encoded = reference(whole, add_special_tokens=False, return_offsets_mapping=True)
    trained = [
        int(any(max(start, len(before)) < min(end, len(after)) for before, after in parts)) for start, end in encoded["offset_mapping"]
    ]
    return (encoded["input_ids"], trained) if any(trained) else None


@pytest.mark.parametrize("name", UNMARKED)
def test_parts_of_unmarked_templates_are_found_turn_by_turn(name: str, chat: Chat, rows: list[dict[str, Any]]) -> None:
    reference, recipe, exact = chat("plain", UNMARKED[name])
    found = by_row(encode(recipe, exact, rows))
    assert found == {number: wanted for number, row in enumerate(rows) if (wanted := found_turn_by_turn(reference, UNMARKED[name], row))}


contents = st.lists(st.one_of(st.text(max_size=12), st.sampled_from(SPELLINGS)), max_size=6).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(contents, min_size=2, max_size=6))
def test_any_text_has_the_ids_and_the_mask_of_transformers(kind: str, chat: Chat, turns: list[str]) -> None:
    reference, recipe, exact = chat(kind, TEMPLATES["chatml"])
    row = {"messages": [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(turns)]}
    wanted = marked_by_transformers(reference, TEMPLATES["chatml"], row)
    assert wanted is not None
    assert by_row(encode(recipe, exact, [row])) == ({0: wanted} if any(wanted[1]) else {})
