"""Corpora of conversations, from their declaration to the labels of samples."""

import json
import pickle
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner
from datasets import Dataset, load_from_disk

from phyagi_assets.build import scan
from phyagi_assets.cli import main
from phyagi_assets.datasets import MixtureLoader, load_mixture
from phyagi_assets.datasets.document_collator import DocumentCollator
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.declare.document_id import document_id
from phyagi_assets.declare.removals import removals_file
from phyagi_assets.errors import DeclarationError, SourceChangedError, SourceError
from phyagi_assets.formats.cache_folder import SplitArrays, array_files
from phyagi_assets.formats.token_file import open_tokens
from phyagi_assets.inspection.declarations import declaration_problems
from phyagi_assets.inspection.forecast import forecast
from phyagi_assets.inspection.named import inspect_named
from phyagi_assets.steps import tokenized_version
from phyagi_assets.steps.cache import CACHE
from phyagi_assets.steps.facts import Text
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.step import Built, Workspace
from phyagi_assets.steps.tokenize import TOKENIZE, token_chunks
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.pickling import Pickling
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from tests.bucket_stores import store_in_bucket
from tests.chat.tokenizers import save_adding_bytes
from tests.support import build, declare, declare_corpus, write_jsonl, write_text

MARKED = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}|{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
UNMARKED = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
WITH_CALLS = (
    "{% for m in messages %}{{ m.role }}:{{ m.content }}{{ m.tool_calls | tojson if m.tool_calls }}\n{% endfor %}"
    "{{ tools | tojson if tools }}"
)


pytestmark = pytest.mark.usefixtures("few_code_points")


@pytest.fixture
def chats(workspace: Workspace) -> Workspace:
    """A data folder with a tokenizer of bytes and a chat template."""
    save_byte_tokenizer(workspace.data / "tok")
    write_text(workspace.data / "chat.jinja", MARKED)
    return workspace


def turns(*contents: str) -> dict[str, Any]:
    """Return a row in which the user and the assistant take turns."""
    return {"messages": [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]}


def declare_chats(workspace: Workspace, rows: list[dict[str, Any]], name: str = "chats", **keys: Any) -> Any:
    write_jsonl(workspace.data / "raw" / f"{name}.jsonl", rows)
    keys = {"tokenizer": "tok", "messages": "messages", "chat_template": "chat.jinja", **keys}
    return declare_corpus(workspace.data, name, f"raw/{name}.jsonl", **keys)


def built(corpus: Any, workspace: Workspace) -> list[Built]:
    """Build the only partition of a corpus."""
    (steps,) = build(corpus, workspace).values()
    return steps


def texts(corpus: Any, workspace: Workspace) -> list[tuple[str, str]]:
    """Return the text of each conversation and of its trained tokens; every token is a letter."""
    rows = load_from_disk(str(built(corpus, workspace)[1].artifact.path))
    decode = workspace.engines.decoder(prepare_tokenizer(corpus, workspace.identities, workspace.store)).decode
    arrays = [(np.array(row["input_ids"]), np.array(row["trained"], dtype=bool)) for row in rows]
    return [(decode(ids), decode(ids[trained])) for ids, trained in arrays]


def test_labels_of_a_mixture_are_ignored_where_conversations_are_not_trained_on(chats: Workspace) -> None:
    declare_chats(chats, [turns("é 🙂?", f"answer {i}") for i in range(60)], splits={"validation": 0.2})
    write_jsonl(chats.data / "raw" / "web.jsonl", [f"Text of the web, number {i}." for i in range(60)])
    declare_corpus(chats.data, "web", "raw/web.jsonl", tokenizer="tok")
    declare(chats.data, "mixtures", name="mix", seq_len=32, datasets=[{"corpus": "chats"}, {"corpus": "web"}])
    catalog = load_catalog(chats.data)
    partitions = {name: list(build(corpus, chats)) for name, corpus in catalog.corpora.items()}
    build_mixture(catalog.mixtures["mix"], catalog.corpora, partitions, chats)
    mixture = load_mixture("mix", store=chats.data / "store", boundaries=True)

    samples = [mixture.train[i] for i in range(len(mixture.train))]
    for sample in samples:
        ids, labels = sample["input_ids"], sample["labels"]
        assert ((labels == ids) | (labels == -100)).all()
        assert (-100 in labels) == (sample["corpus"] == "chats")
    plain = [batch["labels"].tolist() for batch in MixtureLoader(mixture.train, batch_size=4)]
    assert [labels for batch in plain for labels in batch][: len(samples)] == [sample["labels"].tolist() for sample in samples]
    assert [batch["labels"].tolist() for batch in MixtureLoader(mixture.train, batch_size=4, num_workers=1)] == plain
    collated = DocumentCollator()(samples)["labels"].reshape(-1, 32)
    for flat, sample in zip(collated, samples, strict=True):
        assert flat[1:].tolist() == sample["labels"][1:].tolist()
    shifted = load_mixture("mix", store=chats.data / "store", shift_labels=True).train
    for i, sample in enumerate(samples):
        assert sample["labels"][1:].tolist() == shifted[i]["labels"][:-1].tolist()
    held_out = mixture.validation[0]
    assert -100 in held_out["labels"][:20]


def test_cache_of_conversations_is_read_with_labels(chats: Workspace) -> None:
    corpus = declare_chats(chats, [turns("question", "answer", "again", "yes")] * 9)
    tokens = open_tokens(built(corpus, chats)[2].artifact.path / "train.npy")
    assert tokens.labels is not None
    assert ((tokens.labels == tokens.ids) | (tokens.labels == -100)).all()
    assert int((tokens.labels >= 0).sum()) == 9 * len("answer|yes|")


@pytest.mark.parametrize(
    ("train_on", "trained"),
    [("assistant", "one|two|"), ("last_assistant", "two|"), ("all", "<user>a<assistant>one|<user>b<assistant>two|")],
)
@pytest.mark.parametrize("template", [MARKED, UNMARKED, "{# without {% generation %} #}" + UNMARKED])
def test_train_on_chooses_the_parts(train_on: str, trained: str, template: str, chats: Workspace) -> None:
    write_text(chats.data / "chat.jinja", template)
    corpus = declare_chats(chats, [turns("a", "one", "b", "two")], train_on=train_on)
    assert texts(corpus, chats) == [("<user>a<assistant>one|<user>b<assistant>two|", trained)]


def test_appended_eos_is_trained_on(chats: Workspace) -> None:
    corpus = declare_chats(chats, [turns("a", "one")], append_eos=True)
    assert texts(corpus, chats) == [("<user>a<assistant>one|<|endoftext|>", "one|<|endoftext|>")]


def test_sharegpt_text_parts_and_json_are_read(chats: Workspace) -> None:
    sharegpt = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    corpus = declare_chats(chats, [{"c": {"messages": sharegpt}}, {"c": {"messages": json.dumps(sharegpt)}}], messages="c.messages")
    assert texts(corpus, chats) == [("<user>a<assistant>b|", "b|")] * 2


def _calls() -> list[dict[str, Any]]:
    """Return rows whose tool calls have arguments of different names."""
    call = [{"function": {"name": "f", "arguments": arguments}} for arguments in ({"a": 1}, {"b": "x", "c": None})]
    return [
        {
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [one]}],
            "tools": [{"name": "f"}],
        }
        for one in call
    ]


