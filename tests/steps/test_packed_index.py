"""Mixtures that pack whole documents, from their declaration to their samples."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import phyagi_assets.reading as arrays
from phyagi_assets.declare.catalog import load_catalog, read_catalog
from phyagi_assets.errors import DeclarationError, StoreError
from phyagi_assets.formats.cache_folder import SplitArrays
from phyagi_assets.formats.packed_index import STEP, index_version
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.formats.plan_formats import PACKED_FORMAT
from phyagi_assets.formats.plan_versions import versions_of_plan
from phyagi_assets.inspection.explain import open_explainer
from phyagi_assets.inspection.forecast import forecast
from phyagi_assets.inspection.garbage import Cleaning
from phyagi_assets.steps.mixture import MIXTURE, build_mixture
from phyagi_assets.steps.step import Built, Workspace
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from tests.support import build, declare, write_jsonl, write_text

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}|{% endgeneration %}"
    "{% else %}{{ m.content }}:{% endif %}{% endfor %}"
)

pytestmark = pytest.mark.usefixtures("few_code_points")


@pytest.fixture
def packs(workspace: Workspace) -> Workspace:
    """A data folder with a corpus of text in two partitions and one of conversations."""
    save_byte_tokenizer(workspace.data / "tok")
    write_text(workspace.data / "chat.jinja", TEMPLATE)
    for part in "ab":
        write_jsonl(workspace.data / "text" / f"{part}.jsonl", [part * (5 + 7 * i % 41) for i in range(30)])
    rows = [{"messages": [{"role": "user", "content": "q" * (i % 7)}, {"role": "assistant", "content": "a" * i}]} for i in range(1, 30)]
    write_jsonl(workspace.data / "chats" / "all.jsonl", rows)
    source = {"source": {"path": "text/*.jsonl"}, "partition_by": "file", "splits": {"validation": 0.2}}
    declare(workspace.data, "corpora", name="text", tokenizer="tok", **source)
    chats = {"source": {"path": "chats/*.jsonl"}, "messages": "messages", "chat_template": "chat.jinja"}
    declare(workspace.data, "corpora", name="chats", tokenizer="tok", **chats)
    return workspace


def built(workspace: Workspace, **keys: Any) -> Built:
    """Declare a mixture, and build it with its corpora."""
    declared = {"name": "mix", "seq_len": 32, "datasets": [{"corpus": "text"}, {"corpus": "chats"}], **keys}
    declare(workspace.data, "mixtures", **declared)
    catalog = load_catalog(workspace.data)
    partitions = {}
    for part in declared["datasets"]:
        corpus = catalog.corpora[part["corpus"]]
        build(corpus, workspace)
        partitions[part["corpus"]] = list(workspace.sources.partitions(corpus))
    return build_mixture(catalog.mixtures[declared["name"]], catalog.corpora, partitions, workspace)


def plan_of(made: Built) -> Plan:
    return read_plan(made.artifact.path / "mixture.json")


def indices(workspace: Workspace) -> list[str]:
    """Return the versions of indices in the store."""
    return sorted(f"{of.address}@{of.fingerprint}" for of in workspace.store.versions() if f"/{STEP}/" in of.address)


def test_conversations_are_packed_and_text_is_not_unless_declared(packs: Workspace) -> None:
    plan = plan_of(built(packs))
    assert [(plan.corpora[of.corpus].name, of.packed) for of in plan.current.sources] == [("text", False), ("chats", True)]
    assert plan.format == PACKED_FORMAT
    for packing, per_corpus, expected in (
        ("concat", None, [False, False]),
        ("best_fit", None, [True, True]),
        ("best_fit", "concat", [True, False]),
    ):
        chats = {"corpus": "chats", **({"packing": per_corpus} if per_corpus else {})}
        plan = plan_of(built(packs, packing=packing, datasets=[{"corpus": "text"}, chats]))
        assert [of.packed for of in plan.current.sources] == expected


def test_explicit_concat_gives_the_plan_without_packing(packs: Workspace) -> None:
    text = [{"corpus": "text"}]
    plain, said = built(packs, datasets=text), built(packs, datasets=text, packing="concat")
    assert (said.artifact.fingerprint, said.reused) == (plain.artifact.fingerprint, True)
    assert "packing" not in said.artifact.manifest.to_json()
    assert plan_of(plain).to_json() == plan_of(said).to_json()


def test_plan_of_a_release_without_packing_stays_current_until_packing_is_declared(packs: Workspace) -> None:
    old = built(packs, packing="concat")
    same = built(packs)
    assert (same.reused, same.artifact.fingerprint) == (True, old.artifact.fingerprint)
    assert built(packs, packing="best_fit").artifact.fingerprint != old.artifact.fingerprint


def test_refresh_packs_only_the_partitions_that_changed(packs: Workspace) -> None:
    first = built(packs, packing="best_fit")
    before = indices(packs)
    assert [name.partition("@")[0] for name in before] == ["chats/packed_index/all", "text/packed_index/a", "text/packed_index/b"]
    write_jsonl(packs.data / "text" / "b.jsonl", ["b" * (3 + i) for i in range(30)])
    write_jsonl(packs.data / "text" / "c.jsonl", ["c" * 20] * 4)
    second = built(packs, packing="best_fit")
    added = [name.partition("@")[0] for name in indices(packs) if name not in before]
    assert added == ["text/packed_index/b", "text/packed_index/c"]
    assert first.artifact.fingerprint != second.artifact.fingerprint
    named = {version.path.partition("/.versions")[0] for version in versions_of_plan(plan_of(second))}
    assert {"text/packed_index", "chats/packed_index"} <= named


def test_packed_samples_hold_every_token_of_their_partition(packs: Workspace) -> None:
    built(packs, packing="best_fit")
    mixture = arrays.load_mixture("mix", store=packs.store.root)
    plan = mixture.plan
    assert plan.uncovered() == 0
    for samples, split in ((mixture.train, "train"), (mixture.validation, "validation")):
        assert samples is not None
        batch = samples.batch(np.arange(len(samples)))
        caches = [packs.store.open(address) for address in packs.store.list() if address.step == "numpy_cache"]
        tokens = np.concatenate([SplitArrays.of(cache.path, split).ids for cache in caches if cache and split in cache.manifest.counts])
        counts = [np.bincount(ids.ravel(), minlength=plan.pad_id + 1) for ids in (batch["input_ids"], tokens)]
        counts[0][plan.pad_id] -= len(samples) * 32 - len(tokens)  # the padding
        assert np.array_equal(*counts)
        assert batch["document_ids"].shape == batch["input_ids"].shape


def test_explain_leads_from_a_packed_position_to_its_documents_and_fragments(packs: Workspace) -> None:
    plan = plan_of(built(packs, packing="best_fit", datasets=[{"corpus": "text"}]))
    explained = open_explainer("mix", packs.store.root).explain(range(plan.current.drawn))
    cut = set()
    for sample in explained:
        assert sample.corpus == "text"
        for document in sample.documents:
            if document.length <= 32:
                assert (document.skipped, document.end - document.start) == (0, document.length)
            else:
                assert document.skipped % 32 == 0
                cut.add((document.partition, document.row))
        spans = [(document.start, document.end) for document in sample.documents]
        assert spans == sorted(spans)
        assert [start for start, _ in spans] == [0, *(end for _, end in spans[:-1])]
    assert cut
    tokens = sum(document.end - document.start for sample in explained for document in sample.documents)
    assert tokens == plan.total("train", "tokens")


def test_another_length_without_its_indices_is_an_error_with_the_remedy(packs: Workspace) -> None:
    built(packs, packing="best_fit")
    store = packs.store.root
    with pytest.raises(
        ValueError,
        match=r"seq_len: corpus 'text' of mixture 'mix' is packed, and partition 'a' has no index of samples of 64 tokens; .*"
        r"declare a mixture of the same corpora with seq_len: 64 and packing: best_fit",
    ):
        arrays.load_mixture("mix", store=store, seq_len=64)
    built(packs, name="other", seq_len=64, packing="best_fit")
    longer, declared = arrays.load_mixture("mix", store=store, seq_len=64), arrays.load_mixture("other", store=store)
    for one, other in ((longer.train, declared.train), (longer.validation, declared.validation)):
        assert one is not None
        assert other is not None
        positions = np.arange(len(one))
        assert (one.batch(positions)["input_ids"] == other.batch(positions)["input_ids"]).all()
    assert len(arrays.load_mixture("mix", store=store).train) > len(longer.train)


def test_plan_with_a_deleted_index_is_built_again(packs: Workspace) -> None:
    made = built(packs, packing="best_fit")
    version = versions_of_plan(plan_of(made))
    (index,) = [of for of in version if of.address == "chats/packed_index/all"]
    for file in (packs.store.root / index.path).iterdir():
        file.unlink()
    (packs.store.root / index.path).rmdir()
    with pytest.raises(StoreError, match=r"packed_index.*does not exist"):
        arrays.load_mixture("mix", store=packs.store.root).train.batch(np.arange(9))
    again = built(packs, packing="best_fit")
    assert (again.artifact.fingerprint, again.failures) == (made.artifact.fingerprint, [])
    arrays.load_mixture("mix", store=packs.store.root).train.batch(np.arange(9))


def test_clean_keeps_the_indices_that_plans_name(packs: Workspace) -> None:
    built(packs, packing="best_fit", seq_len=16)
    other = built(packs, name="other", packing="best_fit")
    partitions = {"text": ["a", "b"], "chats": ["all"]}
    cleaning = Cleaning(store=packs.store, partitions=partitions, mixtures=["mix", "other"])
    assert [item.name for item in cleaning.find()] == []
    unneeded = Cleaning(store=packs.store, partitions=partitions, mixtures=["other"]).find()
    gone = {f"{item.address}@{item.fingerprint}" for item in unneeded if item.address.step == STEP}
    assert len(indices(packs)) == 6
    assert len(gone) == 3
    assert not gone & {f"{of.address}@{of.fingerprint}" for of in versions_of_plan(plan_of(other))}


def test_facts_and_forecast_of_a_packed_mixture_name_fill_and_padding(packs: Workspace) -> None:
    made = built(packs, packing="best_fit")
    plan = plan_of(made)
    facts = MIXTURE.facts(made)
    rows = {row["corpus"]: row for row in facts["corpora"].rows}
    assert rows["text"]["packing"] == "best_fit"
    padding = plan.padding(plan.current.sources[0])
    samples = plan.current.sources[0].samples
    assert rows["text"]["fill"] == f"{100 * (1 - padding / (32 * samples)):.2f} %"
    catalog = load_catalog(packs.data)
    found = forecast(catalog.mixtures["mix"], catalog.corpora, packs)
    assert [corpus.uncovered for corpus in found.corpora] == [0, 0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"packing": "best-fit"}, r"mix\.yaml:5: packing: should be 'concat' or 'best_fit' \(found 'best-fit'\)"),
        (
            {"datasets": [{"corpus": "text", "packing": "full"}]},
            r"mix\.yaml:5: datasets\.0\.packing: should be 'concat' or 'best_fit' \(found 'full'\)",
        ),
        ({"packing": "best_fit", "seq_len": 1}, r"mix\.yaml:2: seq_len: is 1, which is too short for packing: best_fit; .* at least 2"),
    ],
)
def test_impossible_packing_is_refused_with_file_line_and_key(packs: Workspace, keys: dict[str, Any], message: str) -> None:
    declare(packs.data, "mixtures", **{"name": "mix", "seq_len": 32, "datasets": [{"corpus": "text"}], **keys})
    _, problems = read_catalog(packs.data)
    assert len(problems) == 1
    with pytest.raises(DeclarationError, match=message):
        raise problems[0]


def test_cache_without_the_ends_of_documents_is_refused_with_the_remedy(packs: Workspace) -> None:
    built(packs, datasets=[{"corpus": "text"}])
    cache = packs.store.open("text/numpy_cache/a")
    assert cache is not None
    files = {name: of for name, of in cache.manifest.files.items() if name != "train.documents.npy"}
    (cache.path / "manifest.json").write_text(replace(cache.manifest, files=files).to_json())
    declare(packs.data, "mixtures", name="mix", seq_len=32, datasets=[{"corpus": "text"}], packing="best_fit")
    catalog = load_catalog(packs.data)
    with pytest.raises(
        DeclarationError,
        match=r"mix\.yaml:\d+: packing: best_fit packs whole documents, and .*text.* has no train\.documents\.npy, .*use packing: concat",
    ):
        build_mixture(catalog.mixtures["mix"], catalog.corpora, {"text": ["a", "b"]}, packs)


def test_index_is_named_by_its_cache_and_its_length_alone(packs: Workspace) -> None:
    plan = plan_of(built(packs, packing="best_fit"))
    for corpus in plan.corpora:
        for partition in corpus.partitions:
            assert partition.index is not None
            version = index_version(corpus.name, partition.key, partition.fingerprint, 32)
            assert version.fingerprint == partition.index.fingerprint
            assert partition.index.path == f"../../../{version.path}"
