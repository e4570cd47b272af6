"""Cache folders are checked against their manifests when they are opened."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.datasets import LMDataset
from phyagi_assets.errors import StoreError
from phyagi_assets.formats.cache_tokenizer import load_tokenizer
from phyagi_assets.formats.token_file import TokenFile, open_tokens
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.manifest import Manifest
from tests.datasets.caches import library_cache, pipeline_cache, reference_cache, word_tokenizer
from tests.support import write_text

IDS = np.arange(200, dtype=np.uint16) % 30


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library_cache(tmp_path_factory.mktemp("written") / "cache", word_tokenizer(30), train=IDS)


@pytest.fixture
def cache(written: Path, tmp_path: Path) -> Path:
    """A cache with a manifest."""
    return Path(shutil.copytree(written, tmp_path / "cache"))


def _opened(path: Path) -> TokenFile:
    tokens = open_tokens(path)
    assert isinstance(tokens.ids, np.memmap)
    return tokens


def test_cache_of_the_pipeline_has_documents_and_a_tokenizer(workspace: Workspace) -> None:
    folder = pipeline_cache(workspace, "news", ["One document.", "Another one", "", "A third\n"])
    tokens = _opened(folder / "train.npy")
    tokenizer = load_tokenizer(folder, allow_pickle=False)
    assert tokenizer.decode(tokens.ids) == "One document.<|endoftext|>Another one<|endoftext|>A third\n<|endoftext|>"
    assert tokens.ends is not None
    assert [int(tokens.ids[end - 1]) for end in tokens.ends] == [tokenizer.eos_token_id] * 3
    assert tokens.vocabulary is not None
    assert (tokens.vocabulary.size, tokens.vocabulary.max_id, tokens.vocabulary.eos_token_id) == (50_257, 50_256, 50_256)
    assert tokens.labels is None


def test_refresh_does_not_disturb_readers(workspace: Workspace) -> None:
    folder = pipeline_cache(workspace, "news", ["One document."] * 9)
    dataset = LMDataset(_opened(folder / "train.npy").ids, seq_len=4)
    before, pickled = dataset[2]["input_ids"].tolist(), pickle.dumps(dataset)
    pipeline_cache(workspace, "news", ["Something else, and longer."] * 9)
    assert pickle.loads(pickled)[2]["input_ids"].tolist() == dataset[2]["input_ids"].tolist() == before
    assert LMDataset(_opened(folder / "train.npy").ids, seq_len=4)[2]["input_ids"].tolist() != before


def test_cache_of_the_reference_library_is_read(tmp_path: Path) -> None:
    folder = reference_cache(tmp_path / "cache", word_tokenizer(30), train=IDS)
    tokens = _opened(folder / "train.npy")
    assert tokens.ids.tolist() == IDS.tolist()
    assert (tokens.labels, tokens.ends, tokens.vocabulary) == (None, None, None)
    assert load_tokenizer(folder, allow_pickle=True).decode(tokens.ids[:3]) == "w0 w1 w2"


def test_labels_file_added_later_is_read(cache: Path) -> None:
    np.save(cache / "train_labels.npy", np.where(IDS < 3, -100, IDS.astype(np.int32)).reshape(1, -1))
    labels = _opened(cache / "train.npy").labels
    assert labels is not None
    assert labels[:4].tolist() == [-100, -100, -100, 3]


def test_empty_array_is_a_valid_array(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", IDS[:0])
    np.save(tmp_path / "train.documents.npy", np.zeros(0, np.int64))
    assert len(open_tokens(tmp_path / "train.npy").ids) == 0


def _save_ids(ids: Any) -> Callable[[Path], None]:
    return lambda cache: np.save(cache / "train.npy", ids)


def _say(**manifest: Any) -> Callable[[Path], None]:
    def change(cache: Path) -> None:
        path = cache / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **manifest}), encoding="utf-8")

    return change


def _write(name: str, content: str | bytes) -> Callable[[Path], None]:
    return lambda cache: write_text(cache / name, content) and None


def _save(name: str, array: Any) -> Callable[[Path], None]:
    return lambda cache: np.save(cache / name, array)


@pytest.mark.parametrize(
    ("change", "named", "refusal"),
    [
        (_save_ids(IDS[:-1]), "train.npy", "has 526 bytes where 528 were written; build the cache again"),
        (_save_ids(IDS.astype(np.int16)), "train.npy", "holds int16, but its manifest says uint16: it belongs to another cache"),
        (lambda cache: (cache / "train.npy").rename(cache / "test.npy"), "test.npy", "the cache's manifest does not name it"),
        (_say(files={}, details={}), "train.npy", "the cache's manifest does not name it: the cache is unfinished"),
        (_save("train_labels.npy", IDS[:-1]), "train.npy", "has 200 tokens, but train_labels.npy beside it has 199"),
        (_save("train.documents.npy", np.array([3, 199])), "train.npy", r"train\.documents\.npy describes another array"),
        (_save("train.documents.npy", np.zeros(0, np.int64)), "train.npy", r"train\.documents\.npy describes another array"),
        (_save("train.documents.npy", np.array([0.5])), "train.documents.npy", "is an array of float64"),
        (
            _write("manifest.json", "{"),
            "manifest.json",
            "is not a manifest of the store: .*; build the cache again, or move the foreign files away",
        ),
        (_write("manifest.json", "[]"), "manifest.json", "is not (a|the) manifest of"),
        (_write("manifest.json", '{"name": "an app"}'), "manifest.json", "is not a manifest of the store"),
        (_write("manifest.json", b"\xff"), "manifest.json", "is not (a|the) manifest of"),
        (_say(details={}), "manifest.json", "is not (a|the) manifest of"),
        (_say(details={"dtype": "words", "tokenizer": {}}), "manifest.json", "is not (a|the) manifest of"),
        (_say(files={"train.npy": 3}), "manifest.json", "is not (a|the) manifest of"),
    ],
)
def test_inconsistent_file_is_refused_by_name(cache: Path, change: Callable[[Path], object], named: str, refusal: str) -> None:
    change(cache)
    with pytest.raises(StoreError, match=f"^{cache / named}: .*{refusal}"):
        open_tokens(next(cache.glob("t*t.npy"), cache / "train.npy"))


def test_document_ends_in_the_manifest_must_exist(workspace: Workspace) -> None:
    folder = pipeline_cache(workspace, "news", ["One document."])
    (folder / "train.documents.npy").unlink()
    with pytest.raises(StoreError, match=r"train\.documents\.npy: is missing; build the cache again"):
        open_tokens(folder / "train.npy")


def test_unfinished_cache_is_refused(cache: Path) -> None:
    wanted = Manifest.expected("memory_dataset", code_version="1", inputs={}, settings={})
    (cache / "manifest.json").write_text(wanted.to_json(), encoding="utf-8")
    for read in (lambda: open_tokens(cache / "train.npy"), lambda: load_tokenizer(cache, allow_pickle=True)):
        with pytest.raises(StoreError, match="the cache is unfinished, or the file is foreign"):
            read()


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (b"", "is not an .npy array that can be mapped"),
        (b"tokens", "is not an .npy array that can be mapped"),
        (np.zeros(3), r"is an array of float64 with shape \(3,\); token ids are a 1-D array of integers"),
        (np.zeros((2, 2, 2), np.int32), r"is an array of int32 with shape \(2, 2, 2\)"),
        (np.array([1, "a"], dtype=object), "is not an .npy array that can be mapped"),
        ("archive", "is an archive"),
        ("folder", "is not an .npy array that can be mapped"),
        ("cut", "is not an .npy array that can be mapped"),
    ],
)
def test_file_that_is_not_a_token_array_is_refused_by_name(tmp_path: Path, content: Any, refusal: str) -> None:
    path = tmp_path / "train.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, np.ndarray):
        np.save(path, content)
    elif content == "archive":
        np.savez(tmp_path / "of.npz", IDS)
        (tmp_path / "of.npz").rename(path)
    elif content == "folder":
        path.mkdir()
    else:
        np.save(path, IDS)
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=f"^{path}: {refusal}"):
        open_tokens(path)


class _Malice:
    """Object that creates a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.folder,)