def test_arguments_of_tool_calls_keep_their_own_keys(chats: Workspace) -> None:
    write_text(chats.data / "chat.jinja", WITH_CALLS)
    rows = _calls()
    corpus = declare_chats(chats, rows, train_on="all")
    for row, (text, _) in zip(rows, texts(corpus, chats), strict=True):
        assert json.dumps(row["messages"][1]["tool_calls"]) in text
        assert text.endswith('[{"name": "f"}]')


def test_parquet_leaves_out_the_fields_of_other_rows(chats: Workspace) -> None:
    write_text(chats.data / "chat.jinja", WITH_CALLS)
    corpus = declare_chats(chats, [], train_on="all", source={"path": "raw/*.parquet"})
    pa.parquet.write_table(pa.Table.from_pylist(_calls()), chats.data / "raw" / "calls.parquet")
    calls = [text.split("\n")[1] for text, _ in texts(corpus, chats)]
    assert calls == [f'assistant:[{{"function": {{"name": "f", "arguments": {given}}}}}]' for given in ('{"a": 1}', '{"b": "x"}')]


def test_maps_are_objects_even_when_empty_and_rows_may_have_no_tools(chats: Workspace) -> None:
    write_text(chats.data / "chat.jinja", WITH_CALLS)
    corpus = declare_chats(chats, [], train_on="all", source={"path": "raw/*.parquet"})
    call = pa.list_(pa.struct({"name": pa.string(), "arguments": pa.map_(pa.string(), pa.list_(pa.struct({"a": pa.int64()})))}))
    message = pa.struct({"role": pa.string(), "content": pa.string(), "tool_calls": call})
    given: list[list[tuple[str, Any]]] = [[], [("k", []), ("n", None)], [("k", [{"a": 1}, {"a": None}, None])]]
    rows = [[{"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": arguments}]}] for arguments in given]
    columns = {"messages": pa.array(rows, pa.list_(message)), "tools": pa.array(["", "null", None])}
    pa.parquet.write_table(pa.table(columns), chats.data / "raw" / "calls.parquet")
    wanted = ["{}", '{"k": [], "n": null}', '{"k": [{"a": 1}, {}, null]}']
    assert [text for text, _ in texts(corpus, chats)] == [f'assistant:[{{"name": "f", "arguments": {of}}}]\n' for of in wanted]


