"""Unreadable sources are named one by one, published artifacts stay, and repaired sources are built as if they had never been bad.

Interrupted, truncated and corrupted transfers are tested in tests/sources/test_object_store.py and test_transfer.py.
"""

import gzip
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from tests.robustness.command import Command
from tests.robustness.damage import cut_short, flip_bit
from tests.robustness.readers import what_is_published
from tests.robustness.reference_stores import ReferenceStores, check_whole, materialize, staging_leftovers
from tests.support import build, copy_store, declare, declare_corpus, make_unreadable, write_jsonl, write_text


@dataclass(frozen=True, kw_only=True)
class Bad:
    """Functions that write a file and damage it, and the expected message."""

    write: Callable[[Path, str], object]
    spoil: Callable[[Path], object]
    said: str


def write_lines(path: Path, word: str) -> None:
    write_jsonl(path, [f"{word} note {i}. " * (i % 5) for i in range(400)])


def write_gzip(path: Path, word: str) -> None:
    write_lines(path, word)
    path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))


def write_parquet(path: Path, word: str) -> None:
    pa.parquet.write_table(pa.table({"text": [f"{word} row {i}. " * (i % 5) for i in range(400)]}), path)


def write_verse(path: Path, word: str) -> None:
    write_text(path, f"A {word} verse,\nand another.\n" * 200)


def put_line(line: bytes) -> Callable[[Path], None]:
    """Return a function that replaces the seventh line of a file."""

    def put(path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:6], line + b"\n", *lines[7:]]))

    return put


BAD = {
    "flipped.jsonl.gz": Bad(write=write_gzip, spoil=flip_bit, said=" cannot be read: .+"),
    "short.jsonl.gz": Bad(write=write_gzip, spoil=cut_short, said=" cannot be read: .+"),
    "cut.parquet": Bad(write=write_parquet, spoil=cut_short, said=" is not a Parquet file, or a damaged one: .+"),
    "row.jsonl": Bad(write=write_lines, spoil=put_line(b'{"text": "cut'), said=" row 7: is not JSON: .+; correct the row, .+"),
    "letters.txt": Bad(write=write_verse, spoil=put_line(b"caf\xe9"), said="7: is not UTF-8: byte 0xe9 .+; convert .+"),
    "unreadable.txt": Bad(write=write_verse, spoil=make_unreadable, said=" cannot be read: (Input/output error|Permission denied)"),
}


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A data folder with a corpus of files in several formats, one partition per file, and a mixture of it."""
    data = tmp_path / "data"
    declare_corpus(data, "shelf", "raw/*", partition_by="file")
    declare(data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": "shelf"}])
    return data


def fill(shelf: Path, word: str) -> None:
    """Rewrite all files of the corpus."""
    shutil.rmtree(shelf / "raw", ignore_errors=True)
    (shelf / "raw").mkdir()
    write_verse(shelf / "raw" / "sound.txt", word)
    for name, bad in BAD.items():
        bad.write(shelf / "raw" / name, word)


def build_undisturbed(data: Path, store: Path) -> None:
    """Build everything that is stale, without Dagster."""
    catalog, workspace = load_catalog(data), Workspace(data=data, store=LocalStore(store))
    built = {name: list(build(corpus, workspace)) for name, corpus in catalog.corpora.items()}
    build_mixture(catalog.mixtures["mix"], catalog.corpora, built, workspace)


def test_bad_inputs_are_named_the_rest_is_built_and_fixed_ones_are_built_later(
    reference: ReferenceStores, shelf: Path, tmp_path: Path
) -> None:
    uninterrupted = copy_store(reference.prepared, tmp_path / "uninterrupted")
    fill(shelf, "old")
    build_undisturbed(shelf, uninterrupted)
    store, before = copy_store(uninterrupted, tmp_path / "store"), what_is_published(uninterrupted)
    fill(shelf, "new")
    build_undisturbed(shelf, uninterrupted)
    for name, bad in BAD.items():
        bad.spoil(shelf / "raw" / name)

    done = materialize(shelf, store).ended()
    assert done.code == 1, done.said
    for name, bad in BAD.items():
        where = f"error: shelf/{name.partition('.')[0]}: {shelf / 'raw' / name}"
        assert re.search(f"^{re.escape(where)}:{bad.said}$", done.said, re.MULTILINE), (name, done.said)
    assert f"1 built, 0 up to date, {len(BAD) + 1} failed" in done.said
    assert "error: mix: not built, because of shelf/cut, shelf/flipped" in done.said
    assert "Traceback" not in done.said
    published = what_is_published(store)
    assert {f"{name}: {of}" for name, of in before.items() if not re.match(r"shelf/raw_dataset|shelf/\w+/.versions/sound@", name)} <= {
        f"{name}: {of}" for name, of in published.items()
    }
    assert staging_leftovers(store) == []

    fill(shelf, "new")
    following = materialize(shelf, store).ended()
    assert following.code == 0, following.said
    for one in (store, uninterrupted):  # the files as they were, bad, had been pinned by their digests
        assert Command("clean", "--yes", "--grace", "0", "--data", shelf, "--store", one, log=tmp_path / "log").ended().code == 0
    check_whole(reference, store, like=uninterrupted)


def test_dangling_link_is_not_treated_as_a_removed_file(reference: ReferenceStores, tmp_path: Path) -> None:
    data, store = shutil.copytree(reference.data, tmp_path / "data"), copy_store(reference.built, tmp_path / "store")
    hamlet = data / "raw" / "hamlet.txt"
    hamlet.rename(tmp_path / "elsewhere")
    hamlet.symlink_to(tmp_path / "nowhere")
    done = materialize(data, store).ended()
    assert done.code == 1, done.said
    assert f"error: plays: {hamlet}: is a link to {tmp_path / 'nowhere'}, which does not exist; correct the link, or remove it" in done.said
    assert "error: mix: not built, because of plays" in done.said
    check_whole(reference, store, like=reference.built)
    hamlet.unlink()
    hamlet.symlink_to(tmp_path / "elsewhere")
    (data / "raw" / ".#tempest.txt").symlink_to("somebody@somewhere.1:2")  # with which an editor says that it has a file open
    following = materialize(data, store).ended()
    assert "0 built, 5 up to date, 0 failed" in following.said
    check_whole(reference, store, like=reference.built)
