"""Stages of a mixture, and corpora for evaluation only."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.errors import DeclarationError
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.formats.plan_formats import EVALUATION_FORMAT, FORMAT
from phyagi_assets.inspection.forecast import forecast
from phyagi_assets.order.composition import plan_tree
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.reading import load_mixture
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Built, Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.support import build, copy_data, copy_store, declare, declare_corpus, made_once, write_jsonl

SEQ_LEN = 16
NAMES = ("web", "code", "exam")


@pytest.fixture
def corpora(data: Path, prepared_store: Path, engines: EnginePool, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Three corpora of some hundred tokens, built once and copied for each test."""

    def make(folder: Path) -> None:
        workspace = Workspace(data=folder, store=LocalStore(copy_store(prepared_store, folder / "store")), engines=engines)
        for name in NAMES:
            write_jsonl(folder / name / "a.jsonl", [f"{name} has words {i}" for i in range(60)])
            build(declare_corpus(folder, name, f"{name}/*.jsonl", partition_by="file", splits={"validation": 0.3}), workspace)

    copy_data(made_once(tmp_path_factory, "corpora-of-stages", make), data)
    return Workspace(data=data, store=LocalStore(data / "store"), engines=engines)


def _planned(workspace: Workspace, at: int | None = None, **keys: Any) -> Built:
    declare(workspace.data, "mixtures", **{"name": "mix", "seq_len": SEQ_LEN, **keys})
    catalog = load_catalog(workspace.data)
    for broken in catalog.broken:
        raise broken.reason
    listed = {name: list(workspace.sources.partitions(corpus)) for name, corpus in catalog.corpora.items()}
    return build_mixture(catalog.mixtures["mix"], catalog.corpora, listed, workspace, at)


def _plan(built: Built) -> Plan:
    return read_plan(built.artifact.path / "mixture.json")


def _samples(plan: Plan, stop: int) -> list[tuple[int, int, int]]:
    """Corpus, array and first token of the samples before a position."""
    found = MixtureOrder(plan, "train").locate(np.arange(stop))
    return list(zip(found.corpus.tolist(), found.piece.tolist(), found.start.tolist(), strict=True))


WEB, CODE = {"corpus": "web", "weight": 1.0}, {"corpus": "code", "weight": 1.0}
STAGES = [
    {"until": f"{10 * SEQ_LEN + 3} tokens", "datasets": [WEB]},
    {"until": 20 * SEQ_LEN, "datasets": [CODE]},
    {"datasets": [WEB, {**CODE, "weight": 0.5}]},
]


def test_stages_are_segments_at_positions_rounded_down_to_whole_samples(corpora: Workspace) -> None:
    plan = _plan(_planned(corpora, stages=STAGES))
    names = [[plan.corpora[source.corpus].name for source in segment.sources] for segment in plan.segments]
    assert [segment.start for segment in plan.segments] == [0, 10, 20]
    assert names == [["web"], ["code"], ["web", "code"]]
    assert plan.ancestors == ()
    assert plan.format == FORMAT
    alone = _plan(_planned(corpora, name="alone", datasets=[WEB]))
    assert _samples(plan, 10) == _samples(alone, 10)
    assert {corpus for corpus, _, _ in _samples(plan, 20)[10:]} == {1}
    assert "positions 0 to 9: web ×1" in plan_tree(plan)


def test_corpus_that_returns_in_a_later_stage_goes_on_where_it_was(corpora: Workspace) -> None:
    plan = _plan(_planned(corpora, stages=STAGES))
    order = MixtureOrder(plan, "train")
    found = order.locate(np.arange(len(order)))
    own = plan.current.sources[0].samples
    first = found.start[found.corpus == 0][:own]
    assert sorted(first.tolist()) == [SEQ_LEN * i for i in range(own)]