BROKEN = {
    "no messages": ({"messages": []}, "row 2: has no messages"),
    "null": ({"messages": None}, "row 2: 'messages' is null"),
    "missing": ({"text": "a"}, "row 2: has no key 'messages'"),
    "no list": ({"messages": 3}, "row 2: 'messages' is 3; use a list of messages"),
    "role": ({"messages": [{"role": "user", "content": "a"}, {"role": "bot", "content": "b"}]}, "row 2: turn 2 has the role 'bot'"),
    "no role": ({"messages": [{"content": "a"}]}, "row 2: turn 1 has no role"),
    "no content": ({"messages": [{"role": "user"}]}, "row 2: turn 1 has no content"),
    "content": ({"messages": [{"role": "user", "content": 5}]}, "row 2: turn 1 has a content that is 5"),
    "part": ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "row 2: turn 1: part 1 of its content is"),
    "no assistant": ({"messages": [{"role": "user", "content": "a"}]}, "row 2: has no turn of the assistant"),
    "surrogate": ({"messages": [{"role": "user", "content": "\ud800"}]}, "row 2: has a lone surrogate"),
    "calls": ({"messages": [{"role": "assistant", "content": "a", "tool_calls": "[]"}]}, "row 2: turn 1 has tool_calls that are"),
    "raises": (turns("a", "RAISE", "b", "c"), "row 2: turn 2: the chat template raises: no"),
    "raises late": (turns(*"a" * 149, "RAISE", *"b" * 50), "row 2: turn 150: the chat template raises: no"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_conversation_that_cannot_be_used_is_refused_by_row_and_turn_or_left_out(case: str, chats: Workspace) -> None:
    raising = "{% for m in messages %}{% if m.content == 'RAISE' %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
    write_text(chats.data / "chat.jinja", raising + MARKED)
    row, message = BROKEN[case]
    rows = [turns("a", "b"), row, turns("c", "d")]
    with pytest.raises(SourceError) as problem:
        built(declare_chats(chats, rows), chats)
    assert message in str(problem.value)
    assert "chats.jsonl: row 2" in str(problem.value)
    steps = built(declare_chats(chats, rows, on_invalid="skip"), chats)
    assert {name: steps[1].artifact.manifest.counts[name] for name in ("documents", "invalid")} == {"documents": 2, "invalid": 1}


def test_template_whose_turns_depend_on_later_ones_is_refused_with_the_turn(chats: Workspace) -> None:
    write_text(chats.data / "chat.jinja", "{% for m in messages %}{{ '!' if loop.last }}<{{ m.role }}>{{ m.content }}{% endfor %}")
    with pytest.raises(
        SourceError, match=r"row 1: the chat template renders turn 2 .* differently if other turns follow; name a template that"
    ):
        built(declare_chats(chats, [turns("a", "b", "c", "d")]), chats)


def test_settings_name_the_rules_for_parts_that_earlier_releases_did_not_apply_to_the_template(chats: Workspace) -> None:
    turn, prompt = "<{{ m.role }}>{{ m.content }}|", "{% if loop.last and add_generation_prompt %}<assistant>{% endif %}"
    unmarked = f"{{% for m in messages %}}{turn}{prompt}{{% endfor %}}"
    without = unmarked.replace(prompt, "")
    found = []
    for template, train_on in ((unmarked, "assistant"), (unmarked, "all"), (MARKED, "assistant"), (without, "assistant")):
        write_text(chats.data / "chat.jinja", template)
        corpus = declare_chats(chats, [{"messages": [{"role": "assistant", "content": "Hi"}]}], train_on=train_on)
        settings = built(corpus, chats)[1].artifact.manifest.settings
        found.append((texts(corpus, chats)[0][1], settings.get("first_prompt"), settings.get("trained_tokens")))
    assert found == [
        ("Hi|", "added", None),
        ("<assistant>Hi|", None, None),
        ("Hi|", None, "overlapping"),
        ("<assistant>Hi|", None, None),
    ]


def test_scan_examines_conversations_again_if_earlier_releases_found_other_parts(chats: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    turn, prompt = "<{{ m.role }}>{{ m.content }}|", "{% if loop.last and add_generation_prompt %}<assistant>{% endif %}"
    changes = []
    unmarked = f"{{% for m in messages %}}{turn}{prompt}{{% endfor %}}"
    for template, train_on in ((unmarked, "assistant"), (MARKED, "assistant"), (MARKED, "all")):
        write_text(chats.data / "chat.jinja", template)
        corpus = declare_chats(chats, [turns("a", "b")], train_on=train_on)
        with monkeypatch.context() as patch:
            patch.setattr(tokenized_version, "template_settings", lambda *_: {})
            settled = scan.scan_source(corpus, chats).listing
        changes.append(scan.scan_source(corpus, chats).listing != settled)
    assert changes == [True, True, False]


def test_byte_order_mark_of_a_template_is_not_part_of_conversations(chats: Workspace) -> None:
    plain = texts(declare_chats(chats, [turns("a", "b")]), chats)
    write_text(chats.data / "chat.jinja", f"\ufeff{MARKED}")
    assert texts(declare_chats(chats, [turns("a", "b")]), chats) == plain


def test_conversations_that_a_template_renders_as_nothing_are_invalid(chats: Workspace) -> None:
    write_text(chats.data / "chat.jinja", "")
    with pytest.raises(SourceError, match=r"row 1: has no token to train on.*; declare its right format, messages .* or chat_template"):
        built(declare_chats(chats, [turns("a", "b")], on_invalid="skip"), chats)


def test_template_that_fails_for_all_rows_is_named_before_a_later_row(chats: Workspace) -> None:
    write_text(chats.data / "chat.jinja", "{{ raise_exception('no') }}")
    rows = [turns("a", "b"), {"messages": []}, turns("c", "d")]
    with pytest.raises(SourceError, match=r"none of its rows \(3\) has a conversation; row 1: turn 1: the chat template raises: no"):
        built(declare_chats(chats, rows, on_invalid="skip"), chats)


@pytest.mark.parametrize(
    ("varies", "message"),
    [
        ("{{ strftime_now('%d %b %Y') }}", "writes the date of today"),
        ("{{ ['Hi', 'Hello'] | random }}", "draws at random"),
        ("{{ lipsum(1) }}", "draws at random"),
    ],
)
def test_nondeterministic_template_is_refused(varies: str, message: str, chats: Workspace) -> None:
    write_text(chats.data / "chat.jinja", varies + MARKED)
    with pytest.raises(SourceError, match=message):
        built(declare_chats(chats, [turns("a", "b")]), chats)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"chat_template": "tokenizer"}, r"chats.yaml:\d+: chat_template: tokenizer 'tok' has no chat template; name a file"),
        ({"chat_template": "broken.jinja"}, r"chats.yaml:\d+: chat_template: the chat template is not valid in line 1: "),
        ({"chat_template": "bare.jinja"}, r"chats.yaml:\d+: chat_template: the chat template writes nothing between turns"),
    ],
)
def test_missing_and_invalid_templates_are_named_by_file_line_and_key(keys: dict[str, str], message: str, chats: Workspace) -> None:
    write_text(chats.data / "broken.jinja", "{% for %}")
    write_text(chats.data / "bare.jinja", MARKED.replace("<{{ m.role }}>", "").replace("|", ""))
    with pytest.raises(DeclarationError, match=message):
        built(declare_chats(chats, [turns("a", "b")], **keys), chats)


