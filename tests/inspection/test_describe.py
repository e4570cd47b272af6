"""Descriptions of artifacts for people."""

from pathlib import Path

import numpy as np
import pytest

from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.errors import StoreError
from phyagi_assets.formats.cache_tokenizer import decode
from phyagi_assets.inspection.declarations import declaration_problems
from phyagi_assets.inspection.describe import inspect_artifact
from phyagi_assets.inspection.named import inspect_named
from phyagi_assets.steps.cache import CACHE
from phyagi_assets.steps.facts import Text
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Built, Workspace
from tests.steps.test_exclusions import id_of
from tests.support import build, declare, declare_corpus, write_jsonl

TEXTS = {"a": [f"The {i} of a" for i in range(1200)], "b": ["", "Of <|endoftext|> b", "naïve 👍🏽", " of" * 90]}


@pytest.fixture
def built(workspace: Workspace) -> dict[str, list[Built]]:
    """A corpus of two partitions and a mixture of it."""
    for name, texts in TEXTS.items():
        write_jsonl(workspace.data / "c" / f"{name}.jsonl", texts)
    corpus = declare_corpus(workspace.data, "c", "c/*.jsonl", partition_by="file")
    steps = build(corpus, workspace)
    path = declare(workspace.data, "mixtures", name="mix", seq_len=8, datasets=[{"corpus": "c", "weight": 0.5}])
    build_mixture(load_yaml(path, MixtureConfig), {"c": corpus}, {"c": list(steps)}, workspace)
    return steps


def test_inspection_of_a_cache_shows_first_middle_and_last_documents(workspace: Workspace, built: dict[str, list[Built]]) -> None:
    shown = inspect_named("c/numpy_cache/a", workspace.store)
    assert (shown.title, shown.facts["dtype"], shown.facts["fingerprint"]) == ("numpy_cache", "uint16", built["a"][2].artifact.fingerprint)
    assert [(sample.where, sample.text) for sample in shown.samples] == [
        (f"train[0], a.jsonl row 1, id {id_of('The 0 of a')}", "The 0 of a<|endoftext|>"),
        (f"train[599], a.jsonl row 600, id {id_of('The 599 of a')}", "The 599 of a<|endoftext|>"),
        (f"train[1199], a.jsonl row 1,200, id {id_of('The 1199 of a')}", "The 1199 of a<|endoftext|>"),
    ]
    assert shown.lengths is not None
    assert shown.lengths.documents == 1200
    assert shown.facts["train"].startswith("documents 1,200, tokens ")


def test_samples_are_cut_and_show_their_length(built: dict[str, list[Built]]) -> None:
    whole, _, cut = inspect_artifact(built["b"][2].artifact.path).samples
    assert whole.where.startswith("train[0], b.jsonl row 2, id ")
    assert (whole.text, whole.tokens) == ("Of <|endoftext|> b<|endoftext|>", 5)
    assert (cut.text, cut.tokens) == (" of" * 48, 91)


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("c", "corpus c"),
        ("mix", "mixture mix"),
        ("mix/mixed_dataset", "mixture mix"),
        ("c/raw_dataset/a", "raw_dataset"),
        ("c/tokenized_arrow/b", "tokenized_arrow"),
        ("c/numpy_cache/b", "numpy_cache"),
    ],
)
def test_name_address_and_path_give_the_same_inspection(workspace: Workspace, name: str, title: str) -> None:
    shown = inspect_named(name, workspace.store)
    assert shown.title == title
    folder = workspace.store.root / name
    if name.count("/"):
        by_path = inspect_named(str(folder), workspace.store)
        assert by_path == inspect_named(str(folder / "manifest.json"), workspace.store)
        assert by_path.model_copy(update={"artifact": shown.artifact}) == shown


@pytest.mark.usefixtures("built")
def test_inspection_of_a_corpus_or_mixture_lists_its_parts(workspace: Workspace) -> None:
    corpus, mixture = inspect_named("c", workspace.store), inspect_named("mix", workspace.store)
    assert [part["partition"] for part in corpus.parts] == ["a", "b"]
    tokens = [int(part["train tokens"]) for part in corpus.parts]
    assert corpus.facts["tokens"] == f"{sum(tokens):,}"
    assert corpus.lengths is not None
    assert corpus.lengths.documents == 1203
    assert "tokenizer fingerprint" in mixture.facts
    (part,) = mixture.parts
    assert next(iter(mixture.facts.items())) == ("epoch", f"{part['samples in an epoch']:,} samples of 8 tokens")
    assert (part["corpus"], part["declared"], part["partitions"], part["train tokens"]) == ("c", "×0.5", 2, sum(tokens))