def test_pickle_is_loaded_only_if_allowed(tmp_path: Path) -> None:
    done = tmp_path / "done"
    folder = reference_cache(tmp_path / "cache", _Malice(done), train=IDS)
    for path in (folder, folder / "tokenizer.pkl"):
        with pytest.raises(
            StoreError, match=r"tokenizer\.pkl: is a pickle, .* pass allow_pickle=True, or write the tokenizer into tokenizer/"
        ):
            load_tokenizer(path, allow_pickle=False)
    open_tokens(folder / "train.npy")
    assert not done.exists()
    load_tokenizer(folder, allow_pickle=True)
    assert done.is_dir()


def test_saved_tokenizer_is_preferred_to_a_pickle(cache: Path, tmp_path: Path) -> None:
    (cache / "tokenizer.pkl").write_bytes(pickle.dumps(_Malice(tmp_path / "done")))
    for path in (cache, cache / "tokenizer"):
        assert load_tokenizer(path, allow_pickle=True).get_vocab()["w29"] == 29
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize("name", ["tokenizer/tokenizer.json", "tokenizer.pkl"])
@pytest.mark.parametrize("change", ["other bytes", "more bytes", "gone"])
def test_tokenizer_that_differs_from_the_manifest_is_refused(cache: Path, name: str, change: str) -> None:
    path = cache / name
    content = path.read_bytes()
    if name == "tokenizer.pkl":
        shutil.rmtree(cache / "tokenizer")
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(content.replace(b"w28", b"w88") if change == "other bytes" else content + b" ")
    with pytest.raises(StoreError, match=f"^{cache}.*: (its content is not what|has .* bytes|is missing|has no tokenizer)"):
        load_tokenizer(cache, allow_pickle=True)