def test_template_of_prompts_and_completions_needs_nothing_between_a_prompt_and_its_completion(chats: Workspace) -> None:
    write_text(chats.data / "chat.jinja", "{% for m in messages %}{{ m.content }}{{ '|' if m.role == 'assistant' }}{% endfor %}")
    assert texts(declare_chats(chats, [turns("ab", "cd")]), chats) == [("abcd|", "cd|")]


def test_conversations_keep_their_split_and_id_when_the_template_changes(chats: Workspace) -> None:
    corpus = declare_chats(chats, [turns(f"{i}", "b") for i in range(40)], splits={"validation": 0.5})
    before = built(corpus, chats)
    write_text(chats.data / "chat.jinja", MARKED.replace("|", "."))
    after = built(corpus, chats)
    assert before[1].artifact.fingerprint != after[1].artifact.fingerprint
    for name in ("validation.hashes.npy", "train.origins.npy"):
        assert np.array_equal(np.load(before[2].artifact.path / name), np.load(after[2].artifact.path / name))


@pytest.mark.parametrize("changed", ["tok/tokenizer.json", "chat.jinja"])
def test_tokenizer_or_template_that_changes_during_the_build_is_not_published_as_the_one_before(
    changed: str, chats: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, path = declare_chats(chats, [turns("a", "b")]), chats.data / changed

    def changed_first(*arguments: Any) -> Any:
        monkeypatch.setattr("phyagi_assets.steps.tokenize.prepare_tokenizer", prepare_tokenizer)
        write_text(path, path.read_text() + " ")
        return prepare_tokenizer(*arguments)

    monkeypatch.setattr("phyagi_assets.steps.tokenize.prepare_tokenizer", changed_first)
    with pytest.raises(SourceChangedError, match=r"chats\.yaml: (tokenizer|chat_template): has changed during the build"):
        built(corpus, chats)
    assert len(built(corpus, chats)) == 3


def test_removed_conversation_is_left_out(chats: Workspace) -> None:
    corpus = declare_chats(chats, [turns(f"{i}", "b") for i in range(5)])
    hashes = np.load(built(corpus, chats)[2].artifact.path / "train.hashes.npy")
    removals_file(corpus).write_text(json.dumps({"id": document_id(int(hashes[2]))}) + "\n")
    assert built(corpus, chats)[1].artifact.manifest.counts["removed"] == 1
    assert [text for text, _ in texts(corpus, chats)] == [f"<user>{i}<assistant>b|" for i in (0, 1, 3, 4)]


def test_special_token_in_a_conversation_is_refused_where_that_is_declared(chats: Workspace) -> None:
    with pytest.raises(SourceError, match=r"chats.jsonl row 1: .* '<\|endoftext\|>', .* refuses; remove it"):
        built(declare_chats(chats, [turns("a", "<|endoftext|>")], special_tokens="error"), chats)


def test_trained_part_is_marked_where_documents_are_shown(chats: Workspace) -> None:
    corpus = declare_chats(chats, [turns("a?", "one")] * 9)
    declare(chats.data, "mixtures", name="mix", seq_len=64, datasets=[{"corpus": "chats"}])
    _, tokenized, cache = built(corpus, chats)
    catalog = load_catalog(chats.data)
    build_mixture(catalog.mixtures["mix"], catalog.corpora, {"chats": list(chats.sources.partitions(corpus))}, chats)
    whole = "<user>a?<assistant>⟦one|⟧"
    tokens = len(whole) - 2
    share = f"36 of {9 * tokens} tokens ({400 / tokens:.1f} %)"
    assert TOKENIZE.facts(tokenized)["trained on"] == CACHE.facts(cache)["trained on"] == share
    assert CACHE.facts(cache)["first tokens"] == Text(text=9 * whole)
    found = inspect_named("chats", chats.store)
    assert (found.facts["trained on"], found.samples[0].text) == (share, whole)
    shown = CliRunner().invoke(main, ["explain", "mix", "0", "--store", str(chats.data / "store")]).output
    assert "⟦one" in shown
    assert re.findall(r"train\.npy, tokens (.*)", shown) == ["46–69, 69–92"]
    explained = load_mixture("mix", store=chats.data / "store").explain(0, 4)
    documents = [document for sample in explained for document in sample.documents if document.length == document.end - document.start]
    assert {(document.text, document.marked) for document in documents} == {(whole.replace("⟦", "").replace("⟧", ""), whole)}
    assert whole in repr(explained)


def test_large_partition_of_conversations_is_encoded_in_chunks_to_the_same_rows(chats: Workspace) -> None:
    corpus = declare_chats(chats, [turns(f"{i} é", "yes 🙂", "and?", "no") for i in range(200)])
    whole = built(corpus, chats)
    chunked = replace(chats, store=LocalStore(chats.data / "other"), chunk_bytes=4_000)
    (partition,) = chunked.sources.partitions(corpus).values()
    build_raw(corpus, partition, chunked)
    for chunk in pickle.loads(pickle.dumps(token_chunks(corpus, partition, chunked)))[:2]:  # as for another process
        chunk.run(chunked, id)
    again = built(corpus, chunked)
    assert len(again[1].artifact.manifest.files) > len(whole[1].artifact.manifest.files)
    assert len(array_files(again[2].artifact.manifest, "train")) > 2
    (wanted, found), caches = [open_tokens(of[2].artifact.path / "train.npy") for of in (whole, again)], (whole[2], again[2])
    assert np.array_equal(found.ids, wanted.ids)
    assert np.array_equal(found.labels, wanted.labels)
    origins = [SplitArrays.of(of.artifact.path, "train").origins for of in caches]
    assert np.array_equal(*origins)
    assert caches[0].artifact.manifest.counts == caches[1].artifact.manifest.counts
    previews = [CACHE.facts(of)["first tokens"] for of in caches]
    assert previews[0] == previews[1]
    mask = SplitArrays.of(caches[1].artifact.path, "train").mask
    assert np.array_equal(mask.between(5, len(found.ids)), found.labels[5:] != -100)
    assert whole[1].artifact.manifest.counts == again[1].artifact.manifest.counts


@pytest.mark.usefixtures("s3")
def test_chunk_of_conversations_is_encoded_on_a_machine_without_the_tokenizer(chats: Workspace, tmp_path: Path) -> None:
    save_adding_bytes(chats.data / "tok")  # two forms of it are needed: with and without the token that it adds
    corpus = declare_chats(chats, [turns(f"{i} é", "yes 🙂") for i in range(100)])
    here, there = (store_in_bucket("s3://raw/chats", scratch=tmp_path / name, holder="run") for name in ("here", "there"))
    sending = replace(chats, store=here, chunk_bytes=4_000)
    (partition,) = sending.sources.partitions(corpus).values()
    build_raw(corpus, partition, sending)
    chunks = token_chunks(corpus, partition, sending)
    first, *_ = Pickling.of(there, "run").loads(Pickling.of(here, "run").dumps(chunks))
    first.run(replace(chats, store=there, chunk_bytes=4_000), id)
    assert [chunk.number for chunk in token_chunks(corpus, partition, sending)] == [chunk.number for chunk in chunks[1:]]


def test_saved_dataset_of_conversations_is_read(chats: Workspace) -> None:
    rows = [turns(f"{i}", "b") for i in range(3)]
    Dataset.from_list([{**row, "other": i} for i, row in enumerate(rows)]).save_to_disk(str(chats.data / "saved"))
    corpus = declare_chats(chats, [], source={"path": "saved"})
    assert [text for text, _ in texts(corpus, chats)] == [f"<user>{i}<assistant>b|" for i in range(3)]


def test_repeated_conversations_count_as_duplicates(chats: Workspace) -> None:
    checks = built(declare_chats(chats, [turns("a", "b")] * 3), chats)[1].checks
    assert any(check.found.startswith("2 of 3 documents whose text occurs earlier") for check in checks)


def test_text_and_csv_files_hold_no_conversations(chats: Workspace) -> None:
    write_text(chats.data / "raw" / "a.csv", "messages\nx\n")
    with pytest.raises(SourceError, match=r"a.csv: is a CSV file, which holds no messages; use JSON Lines"):
        built(declare_chats(chats, [], source={"path": "raw/*.csv"}), chats)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"text": ["a"]}), "has no column 'messages'; it has text"),
        (pa.table({"messages": [1]}), "column 'messages' holds int64; use lists"),
        (pa.table([["[]"], ["[]"], ["[]"]], names=["messages", "tools", "tools"]), "has 2 columns 'tools'; rename all but one"),
    ],
)
def test_parquet_without_conversations_is_refused(table: pa.Table, said: str, chats: Workspace) -> None:
    corpus = declare_chats(chats, [], source={"path": "raw/*.parquet"})
    pa.parquet.write_table(table, chats.data / "raw" / "a.parquet")
    with pytest.raises(SourceError, match=f"a.parquet: {said}"):
        built(corpus, chats)