@pytest.mark.usefixtures("built")
def test_unknown_name_is_an_error_with_advice(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"has nothing named 'd' \(there: [^)]+\); if it is declared, materialize it with: phyagi-assets materialize d"
    ):
        inspect_named("d", workspace.store)
    for unknown, meant in (("c/tokenised/b", "c/tokenized_arrow/b"), ("c/raw_dataset", "c/raw_dataset/[ab]")):
        with pytest.raises(StoreError, match=f"has nothing named '{unknown}', .*; did you mean '{meant}'"):
            inspect_named(unknown, workspace.store)
    with pytest.raises(StoreError, match="it has these artifacts of the partition: c/numpy_cache/a, c/raw_dataset/a, c/tokenized_arrow/a"):
        inspect_named("c/a", workspace.store)
    (workspace.data / "store" / "e" / "raw_dataset").mkdir(parents=True)  # as failed builds leave it
    with pytest.raises(StoreError, match=r"has nothing of 'e' to show yet; phyagi-assets status shows its state"):
        inspect_named("e", workspace.store)
    with pytest.raises(StoreError, match="there is no manifest"):
        inspect_artifact(tmp_path)


def test_damage_is_named_in_full(workspace: Workspace, built: dict[str, list[Built]]) -> None:
    folder = built["a"][2].artifact.path
    (folder / "train.npy").unlink()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(StoreError, match=rf"{folder}/config\.json: has 2 bytes where \d+ were written\n{folder}/train\.npy: is missing"):
        inspect_named("c/numpy_cache/a", workspace.store)


def test_first_tokens_of_a_cache_are_shown_as_text(built: dict[str, list[Built]]) -> None:
    cache = built["b"][2].artifact.path
    (shown,) = (fact for name, fact in CACHE.facts(built["b"][2]).items() if name == "first tokens")
    assert isinstance(shown, Text)
    assert shown.text.startswith("Of <|endoftext|> b<|endoftext|>naïve 👍🏽<|endoftext|>")
    assert decode(cache, np.array([50256, 464])) == "<|endoftext|>The"


def test_folder_without_a_tokenizer_has_no_text(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"tokenizer\.json: is missing or damaged"):
        decode(tmp_path, np.array([1]))


@pytest.mark.usefixtures("built")
def test_inspection_of_a_corpus_shows_left_out_files(workspace: Workspace) -> None:
    hidden = workspace.data / "c" / ".b.jsonl"
    write_jsonl(hidden, ["half written"])
    shown = inspect_named("c", workspace.store, workspace)
    assert shown.facts["files left out of the source"] == f"1 file left out: 1 hidden ({hidden})"
    left_out: dict[str, str] = {}
    assert list(declaration_problems(workspace, lambda _name: None, left_out.__setitem__)) == []
    assert left_out == {"c": f"1 file left out: 1 hidden ({hidden})"}
    hidden.unlink()
    assert "files left out of the source" not in inspect_named("c", workspace.store, workspace).facts


@pytest.mark.usefixtures("built")
def test_retired_partitions_are_named_and_not_counted(workspace: Workspace) -> None:
    whole = inspect_named("c", workspace.store, workspace)
    (workspace.data / "c" / "a.jsonl").unlink()
    shown = inspect_named("c", workspace.store, workspace)
    assert [part["partition"] for part in shown.parts] == ["b"]
    assert shown.facts["retired partitions"] == "1 partition whose files are gone, not counted: a"
    assert int(shown.facts["tokens"].replace(",", "")) < int(whole.facts["tokens"].replace(",", ""))
    (workspace.data / "c" / "b.jsonl").unlink()  # now, the source cannot be listed
    assert [part["partition"] for part in inspect_named("c", workspace.store, workspace).parts] == ["a", "b"]
