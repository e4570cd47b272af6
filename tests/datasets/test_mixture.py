"""Mixtures as training code reads them."""

import math
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from phyagi_assets.datasets import LMDataset, LoadedMixture, MixedDataset, MixtureLoader, load_mixture
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.errors import StoreError
from phyagi_assets.settings import STORE_VARIABLE
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.support import build, copy_data, copy_store, declare, declare_corpus, write_jsonl, write_text

SEQ_LEN = 8


def _declare_and_build(
    workspace: Workspace, *, name: str = "mix", weights: tuple[float, float] = (1.0, 1.0), seq_len: int = SEQ_LEN, **keys: Any
) -> Path:
    """Two corpora of two partitions each, and a mixture of them; its folder in the store."""
    corpora = {}
    for corpus in ("one", "two"):
        for part in ("a", "b"):
            rows = [f"{corpus} {part} number {i}" for i in range(60 if corpus == "one" else 25)]
            if not (workspace.data / corpus / f"{part}.jsonl").exists():
                write_jsonl(workspace.data / corpus / f"{part}.jsonl", rows)
        splits = {"splits": {"validation": 0.2}, **keys}
        corpora[corpus] = declare_corpus(workspace.data, corpus, f"{corpus}/*.jsonl", partition_by="file", **splits)
    parts = [{"corpus": corpus, "weight": weight} for corpus, weight in zip(corpora, weights, strict=True)]
    mixture = load_yaml(declare(workspace.data, "mixtures", name=name, seq_len=seq_len, datasets=parts), MixtureConfig)
    partitions = {corpus: list(build(declared, workspace)) for corpus, declared in corpora.items()}
    build_mixture(mixture, corpora, partitions, workspace)
    return workspace.store.root / name / "mixed_dataset"


def _streams(mixture: LoadedMixture, split: str) -> list[np.ndarray[Any, Any]]:
    """The tokens of every corpus, its partitions one after the other."""
    return [
        np.concatenate([np.load(mixture.home / shard.path) for shard in mixture.plan.shards(source, split)])
        for source in mixture.plan.current.sources
    ]


def _windows(mixture: LoadedMixture, split: str) -> list[list[list[int]]]:
    """Every window of every corpus: its stream, cut by `LMDataset`."""
    return [[window["input_ids"].tolist() for window in LMDataset(tokens, seq_len=SEQ_LEN)] for tokens in _streams(mixture, split)]


def _read(dataset: MixedDataset | None) -> list[tuple[int, int, list[int], list[int]]]:
    assert dataset is not None
    samples = [dataset[i] for i in range(len(dataset))]
    return [(int(s["position"]), int(s["dataset_idx"]), s["input_ids"].tolist(), s["labels"].tolist()) for s in samples]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path, engines: EnginePool) -> Path:
    """A data folder with the corpora and the mixture, and its store; tests work on copies, whose versions are linked."""
    data = tmp_path_factory.mktemp("built") / "data"
    _declare_and_build(Workspace(data=data, store=LocalStore(copy_store(prepared_store, data / "store")), engines=engines))
    return data


@pytest.fixture
def folder(built: Path, workspace: Workspace) -> Path:
    shutil.rmtree(workspace.data)
    copy_data(built, workspace.data)
    return workspace.store.root / "mix" / "mixed_dataset"


def test_epoch_with_weight_1_reads_every_sample_once_with_its_corpus_index(folder: Path) -> None:
    mixture = load_mixture(folder)
    read = _read(mixture.train)
    assert [position for position, *_ in read] == list(range(len(read)))
    for corpus, windows in enumerate(_windows(mixture, "train")):
        given = [ids for _, idx, ids, _ in read if idx == corpus]
        assert sorted(given) == sorted(windows)
        assert given != windows  # shuffled