def test_file_without_conversations_is_refused_with_advice_about_messages(chats: Workspace) -> None:
    corpus = declare_chats(chats, [{"messages": "a"}, {"messages": "b"}], on_invalid="skip")
    with pytest.raises(SourceError, match=r"none of its rows \(2\) has a conversation; row 1: .*; declare its right format, messages"):
        built(corpus, chats)


def test_masks_are_checked_when_a_cache_is_reused(chats: Workspace) -> None:
    corpus = declare_chats(chats, [turns("a", "b")] * 20)
    path = built(corpus, chats)[2].artifact.path / "train.trained.npy"
    mask = np.load(path)
    mask[0] ^= 255
    path.chmod(0o644)
    np.save(path, mask)
    again = built(corpus, chats)[2]
    assert not again.reused
    assert not np.array_equal(np.load(again.artifact.path / path.name), mask)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"columns": ["text"]}, "messages and columns exclude each other"),
        ({"separator": " "}, "messages and separator exclude each other"),
        ({"special_tokens": "text"}, "special_tokens: text would read the special tokens of the chat template as text"),
        ({"messages": None}, "(chat_template|train_on) applies to conversations; name their column in messages"),
        ({"train_on": "user"}, "train_on"),
    ],
)
def test_contradictory_declarations_are_refused(keys: dict[str, Any], message: str, chats: Workspace) -> None:
    with pytest.raises(DeclarationError, match=message):
        declare_chats(chats, [], **{"train_on": "all", **keys})


