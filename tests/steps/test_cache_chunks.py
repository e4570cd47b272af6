"""Token arrays in pieces: one piece per chunk, read as one array."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phyagi_assets.datasets import LMDatasetProvider, load_mixture
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.formats.cache_folder import PIECES, SplitArrays, array_files
from phyagi_assets.formats.token_file import open_tokens
from phyagi_assets.inspection.spans import spans_of
from phyagi_assets.steps.cache import build_cache, cache_chunks_to_do
from phyagi_assets.steps.cache_chunks import CacheChunk
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.local import LocalStore
from tests.steps.pieces import build_all, build_stores


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return build_stores(tmp_path_factory.mktemp("pieces"))


def test_pieces_hold_the_documents_of_the_array_and_are_listed(stores: dict[str, Artifact]) -> None:
    one, pieces = stores["one"], stores["pieces"]
    assert pieces.fingerprint == one.fingerprint
    assert pieces.manifest.counts == one.manifest.counts
    assert len(array_files(pieces.manifest, "train")) == 6
    assert array_files(pieces.manifest, "train")[:2] == ["train-00000.npy", "train-00001.npy"]
    assert not (pieces.path / "train.npy").exists()
    for split in one.manifest.counts:
        whole = np.load(one.path / f"{split}.npy")
        assert np.array_equal(np.concatenate([np.load(pieces.path / name) for name in array_files(pieces.manifest, split)]), whole)
        wanted, found = SplitArrays.of(one.path, split), SplitArrays.of(pieces.path, split)
        assert np.array_equal(found.ids, wanted.ids)
        for name in ("ends", "origins", "hashes"):
            assert np.array_equal(getattr(found, name), getattr(wanted, name))
    for name in array_files(pieces.manifest, "train", ".documents.npy"):
        ids = np.load(pieces.path / name.replace(".documents", ""))
        assert np.load(pieces.path / name)[-1] == len(ids)


@pytest.mark.parametrize("name", ["plain", "packed", "window"])
def test_mixture_has_the_same_samples_in_pieces(stores: dict[str, Artifact], name: str) -> None:
    found, wanted = (load_mixture(name, store=stores[kind].path.parents[3], boundaries=True) for kind in ("pieces", "one"))
    for split in ("train", "validation"):
        one, other = getattr(wanted, split), getattr(found, split)
        positions = np.arange(2 * len(one))[: 2 * len(one) if split == "train" else len(one)]
        expected, got = one.batch(positions), other.batch(positions)
        assert expected.keys() == got.keys()
        for key, values in expected.items():
            assert np.array_equal(np.asarray(got[key]), np.asarray(values)), key
    crossing = sum(len(sample.runs) > 1 for sample in found.explain(0, len(wanted.train)))
    assert crossing or name == "packed"
    for sample, same in zip(found.explain(0, 20), wanted.explain(0, 20), strict=True):
        assert [replace(of, partition="") for of in sample.documents] == [replace(of, partition="") for of in same.documents]


def test_pieces_are_opened_when_they_are_read(stores: dict[str, Artifact]) -> None:
    mixture = load_mixture("plain", store=stores["pieces"].path.parents[3])
    shards = mixture.train.shards
    assert (len(shards.arrays), len(shards._maps)) == (6, 0)
    mixture.train.batch(np.array([0]))
    assert 1 <= len(shards._maps) <= 2
    tokens = open_tokens(stores["pieces"].path / "train.npy")
    tokens.ids[:3]
    assert len(tokens.ids._pieces) == 1  # type: ignore[union-attr]


def test_provider_reads_a_cache_in_pieces(stores: dict[str, Artifact]) -> None:
    one, pieces = (LMDatasetProvider.from_cache(stores[kind].path, seq_len=100, shift_labels=True) for kind in ("one", "pieces"))
    for split in ("train", "val"):
        wanted, found = (getattr(of, f"get_{split}_dataset")() for of in (one, pieces))
        assert len(wanted) == len(found) > 10
        for index in range(len(wanted)):
            for key, values in wanted[index].items():
                assert found[index][key].tolist() == values.tolist()


def test_documents_are_found_in_pieces(stores: dict[str, Artifact]) -> None:
    documents = SplitArrays.of(stores["one"].path, "train")
    ids = [f"{int(value):016x}" for value in documents.hashes[[3, 100, 200]]]
    found, wanted = (list(spans_of(stores[kind].path, "train", ids)) for kind in ("pieces", "one"))
    assert found == wanted
    assert len(found) == 3


def copied(artifact: Artifact, folder: Path) -> Workspace:
    shutil.copytree(artifact.path.parents[3], folder, symlinks=True)
    data = artifact.path.parents[4] / "data"
    return Workspace(data=data, store=LocalStore(folder), chunk_bytes=4096)


def test_array_that_an_earlier_release_wrote_is_kept_as_one_file(stores: dict[str, Artifact], tmp_path: Path) -> None:
    workspace = copied(stores["one"], tmp_path / "store")
    address = "c/numpy_cache/all"
    before = workspace.store.open(address)
    assert before
    assert build_all(workspace).manifest.files == before.manifest.files
    (before.path / "train.npy").unlink()
    rebuilt = build_all(workspace)
    assert PIECES not in rebuilt.manifest.details
    assert rebuilt.manifest.files == before.manifest.files


def test_damaged_piece_is_found_and_written_again(stores: dict[str, Artifact], tmp_path: Path) -> None:
    workspace = copied(stores["pieces"], tmp_path / "store")
    cache = workspace.store.open("c/numpy_cache/all")
    assert cache
    piece = cache.path / "train-00003.npy"
    content = bytearray(piece.read_bytes())
    content[-1] ^= 1
    piece.write_bytes(content)
    assert any("train-00003.npy" in problem for problem in cache.damage(checksums=True))
    assert build_all(workspace).manifest.files == stores["pieces"].manifest.files
    assert not list(workspace.store.scratch("chunks", "c").rglob("*.npy"))


def test_damaged_rows_are_reported_before_pieces_are_written(stores: dict[str, Artifact], tmp_path: Path) -> None:
    workspace = copied(stores["pieces"], tmp_path / "store")
    cache, rows = (workspace.store.open(f"c/{step}/all") for step in ("numpy_cache", "tokenized_arrow"))
    assert cache
    assert rows
    shutil.rmtree(cache.path)
    file = rows.path / "data-00002-of-00006.arrow"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    corpus = load_catalog(workspace.data).corpora["c"]
    (partition,) = workspace.sources.partitions(corpus).values()
    with pytest.raises(Exception, match=r"data-00002-of-00006\.arrow: its content is not what was written"):
        build_cache(corpus, partition, workspace)
    assert not list((workspace.store.root / "c" / "numpy_cache").glob(".staging/*/*"))


def test_pieces_that_tasks_wrote_are_linked_and_not_read(
    stores: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = copied(stores["pieces"], tmp_path / "store")
    cache = workspace.store.open("c/numpy_cache/all")
    assert cache
    shutil.rmtree(cache.path)
    corpus = load_catalog(workspace.data).corpora["c"]
    (partition,) = workspace.sources.partitions(corpus).values()
    chunks = cache_chunks_to_do(corpus, partition, workspace)
    assert len(chunks) == 6
    for chunk in chunks[:5]:
        chunk.run(workspace, id)
    assert [chunk.number for chunk in cache_chunks_to_do(corpus, partition, workspace)] == [5]
    chunks[5].run(workspace, id)
    written = {path.name: path.stat().st_ino for path in workspace.store.scratch("chunks", "c").rglob("*.npy")}
    monkeypatch.delattr(CacheChunk, "_write")
    built = build_cache(corpus, partition, workspace)
    assert (built.failures, built.artifact.manifest.files) == ([], cache.manifest.files)
    assert (built.artifact.path / "train-00003.origins.npy").stat().st_ino == written["3.train.origins.npy"]
