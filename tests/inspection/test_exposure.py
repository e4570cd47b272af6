"""The positions at which a document was shown are those whose samples hold a token of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phyagi_assets.datasets import load_mixture
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.document_id import document_id
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.inspection.documents import matching, with_ids
from phyagi_assets.inspection.explain import ExplainedSample
from phyagi_assets.inspection.exposure import Exposure, exposures
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.base import Store
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.steps.test_exclusions import id_of, remove
from tests.support import build, copy_store, declare, declare_corpus, write_jsonl

SEQ_LEN = 8
Mixed = tuple[str, Path, Store]
"""How the corpus of a mixture is packed, the folder of its plan, and the store."""
DOCUMENTS = {
    "monday": [f"the {i}th note of monday is this {'and so on ' * (i % 5)}" for i in range(30)],
    "tuesday": [f"a note of tuesday, number {i}{'!' * i}" for i in range(20)],
}


def mix(corpora: dict[str, Corpus], workspace: Workspace, packing: str = "concat") -> Path:
    datasets = [{"corpus": "c", "weight": 1.5, "packing": packing}, {"corpus": "d"}]
    path = declare(workspace.data, "mixtures", name="mix", seq_len=SEQ_LEN, datasets=datasets)
    caches = {name: list(build(corpus, workspace)) for name, corpus in corpora.items()}
    return build_mixture(load_yaml(path, MixtureConfig), corpora, caches, workspace).artifact.path


@pytest.fixture
def corpora(workspace: Workspace) -> dict[str, Corpus]:
    return declared(workspace)


def declared(workspace: Workspace) -> dict[str, Corpus]:
    for day, texts in DOCUMENTS.items():
        write_jsonl(workspace.data / "raw" / f"{day}.jsonl", texts)
    write_jsonl(workspace.data / "other.jsonl", ["something else " * 40])
    corpus = declare_corpus(workspace.data, "c", "raw/*.jsonl", partition_by="file", splits={"validation": 0.3})
    return {"c": corpus, "d": declare_corpus(workspace.data, "d", "other.jsonl")}


@pytest.fixture(scope="module", params=["concat", "best_fit"])
def mixed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, prepared_store: Path, engines: EnginePool) -> Mixed:
    """A mixture with one of two packings. Tests do not change it."""
    data = tmp_path_factory.mktemp("mixed") / "data"
    workspace = Workspace(data=data, store=LocalStore(copy_store(prepared_store, data / "store")), engines=engines)
    return request.param, mix(declared(workspace), workspace, request.param), workspace.store


@pytest.mark.parametrize("text", [DOCUMENTS["monday"][4], DOCUMENTS["monday"][29], DOCUMENTS["tuesday"][0], DOCUMENTS["tuesday"][19]])
def test_exposures_are_those_found_by_explaining_every_position(mixed: Mixed, text: str) -> None:
    packing, plan, store = mixed
    mixture = load_mixture(plan)
    (found,) = exposures("c", [id_of(text)], store)
    dataset = {"train": mixture.train, "validation": mixture.validation}[found.split]
    assert dataset is not None
    shown = []
    for sample in mixture.explain(0, len(dataset), split=found.split):
        if (packing == "concat" and next_token_is_of(text, sample)) or any(document.id == id_of(text) for document in sample.documents):
            shown.append(sample.position)
    assert found == Exposure(
        mixture="mix",
        plan=mixture.plan.fingerprint,
        is_published=True,
        split=found.split,
        id=id_of(text),
        positions=shown,
        until=len(dataset),
    )
    assert shown


def next_token_is_of(text: str, sample: ExplainedSample) -> bool:
    """Return whether the last label of a sample is a token of the document."""
    ends, hashes = (np.load(sample.array.with_suffix(suffix)) for suffix in (".documents.npy", ".hashes.npy"))
    behind = int(np.searchsorted(ends, sample.offset + SEQ_LEN, side="right"))
    return behind < len(hashes) and document_id(int(hashes[behind])) == id_of(text)


def test_samples_for_evaluation_are_found_in_all_splits_of_the_corpus(
    corpora: dict[str, Corpus], workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    path = declare(workspace.data, "mixtures", name="mix", seq_len=SEQ_LEN, datasets=[{"corpus": "d"}], evaluation=["c"])
    caches = {name: list(build(corpus, workspace)) for name, corpus in corpora.items()}
    plan = build_mixture(load_yaml(path, MixtureConfig), corpora, caches, workspace).artifact.path
    ids = [id_of(text) for texts in DOCUMENTS.values() for text in texts]
    found = list(exposures("c", ids, workspace.store, 3))
    assert {(one.mixture, one.split) for one in found} == {("mix", "evaluation")}
    assert {one.id for one in found} == set(ids)
    assert {position for one in found for position in one.positions} == set(range(len(load_mixture(plan).validation_by_corpus["c"])))
    assert not caplog.messages
    path = declare(workspace.data, "mixtures", name="mix", seq_len=SEQ_LEN, datasets=[{"corpus": "d", "weight": 2}], evaluation=["c"])
    build_mixture(load_yaml(path, MixtureConfig), corpora, caches, workspace, 4)
    assert [one for one in exposures("c", ids, workspace.store) if one.split != "evaluation"] == []


def test_replaced_plan_shows_exposures_and_the_new_plan_none(corpora: dict[str, Corpus], workspace: Workspace) -> None:
    first = mix(corpora, workspace)
    text = DOCUMENTS["tuesday"][3]
    remove(corpora["c"], text)
    assert mix(corpora, workspace) != first
    (found,) = exposures("c", [id_of(text)], workspace.store)
    assert (found.is_published, bool(found.positions)) == (False, True)
    assert with_ids(corpora["c"], [id_of(text)], workspace.store)


def test_training_position_may_be_within_or_beyond_the_first_epoch(corpora: dict[str, Corpus], workspace: Workspace) -> None:
    mix(corpora, workspace)
    (once,) = exposures("c", [id_of(DOCUMENTS["monday"][4])], workspace.store)
    (twice,) = exposures("c", [id_of(DOCUMENTS["monday"][4])], workspace.store, 10 * once.until)
    assert twice.positions[: len(once.positions)] == once.positions
    assert len(twice.positions) > 8 * len(once.positions)
    (less,) = exposures("c", [id_of(DOCUMENTS["monday"][4])], workspace.store, once.positions[0] + 1)
    assert less.positions == once.positions[:1]


def test_documents_are_found_by_text_in_the_source_and_by_id_in_artifacts(corpora: dict[str, Corpus], workspace: Workspace) -> None:
    (by_text,) = matching(corpora["c"], r"number 7!", workspace)
    assert (by_text.id, by_text.partition, by_text.file, by_text.row) == (id_of(by_text.text), "tuesday", "tuesday.jsonl", 7)
    assert with_ids(corpora["c"], [by_text.id], workspace.store) == []
    build(corpora["c"], workspace)
    (by_id,) = with_ids(corpora["c"], [by_text.id], workspace.store)
    assert by_id == replace(by_text, text=f"{by_text.text}<|endoftext|>")
    assert len(list(matching(corpora["c"], "(?i)NOTE", workspace))) == 50
    with pytest.raises(PhyagiAssetsError, match=r"'\(' is not a valid regular expression: missing \)"):
        list(matching(corpora["c"], "(", workspace))