def test_plan_with_stages_is_reused_and_changes_with_their_ends_only_by_samples(corpora: Workspace) -> None:
    built = _planned(corpora, stages=STAGES)
    assert _planned(corpora, stages=STAGES).reused
    within = [{**STAGES[0], "until": 10 * SEQ_LEN + 9}, *STAGES[1:]]
    assert _planned(corpora, stages=within).artifact.fingerprint == built.artifact.fingerprint
    later = [{**STAGES[0], "until": 11 * SEQ_LEN}, *STAGES[1:]]
    assert _planned(corpora, stages=later).artifact.fingerprint != built.artifact.fingerprint


@pytest.mark.parametrize("at", [4, 10, 15, 30])
def test_segment_at_a_position_keeps_the_order_before_and_the_stages_after_it(corpora: Workspace, at: int) -> None:
    before = _plan(_planned(corpora, stages=STAGES))
    write_jsonl(corpora.data / "web" / "b.jsonl", [f"web has more {i}" for i in range(60)])
    build(load_catalog(corpora.data).corpora["web"], corpora)
    after = _plan(_planned(corpora, at, stages=STAGES))
    assert _samples(after, at) == _samples(before, at)
    assert [segment.start for segment in after.segments] == sorted({0, 10, 20, at} if at > 20 else {0, 10, 20} | {at})
    assert after.agrees(before.fingerprint, at)
    assert not after.agrees(before.fingerprint, at + 1)
    keys = {partition.key for partition in after.partitions(after.current.sources[0])}
    assert keys == {"a", "b"}
    with pytest.raises(DeclarationError, match=f"a segment begins at position {at} already"):
        _planned(corpora, at - 1, stages=[*STAGES[:2], {"datasets": [WEB]}])


def test_stages_begin_at_the_same_tokens_in_another_length(corpora: Workspace) -> None:
    _planned(corpora, stages=STAGES, evaluation=["exam"])
    mixture = load_mixture("mix", store=corpora.store.root, seq_len=8)
    assert [segment.start for segment in mixture.plan.segments] == [0, 20, 40]
    assert "exam" in mixture.validation_by_corpus


def test_evaluation_corpora_are_read_whole_and_never_trained_on(corpora: Workspace) -> None:
    plan = _plan(_planned(corpora, datasets=[WEB, CODE], evaluation=["exam"]))
    mixture = load_mixture("mix", store=corpora.store.root)
    assert read_plan(corpora.store.root / "mix" / "mixed_dataset" / "mixture.json") == plan
    assert '"format": 7' in (corpora.store.root / "mix" / "mixed_dataset" / "mixture.json").read_text()
    assert EVALUATION_FORMAT == 7
    assert list(mixture.validation_by_corpus) == ["web", "code", "exam"]
    samples = mixture.validation_by_corpus["exam"]
    batch = samples.batch(np.arange(len(samples)))
    tokens = batch["input_ids"][batch["labels"] != -100]
    cache = corpora.store.root / "exam" / "numpy_cache" / "a"
    whole = np.concatenate([np.load(cache / f"{split}.npy") for split in ("train", "validation")])
    assert tokens.tolist() == whole.tolist()
    assert set(batch["corpus"]) == {"exam"}
    assert mixture.validation is not None
    assert len(mixture.validation) == len(mixture.validation_by_corpus["web"]) + len(mixture.validation_by_corpus["code"])
    assert {int(corpus) for corpus, _, _ in _samples(plan, 2 * len(mixture.train))} == {0, 1}
    assert "exam for evaluation only" in repr(mixture)
    assert mixture.test_by_corpus == {}


@pytest.mark.parametrize(("texts", "shown"), [([], "0 tokens"), (["x"], "1 token")])
def test_evaluation_corpus_without_tokens_is_reported(
    corpora: Workspace, caplog: pytest.LogCaptureFixture, texts: list[str], shown: str
) -> None:
    write_jsonl(corpora.data / "few" / "a.jsonl", texts)
    build(declare_corpus(corpora.data, "few", "few/*.jsonl", append_eos=False), corpora)
    _planned(corpora, datasets=[WEB], evaluation=["few"])
    assert repr(load_mixture("mix", store=corpora.store.root)).endswith(f"few for evaluation only  {shown}")
    assert ("mix: the corpus few, for evaluation only, has no tokens" in caplog.text) == (not texts)