def test_missing_template_file_is_named_by_file_line_and_key(chats: Workspace) -> None:
    declare_chats(chats, [], chat_template="gone.jinja")
    with pytest.raises(DeclarationError, match=r"chats.yaml:\d+: chat_template: there is no file .*gone.jinja"):
        load_catalog(chats.data)


def test_problems_of_templates_are_found_by_the_check_of_declarations(chats: Workspace) -> None:
    declare_chats(chats, [turns("a", "b")], chat_template="tokenizer")
    assert any("has no chat template" in problem for problem in declaration_problems(chats, lambda _: None, lambda *_: None))


def test_template_writes_the_declared_date(chats: Workspace) -> None:
    write_text(chats.data / "chat.jinja", "{{ strftime_now('%d %b %Y') }}" + MARKED)
    corpus = declare_chats(chats, [turns("a", "b")], template_date=date(2026, 1, 31))
    assert texts(corpus, chats) == [("31 Jan 2026<user>a<assistant>b|", "b|")]


def test_conversations_keep_the_numbers_of_their_lines(chats: Workspace) -> None:
    lines = ["", json.dumps(turns("a", "b")), "  ", "{broken", json.dumps(turns("c", "d"))]
    corpus = declare_chats(chats, [], on_invalid="skip")
    write_text(chats.data / "raw" / "chats.jsonl", "\n".join(lines))
    assert np.load(built(corpus, chats)[2].artifact.path / "train.origins.npy")[:, 1].tolist() == [1, 4]


def test_forecast_counts_the_tokens_of_rendered_conversations(chats: Workspace) -> None:
    corpus = declare_chats(chats, [turns("a", "b")] * 30)
    declare(chats.data, "mixtures", name="mix", seq_len=32, datasets=[{"corpus": "chats"}])
    catalog = load_catalog(chats.data)
    (expected,) = forecast(catalog.mixtures["mix"], catalog.corpora, chats).corpora
    assert expected.tokens == built(corpus, chats)[1].artifact.manifest.counts["tokens"]