@pytest.mark.parametrize("weights", [(2.5, 0.5), (0.1, 3.0)])
def test_weights_multiply_complete_epochs_in_different_orders(workspace: Workspace, weights: tuple[float, float]) -> None:
    mixture = load_mixture(_declare_and_build(workspace, weights=weights))
    read = _read(mixture.train)
    for corpus, (windows, weight) in enumerate(zip(_windows(mixture, "train"), weights, strict=True)):
        given = [ids for _, idx, ids, _ in read if idx == corpus]
        assert len(given) == math.ceil(weight * len(windows))
        epochs = [given[start : start + len(windows)] for start in range(0, len(given), len(windows))]
        for epoch in epochs[:-1]:
            assert sorted(epoch) == sorted(windows)
        left = Counter(map(tuple, windows))
        left.subtract(map(tuple, epochs[-1]))
        assert min(left.values()) >= 0
        assert len({str(epoch) for epoch in epochs}) == len(epochs)


@pytest.mark.parametrize("shift", [False, True])
def test_validation_contains_every_token_in_order_and_pads_the_last_sample_of_each_corpus(folder: Path, shift: bool) -> None:
    mixture = load_mixture(folder, shift_labels=shift, boundaries=True)
    validation = mixture.validation
    assert validation is not None
    batch = validation.batch(np.arange(len(validation)))
    padded = 0
    for corpus, stream in enumerate(_streams(mixture, "validation")):
        own = batch["dataset_idx"] == corpus
        ids, labels, places, numbers = (batch[name][own].flatten() for name in ("input_ids", "labels", "position_ids", "document_ids"))
        count = len(stream)
        assert len(ids) == -(-count // SEQ_LEN) * SEQ_LEN
        assert ids[:count].tolist() == stream.tolist()
        assert (ids[count:] == mixture.plan.pad_id).all()
        assert labels.tolist() == [*stream[shift:].tolist(), *[-100] * (len(ids) - count + shift)]
        if count < len(ids):
            assert places[count:].tolist() == list(range(len(ids) - count))  # padding is a document of its own
            assert (numbers[count:] == numbers[count - 1] + 1).all()
        padded += len(ids) - count
    assert padded


def test_many_small_partitions_have_a_validation_split(workspace: Workspace) -> None:
    for part in range(20):
        write_jsonl(workspace.data / "small" / f"{part:02}.jsonl", [f"part {part}, row {i}, of some length" for i in range(20)])
    corpus = declare_corpus(workspace.data, "small", "small/*.jsonl", partition_by="file", splits={"validation": 0.05})
    declared = declare(workspace.data, "mixtures", name="mix", seq_len=128, datasets=[{"corpus": "small"}])
    build_mixture(load_yaml(declared, MixtureConfig), {"small": corpus}, {"small": list(build(corpus, workspace))}, workspace)
    mixture = load_mixture("mix", store=workspace.store.root)
    assert mixture.plan.uncovered() <= 128
    assert mixture.validation is not None
    assert len(mixture.validation) == -(-mixture.plan.total("validation", "tokens") // 128)


def test_validation_by_corpus_is_the_validation_of_each_corpus_whole_and_in_order(folder: Path) -> None:
    mixture = load_mixture(folder)
    by_corpus = mixture.validation_by_corpus
    assert list(by_corpus) == ["one", "two"]
    whole = _read(mixture.validation)
    assert [len(dataset) for dataset in by_corpus.values()] == [sum(of[1] == index for of in whole) for index in (0, 1)]
    for index, dataset in enumerate(by_corpus.values()):
        assert [sample[1:] for sample in _read(dataset)] == [sample[1:] for sample in whole if sample[1] == index]
    assert mixture.test_by_corpus == {}


@pytest.mark.parametrize("seq_len", [1, 5, 13])
def test_another_length_gives_the_order_of_a_mixture_that_declares_it(workspace: Workspace, folder: Path, seq_len: int) -> None:
    declared = load_mixture(_declare_and_build(workspace, name="declared", seq_len=seq_len))
    loaded = load_mixture(folder, seq_len=seq_len)
    assert loaded.plan.segments == declared.plan.segments
    assert _read(loaded.train) == _read(declared.train)
    assert _read(loaded.validation) == _read(declared.validation)
    assert loaded.plan.fingerprint == load_mixture(folder, seq_len=seq_len).plan.fingerprint != load_mixture(folder).plan.fingerprint
    assert load_mixture(folder, seq_len=SEQ_LEN).plan == load_mixture(folder).plan
    state = MixtureLoader(loaded.train, batch_size=2).state_dict()
    with pytest.raises(ValueError, match="open the plan of the state"):
        MixtureLoader(load_mixture(folder).train, batch_size=2).load_state_dict(state)


@pytest.mark.parametrize(("seq_len", "refusal"), [(0, "use a length of samples"), (100_000, "training tokens, but one sample takes")])
def test_length_for_which_a_corpus_has_no_sample_is_refused(folder: Path, seq_len: int, refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        load_mixture(folder, seq_len=seq_len)


def test_split_that_no_corpus_has_is_none(workspace: Workspace, folder: Path) -> None:
    assert load_mixture(folder).test is None
    mixture = load_mixture(_declare_and_build(workspace, name="all_train", splits={}))
    assert (mixture.validation, mixture.test) == (None, None)
    assert len(mixture.train) > 0


def test_labels_are_aligned_with_inputs_or_shifted_by_one(folder: Path) -> None:
    plain, shifted = (load_mixture(folder, shift_labels=shift) for shift in (False, True))
    following = {
        tuple(stream[start : start + SEQ_LEN].tolist()): stream[start + 1 : start + 1 + SEQ_LEN].tolist()
        for stream in _streams(plain, "train")
        for start in range(0, len(stream) - SEQ_LEN, SEQ_LEN)
    }
    for (*where, ids, labels), (*same, same_ids, ahead) in zip(_read(plain.train), _read(shifted.train), strict=True):
        assert (where, ids) == (same, same_ids)
        assert labels == ids
        assert ahead == following[tuple(ids)]


def test_indices_count_from_either_end_within_the_number_of_samples(folder: Path) -> None:
    train = load_mixture(folder).train
    assert torch.equal(train[-1]["input_ids"], train[len(train) - 1]["input_ids"])
    assert int(train[-1]["position"]) == len(train) - 1
    assert len(list(iter(train))) == len(train)
    for index in (len(train), -len(train) - 1):
        with pytest.raises(IndexError, match=f"index {index} is outside a dataset of {len(train)} samples"):
            train[index]


def test_sample_order_does_not_depend_on_the_number_of_workers(folder: Path) -> None:
    train = load_mixture(folder).train
    by_workers = [list(DataLoader(train, batch_size=5, num_workers=workers)) for workers in (0, 2)]
    for one, other in zip(*by_workers, strict=True):
        assert {name: list(of) if name == "corpus" else of.tolist() for name, of in one.items()} == {
            name: list(of) if name == "corpus" else of.tolist() for name, of in other.items()
        }
    positions = [position for batch in by_workers[0] for position in batch["position"].tolist()]
    assert positions == list(range(len(train)))
    assert by_workers[0][0]["input_ids"].shape == by_workers[0][0]["labels"].shape == (5, SEQ_LEN)


def test_pickled_dataset_contains_no_arrays_and_reads_the_same_samples(folder: Path) -> None:
    train = load_mixture(folder).train
    fresh = len(pickle.dumps(train))
    before = _read(train)
    assert len(pickle.dumps(train)) == fresh
    assert _read(pickle.loads(pickle.dumps(train))) == before


def test_mixture_in_use_does_not_change_during_a_refresh(workspace: Workspace, folder: Path) -> None:
    reading, unread = load_mixture(folder), load_mixture(folder)
    before = _read(reading.train)
    write_jsonl(workspace.data / "two" / "b.jsonl", [f"refreshed {i}" for i in range(90)])
    _declare_and_build(workspace)
    assert _read(reading.train) == _read(unread.train) == before
    assert _read(load_mixture(folder).train) != before


@pytest.mark.usefixtures("folder")
def test_mixture_name_is_looked_up_in_the_given_or_configured_store(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = workspace.store.root
    by_path = load_mixture(folder / "mixture.json")
    assert load_mixture(str(folder)) == load_mixture("mix", store=root) == by_path
    assert repr(by_path.train) == f"MixedDataset('mix', 'train', {len(by_path.train)} samples of {by_path.train.seq_len} tokens)"
    monkeypatch.setenv(STORE_VARIABLE, str(root))
    assert load_mixture("mix") == by_path
    monkeypatch.delenv(STORE_VARIABLE)
    monkeypatch.chdir(workspace.data.parent)  # its data/ holds store/
    assert load_mixture("mix") == by_path
    (workspace.data.parent / "mix").mkdir()  # a folder of that name, such as training code keeps its checkpoints in
    assert load_mixture("mix") == by_path
    write_text(workspace.data.parent / "mix" / "mixture.json", "a plan of something else")
    assert load_mixture("mix", store=root) == by_path
    with pytest.raises(StoreError, match=r"mix/mixture\.json"):
        load_mixture("mix")


@pytest.mark.usefixtures("folder")
def test_missing_mixture_raises_an_error_that_lists_the_mixtures(workspace: Workspace, tmp_path: Path) -> None:
    _declare_and_build(workspace, name="another")
    with pytest.raises(
        StoreError,
        match=r"'web' is neither .* \(there: another, mix\); if it is declared, materialize it with: phyagi-assets materialize web",
    ):
        load_mixture("web", store=workspace.store.root)
    with pytest.raises(StoreError, match=r"'mux' is neither .* \(there: another, mix\); did you mean 'mix'\?"):
        load_mixture("mux", store=workspace.store.root)
    with pytest.raises(StoreError, match=r"'/far/off' is neither .* \(there: another, mix\)$"):
        load_mixture("/far/off", store=workspace.store.root)
    with pytest.raises(StoreError, match=r"\(there: none\)"):
        load_mixture("mix", store=tmp_path)
    (workspace.data / "corpora").mkdir(exist_ok=True)
    with pytest.raises(StoreError, match=rf"; that is a data folder, whose store is {workspace.store.root}$"):
        load_mixture("mix", store=workspace.data)
    with pytest.raises(StoreError, match=rf"; that is a folder in the store {workspace.store.root}$"):
        load_mixture("mix", store=workspace.store.root / "one")


def test_missing_array_raises_an_error_with_its_path_and_the_remedy(workspace: Workspace, folder: Path) -> None:
    mixture = load_mixture(folder)
    for version in (workspace.store.root / "one" / "numpy_cache" / ".versions").iterdir():
        shutil.rmtree(version)
    with pytest.raises(StoreError, match=r"train\.npy: does not exist, .* phyagi-assets materialize"):
        _read(mixture.train)


def _replace(array: Path, content: np.ndarray[Any, Any]) -> None:
    array.unlink()  # other copies of the store link to it
    np.save(array, content)


def test_array_shorter_than_in_the_plan_raises_an_error_with_its_path(workspace: Workspace, folder: Path) -> None:
    mixture = load_mixture(folder)
    (array, *_) = (workspace.store.root / "one" / "numpy_cache" / ".versions").glob("*/train.npy")
    _replace(array, np.load(array)[:-40])
    with pytest.raises(StoreError, match=r"train\.npy: is shorter than in the mixture's plan"):
        _read(mixture.train)


def test_array_of_another_dtype_raises(workspace: Workspace, folder: Path) -> None:
    mixture = load_mixture(folder)
    (array, *_) = (workspace.store.root / "one" / "numpy_cache" / ".versions").glob("*/train.npy")
    _replace(array, np.load(array).astype(np.int32))
    with pytest.raises(StoreError, match=r"train\.npy: contains int32, but the mixture's plan requires uint16"):
        _read(mixture.train)


@pytest.mark.parametrize(
    ("plan", "refusal"),
    [
        ("{", "is not a plan"),
        ("[]", "has format None"),
        ('{"format": 1}', r"has format 1; this release reads formats 2 to \d"),
        ('{"format": 99}', r"format 99, .* reads formats 2 to \d; install the release that wrote it"),
        ("[" * 100_000, "is not a plan"),
    ],
)
def test_file_that_is_not_a_readable_plan_raises(tmp_path: Path, plan: str, refusal: str) -> None:
    (tmp_path / "mixture.json").write_text(plan, encoding="utf-8")
    with pytest.raises(StoreError, match=rf"mixture\.json: .*{refusal}"):
        load_mixture(tmp_path / "mixture.json")


def test_tokenizer_of_a_mixture_decodes_its_samples(folder: Path) -> None:
    import transformers

    mixture = load_mixture(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(mixture.tokenizer)
    for sample in mixture.train:
        assert ("one", "two")[int(sample["dataset_idx"])] in tokenizer.decode(sample["input_ids"])
