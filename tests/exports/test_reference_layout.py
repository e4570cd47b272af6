"""Copies of caches as the reference library reads them."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from phyagi_assets.cli import main
from phyagi_assets.formats.cache_folder import array_files
from phyagi_assets.formats.token_file import open_tokens
from phyagi_assets.store.base import Artifact
from tests.s3 import S3Server
from tests.steps.pieces import build_stores


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return build_stores(tmp_path_factory.mktemp("reference"))


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], env={"COLUMNS": "200"})


def store_of(artifact: Artifact) -> Path:
    return artifact.path.parents[3]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", ["all", "c", "plain"])
def test_pieces_are_joined_to_the_arrays_of_one_file(stores: dict[str, Artifact], tmp_path: Path, name: str) -> None:
    done = run("copy", "--layout", "reference", store_of(stores["pieces"]), tmp_path / "out", name)
    assert (done.exit_code, "1 version copied" in done.stdout) == (0, True), done.output
    copied, one = tmp_path / "out" / "c" / "all", contents(stores["one"].path)
    found = contents(copied)
    assert found.keys() == one.keys()
    assert {file: content for file, content in found.items() if file != "manifest.json"} == {
        file: content for file, content in one.items() if file != "manifest.json"
    }
    tokens = open_tokens(copied / "train.npy")
    assert np.array_equal(tokens.ids, np.load(stores["one"].path / "train.npy"))
    assert tokens.vocabulary
    assert pickle.loads((copied / "tokenizer.pkl").read_bytes()).vocab_size
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["c"]


def test_copy_that_is_there_is_not_written_again_and_a_damaged_one_is(stores: dict[str, Artifact], tmp_path: Path) -> None:
    words = ("copy", "--layout", "reference", store_of(stores["pieces"]), tmp_path / "out")
    assert run(*words).exit_code == 0
    before = contents(tmp_path / "out")
    array = tmp_path / "out" / "c" / "all" / "train.npy"
    stamp = array.stat().st_mtime_ns
    assert "0 versions copied (0B), 1 there already" in run(*words).stdout
    assert array.stat().st_mtime_ns == stamp
    array.write_bytes(b"half")
    assert "1 version copied" in run(*words).stdout
    assert contents(tmp_path / "out") == before


def test_foreign_folder_and_damaged_piece_are_refused(stores: dict[str, Artifact], tmp_path: Path) -> None:
    foreign = tmp_path / "out" / "c" / "all"
    foreign.mkdir(parents=True)
    (foreign / "mine.txt").write_text("mine")
    refused = run("copy", "--layout", "reference", store_of(stores["pieces"]), tmp_path / "out")
    assert (refused.exit_code, "is there already, and is not a copy of a cache" in refused.stderr) == (1, True), refused.output
    shutil.copytree(store_of(stores["pieces"]), tmp_path / "store", symlinks=True)
    name = array_files(stores["pieces"].manifest, "train")[2]
    (piece,) = (tmp_path / "store").rglob(name)
    content = bytearray(piece.read_bytes())
    content[-1] ^= 1
    piece.write_bytes(content)
    refused = run("copy", "--layout", "reference", tmp_path / "store", tmp_path / "other")
    assert (refused.exit_code, f"{name}: its content is not what was written" in refused.stderr) == (1, True), refused.output
    assert not list((tmp_path / "other").rglob("*.npy"))


def test_copies_from_and_to_a_bucket_are_the_same(stores: dict[str, Artifact], s3: S3Server, tmp_path: Path) -> None:
    assert run("copy", store_of(stores["pieces"]), "s3://raw/lab/pieces").exit_code == 0
    for source, target in ((store_of(stores["pieces"]), tmp_path / "a"), ("s3://raw/lab/pieces", tmp_path / "b")):
        done = run("copy", "--layout", "reference", source, target)
        assert done.exit_code == 0, done.output
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    words = ("copy", "--layout", "reference", "s3://raw/lab/pieces", "s3://raw/lab/reference")
    assert "1 version copied" in run(*words).stdout
    assert "1 there already" in run(*words).stdout
    keys = {key.removeprefix("lab/reference/") for key in s3.listed() if key.startswith("lab/reference/")}
    assert keys == set(contents(tmp_path / "a"))
