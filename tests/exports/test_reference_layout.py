"""Copies of caches as the reference library reads them."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from phyagi_assets.cli import main
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.formats.cache_folder import array_files
from phyagi_assets.formats.token_file import open_tokens
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from tests.s3 import S3Server
from tests.steps.pieces import build_stores
from tests.support import build, declare, declare_corpus, write_jsonl


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


def test_existing_copy_is_kept_and_a_damaged_one_is_written_again(stores: dict[str, Artifact], tmp_path: Path) -> None:
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
    assert (refused.exit_code, "already exists, and is not a copy of a cache" in refused.stderr) == (1, True), refused.output
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


def test_partition_that_changed_during_a_run_is_copied_in_its_last_version(tmp_path: Path) -> None:
    data, source = tmp_path / "data", tmp_path / "data" / "c.jsonl"
    workspace = Workspace(data=data, store=LocalStore(data / "store"))
    save_byte_tokenizer(data / "bytes")
    declare_corpus(data, "c", "c.jsonl", tokenizer="bytes", engine="tokenizers")
    for name in ("old", "new"):
        declare(data, "mixtures", name=name, seq_len=8, datasets=[{"corpus": "c"}])
    catalog = load_catalog(data)

    def refresh(text: str, mixtures: tuple[str, ...], at: int | None = None) -> bytes:
        write_jsonl(source, [text])
        (steps,) = build(catalog.corpora["c"], workspace).values()
        for name in mixtures:
            assert not build_mixture(catalog.mixtures[name], catalog.corpora, {"c": ["all"]}, workspace, at).failures
        return (steps[2].artifact.path / "train.npy").read_bytes()

    before = refresh("a" * 100, ("old", "new"))
    texts = [refresh("bc"[i] * 100, ("new",), 4 * (i + 1)) for i in range(2)]
    words = ("copy", "--layout", "reference", data / "store", tmp_path / "out")
    for name in ("new", "c", "all"):
        done = run(*words, name)
        assert (done.exit_code, f"{int(name == 'new')} version" in done.stdout) == (0, True), done.output
        assert (tmp_path / "out" / "c" / "all" / "train.npy").read_bytes() == texts[-1]
    assert run(*words, "old").exit_code == 0
    assert (tmp_path / "out" / "c" / "all" / "train.npy").read_bytes() == before
    for names, message in {
        ("old", "new"): "'new' and 'old' name different versions of c/numpy_cache/all",
        ("nope",): "'nope' is not a corpus or mixture",
    }.items():
        refused = run(*words, *names)
        assert (refused.exit_code, message in refused.stderr) == (1, True), refused.output
    assert "another run" not in run("copy", data / "store", tmp_path / "all").stderr