@pytest.mark.parametrize(
    ("files", "refusal"),
    [
        ({}, "has no tokenizer, neither a folder tokenizer/ nor a tokenizer.pkl"),
        ({"tokenizer.pkl": "no pickle"}, r"tokenizer\.pkl: cannot be loaded as a tokenizer: .*Error"),
        ({"tokenizer.pkl": b"cno.such.module\nTokenizer\n."}, r"tokenizer\.pkl: cannot be loaded as a tokenizer: ModuleNotFoundError"),
        ({"tokenizer/tokenizer.json": "{}"}, "tokenizer: cannot be loaded as a tokenizer"),
    ],
)
def test_invalid_tokenizer_is_refused_by_name(tmp_path: Path, files: dict[str, str | bytes], refusal: str) -> None:
    for name, content in files.items():
        write_text(tmp_path / name, content)
    with pytest.raises(StoreError, match=f"^{tmp_path}.*{refusal}"):
        load_tokenizer(tmp_path, allow_pickle=True)


def _tokens(lengths: list[int] | None, total: int) -> TokenFile:
    ids = np.arange(total)
    return TokenFile(ids=ids, labels=-ids, ends=None if lengths is None else np.cumsum(lengths, dtype=np.int64), vocabulary=None)


parts = st.floats(0.001, 0.999) | st.integers(1, 200)


@given(lengths=st.lists(st.integers(1, 40), min_size=2, max_size=12), part=parts)
def test_known_documents_are_divided_at_the_end_of_one_as_near_as_can_be(lengths: list[int], part: float) -> None:
    whole = _tokens(lengths, sum(lengths))
    wanted = part * len(whole.ids) if part < 1 else part
    if wanted >= len(whole.ids):
        with pytest.raises(ValueError, match=r"validation_split: .* leave nothing to train on"):
            whole.divided(part)
        return
    train, validation = whole.divided(part)
    assert [*validation.ids, *train.ids] == whole.ids.tolist()
    for part_of in (train, validation):
        assert part_of.labels is not None
        assert np.array_equal(part_of.labels, -part_of.ids)
    assert train.ends is not None
    assert validation.ends is not None
    assert [*np.diff(validation.ends, prepend=0), *np.diff(train.ends, prepend=0)] == lengths
    cuts = np.cumsum(lengths)[:-1]
    assert abs(len(validation.ids) - round(wanted)) == np.abs(cuts - round(wanted)).min()


@given(total=st.integers(0, 100), part=parts)
def test_division_without_documents_takes_the_first_tokens(total: int, part: float) -> None:
    whole = _tokens(None, total)
    taken = round(part * total if part < 1 else part)
    if (part * total if part < 1 else part) >= total or not taken:
        with pytest.raises(ValueError, match=r"validation_split: .* tokens (leave nothing to train on|leave nothing to validate on)"):
            whole.divided(part)
    else:
        train, validation = whole.divided(part)
        assert [*validation.ids, *train.ids] == whole.ids.tolist()
        assert len(validation.ids) == taken


def test_single_document_is_not_divided() -> None:
    with pytest.raises(
        ValueError, match=r"validation_split: .* there is only one document, and documents are not cut; give a validation_file"
    ):
        _tokens([9], 9).divided(0.5)


def test_second_row_holds_the_labels(tmp_path: Path) -> None:
    ids = np.arange(9, dtype=np.int32)
    np.save(tmp_path / "train.npy", np.stack([ids, -ids]))
    tokens = open_tokens(tmp_path / "train.npy")
    assert tokens.labels is not None
    assert (tokens.ids.tolist(), tokens.labels.tolist()) == (ids.tolist(), (-ids).tolist())
    np.save(tmp_path / "train_labels.npy", ids)
    with pytest.raises(StoreError, match=r"its second row holds labels, and so does train_labels\.npy beside it"):
        open_tokens(tmp_path / "train.npy")
    np.save(tmp_path / "rows.npy", np.stack([ids, ids, ids]))
    with pytest.raises(StoreError, match=r"rows\.npy: has shape \(3, 9\); a cache has one row"):
        open_tokens(tmp_path / "rows.npy")