def test_plan_without_evaluation_is_written_as_before(corpora: Workspace) -> None:
    with_it = _planned(corpora, datasets=[WEB], evaluation=["exam"])
    without = _planned(corpora, datasets=[WEB])
    assert "evaluation" not in (without.artifact.path / "mixture.json").read_text()
    assert "evaluation" not in without.artifact.manifest.settings
    assert with_it.artifact.fingerprint != without.artifact.fingerprint


def test_forecast_reads_stage_after_stage(corpora: Workspace) -> None:
    _planned(corpora, stages=[*STAGES[:2], {**STAGES[2], "until": 50 * SEQ_LEN}], evaluation=["exam"])
    catalog = load_catalog(corpora.data)

    def read(tokens: int | None) -> dict[str, int]:
        found = forecast(catalog.mixtures["mix"], catalog.corpora, corpora, tokens)
        return {corpus.corpus: corpus.read // SEQ_LEN for corpus in found.corpora}

    assert read(5 * SEQ_LEN) == {"web": 5, "code": 0}
    assert read(15 * SEQ_LEN) == {"web": 10, "code": 5}
    plan = read_plan(corpora.store.root / "mix" / "mixed_dataset" / "mixture.json")
    corpora_of = [corpus for corpus, _, _ in _samples(plan, 50)]
    assert read(None) == {"web": corpora_of.count(0), "code": corpora_of.count(1)}
    amounts = {corpus.corpus: corpus.amount for corpus in forecast(catalog.mixtures["mix"], catalog.corpora, corpora).corpora}
    assert amounts == {"web": "×1 → – → ×1", "code": "– → ×1 → ×0.5"}


@pytest.mark.parametrize(
    ("keys", "refusal"),
    [
        ({"datasets": [WEB], "stages": STAGES}, "has both datasets and stages"),
        ({}, "has neither datasets nor stages"),
        ({"stages": [{"datasets": [WEB]}, {"datasets": [CODE]}]}, r"mix.yaml:\d+: stages.0.until: is missing, and only the last stage"),
        (
            {"stages": [{"until": "1k", "datasets": [WEB]}, {"until": 1001, "datasets": [CODE]}]},
            r"mix.yaml:\d+: stages.1.until: is 1,001 tokens, and a stage ends at least a sample .* after the one before it, at 992",
        ),
        ({"stages": [{"until": 8, "datasets": [WEB]}]}, r"stages.0.until: is 8 tokens, .* after the beginning"),
        ({"stages": [{"until": "2,5B tokens", "datasets": [WEB]}]}, r"stages.0.until: '2,5B ?' is not a number; write it as in .* 1.5T"),
        ({"stages": [{"until": 0, "datasets": [WEB]}]}, r"stages.0.until: .*greater than 0"),
        ({"stages": [{"until": 99, "datasets": [{"corpus": "none"}]}]}, r"stages.0.datasets.0.corpus: 'none' is not declared"),
        (
            {"stages": [{"until": 99, "datasets": [{**WEB, "packing": "best_fit"}]}, {"datasets": [WEB]}]},
            "'web' has another packing in an earlier stage",
        ),
        ({"datasets": [WEB], "evaluation": ["web"]}, r"evaluation.0: 'web' is trained on too"),
        ({"datasets": [WEB], "evaluation": ["exam", "exam"]}, r"evaluation.1: 'exam' is listed twice"),
        ({"datasets": [WEB], "evaluation": ["none"]}, r"evaluation.0: 'none' is not declared"),
    ],
)
def test_invalid_stages_and_evaluation_raise_an_error_with_the_key(corpora: Workspace, keys: dict[str, Any], refusal: str) -> None:
    with pytest.raises(DeclarationError, match=refusal):
        _planned(corpora, **keys)
