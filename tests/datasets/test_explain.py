"""Positions are explained by their documents and text."""

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from phyagi_assets.datasets import load_mixture
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.errors import StoreError
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.support import build, copy_store, declare, declare_corpus, write_jsonl, write_text

EOS = 50_256


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path, engines: EnginePool) -> Path:
    """A data folder with rows and texts with blanks between them, in several files of several partitions, and its store."""
    data = tmp_path_factory.mktemp("explained") / "data"
    workspace = Workspace(data=data, store=LocalStore(copy_store(prepared_store, data / "store")), engines=engines)
    words = ["alpha", "beta", "gamma <b>", "delta"]
    for part in range(3):
        rows: list[str] = [f"{words[i % 4]} {part} " * (1 + i * 5 % 30) if i % 7 else "" for i in range(80)]
        write_jsonl(workspace.data / "rows" / f"{part}.jsonl", rows)
    for part in range(2):
        write_text(workspace.data / "texts" / f"{part}.txt", f"The text number {part}. " * 300)
    corpora = {
        "rows": declare_corpus(workspace.data, "rows", "rows/*.jsonl", partition_by="file", splits={"validation": 0.2}),
        "texts": declare_corpus(workspace.data, "texts", "texts/*.txt"),
    }
    keys = {}
    for name, corpus in corpora.items():
        build(corpus, workspace)
        keys[name] = list(workspace.sources.partitions(corpus))
    parts = [{"corpus": "rows", "weight": 2.5}, {"corpus": "texts", "weight": 0.5}]
    mixture = load_yaml(declare(workspace.data, "mixtures", name="mix", seq_len=24, datasets=parts), MixtureConfig)
    build_mixture(mixture, corpora, keys, workspace)
    return data


@pytest.fixture
def folder(built: Path) -> Path:
    """The folder of the mixture. Tests do not change it."""
    return built / "store" / "mix" / "mixed_dataset"


def source_text(data: Path, corpus: str, file: str, row: int) -> str:
    path = data / corpus / file
    if corpus == "texts":
        return path.read_text(encoding="utf-8")
    return str(json.loads(path.read_text(encoding="utf-8").splitlines()[row])["text"])


@pytest.mark.parametrize("split", ["train", "validation"])
def test_explained_documents_encode_to_the_tokens_of_the_sample(folder: Path, built: Path, split: str) -> None:
    mixture = load_mixture(folder)
    dataset = mixture.train if split == "train" else mixture.validation
    assert dataset is not None
    fresh = tokenizers.Tokenizer.from_file(str(mixture.tokenizer / "tokenizer.json"))
    draw = np.random.default_rng(1)
    checked = 0
    for position in draw.integers(0, len(dataset), 60).tolist():
        (sample,) = mixture.explain(position, split=split)
        ids = dataset[position]["input_ids"].tolist()
        assert (sample.position, sample.corpus) == (position, dataset[position]["corpus"])
        assert [document.start for document in sample.documents] == [0, *(document.end for document in sample.documents[:-1])]
        labels = dataset[position]["labels"].tolist()
        assert sample.documents[-1].end == len(ids) - labels.count(-100)
        for document in sample.documents:
            text = source_text(built, sample.corpus, document.file, document.row)
            whole = [*fresh.encode(text).ids, EOS]
            span = whole[document.skipped : document.skipped + document.end - document.start]
            assert span == ids[document.start : document.end]
            assert document.length == len(whole)
            assert document.text == fresh.decode(span, skip_special_tokens=False)
            checked += 1
    assert checked > 60


def test_explained_training_positions_have_epochs_and_no_end(folder: Path) -> None:
    mixture = load_mixture(folder)
    samples = mixture.explain(0, 4 * len(mixture.train))
    rows = [sample.epoch for sample in samples if sample.corpus == "rows"]
    assert rows == sorted(rows)
    assert max(rows) >= 9  # four epochs of the mixture are ten of the corpus
    assert mixture.validation is not None
    with pytest.raises(IndexError, match="outside the validation split"):
        mixture.explain(len(mixture.validation), split="validation")
    with pytest.raises(IndexError, match="no split 'tests'; there are: train, validation"):
        mixture.explain(0, split="tests")


def test_explained_step_contains_the_positions_that_all_processes_read(folder: Path) -> None:
    mixture = load_mixture(folder)
    assert [sample.position for sample in mixture.explain_step(3, batch_size=2, world_size=4)] == list(range(24, 32))
    assert [sample.position for sample in mixture.explain_step(1, batch_size=2, start=10)] == [12, 13]
    for wrong in ({"step": -1}, {"start": -1}, {"batch_size": 0}):
        (name,) = wrong
        with pytest.raises(ValueError, match=f"{name}: is .* or more"):
            mixture.explain_step(**({"step": 1, "batch_size": 2, "start": 10} | wrong))


def test_table_is_displayed_in_a_terminal_and_in_a_notebook(folder: Path) -> None:
    explanation = load_mixture(folder).explain(0, 40)
    lines = repr(explanation).splitlines()
    assert lines[0].split()[:4] == ["position", "corpus", "partition", "epoch"]
    assert len(lines) - 1 == sum(len(sample.documents) for sample in explanation)
    page = explanation._repr_html_()
    assert "gamma &lt;b&gt;" in page
    assert "<b>" not in page


def test_cache_without_a_manifest_raises_an_error_with_its_path(built: Path, tmp_path: Path) -> None:
    mixture = load_mixture("mix", store=copy_store(built / "store", tmp_path / "store"))
    for array in mixture.train.shards.arrays:
        manifest = array.path.resolve().parent / "manifest.json"
        manifest.unlink()  # the copy links to it
        manifest.write_text("{}", encoding="utf-8")
    with pytest.raises(StoreError, match=r"manifest\.json: is not a manifest of the store"):
        mixture.explain(0)
