"""Cache folders that are replaced as a whole."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.standalone_cache import draft_in, replace_cache
from phyagi_assets.store.manifest import Manifest
from tests.support import write_text


def wanted(made_of: str = "this") -> Manifest:
    return Manifest.expected("test", code_version="1", inputs={"of": made_of}, settings={})


def filled(**files: str) -> Callable[[Path], Manifest]:
    """Return a function that writes files; in a name, two underscores become a slash, and one becomes a dot."""

    def fill(draft: Path) -> Manifest:
        for name, content in files.items():
            write_text(draft / name.replace("__", "/").replace("_", "."), content)
        return replace(wanted(), counts={"files": len(files)})

    return fill


def files(folder: Path) -> dict[str, str]:
    """Return the content of every file except the manifest, including hidden files."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(found)}


def test_manifest_lists_every_file(tmp_path: Path) -> None:
    cache = tmp_path / "some" / "cache"
    manifest = replace_cache(cache, wanted(), filled(train_npy="1 2", tokenizer__tokenizer_json="{}"))
    assert Manifest.read(cache) == manifest
    assert (set(manifest.files), manifest.counts) == ({"train.npy", "tokenizer/tokenizer.json"}, {"files": 2})
    assert not manifest.damage(cache, checksums=True)


def test_replaced_cache_loses_its_files_and_no_others(tmp_path: Path) -> None:
    replace_cache(tmp_path, wanted(), filled(train_npy="1", validation_npy="2", odd_npy="3", tokenizer__merges_txt="a b"))
    write_text(tmp_path / "notes.txt", "mine")
    write_text(tmp_path / "train" / "data.arrow", "mine too")
    replace_cache(tmp_path, wanted("that"), filled(train_npy="4", tokenizer__vocab_json="{}"))
    mine = {"notes.txt": "mine", "train/data.arrow": "mine too"}
    assert files(tmp_path) == {"train.npy": "4", "tokenizer/vocab.json": "{}", **mine}


def test_replaced_cache_without_a_manifest_loses_its_splits(tmp_path: Path) -> None:
    for name in ("train.npy", "validation.npy", "validation_labels.npy", "validation.documents.npy", "notes.npy"):
        write_text(tmp_path / name, "old")
    replace_cache(tmp_path, wanted(), filled(train_npy="new"))
    assert files(tmp_path) == {"train.npy": "new", "notes.npy": "old"}


def test_manifest_with_paths_elsewhere_deletes_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    mine = [write_text(tmp_path / "mine.txt", "mine"), write_text(tmp_path / "more.txt", "mine")]
    replace_cache(cache, wanted(), filled(train_npy="1", odd_npy="2"))
    record = json.loads((cache / "manifest.json").read_text())
    record["files"] |= dict.fromkeys(["../mine.txt", str(mine[1])], record["files"]["train.npy"])
    write_text(cache / "manifest.json", json.dumps(record))
    replace_cache(cache, wanted(), filled(train_npy="3"))
    assert files(cache) == {"train.npy": "3"}
    assert all(path.read_text() == "mine" for path in mine)


@pytest.mark.parametrize("is_link", [False, True])
def test_folder_with_foreign_files_is_not_replaced(tmp_path: Path, is_link: bool) -> None:
    cache = tmp_path / "cache"
    if is_link:
        write_text(tmp_path / "mine" / "tokenizer.json", "mine")
        cache.mkdir()
        (cache / "tokenizer").symlink_to(tmp_path / "mine")
    else:
        replace_cache(cache, wanted(), filled(train_npy="1", tokenizer__vocab_json="{}"))
        write_text(cache / "tokenizer" / "notes.txt", "mine")
    before = files(tmp_path)
    with pytest.raises(StoreError, match=r"is not a file of the cache in .*; move it elsewhere"):
        replace_cache(cache, wanted("that"), filled(train_npy="2", tokenizer__vocab_json="[]"))
    assert files(tmp_path) == before


def test_failure_leaves_only_the_former_cache(tmp_path: Path) -> None:
    replace_cache(tmp_path, wanted(), filled(train_npy="1", validation_npy="2"))
    before = files(tmp_path), Manifest.read(tmp_path)

    def failing(draft: Path) -> Manifest:
        filled(train_npy="3", tokenizer__vocab_json="{}")(draft)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        replace_cache(tmp_path, wanted("that"), failing)
    assert (files(tmp_path), Manifest.read(tmp_path)) == before
    assert not list(tmp_path.glob(".*"))


OLD = {"train.npy": "1", "validation.npy": "2"}
NEW = {"train.npy": "3", "test.npy": "4"}


def replace_and_die(cache: Path, change: int) -> bool:
    """Replace a cache in a process that kills itself before one of its changes; return whether it died."""
    process = os.fork()
    if process == 0:
        left = iter(range(change, -1, -1))

        def die(event: str, _arguments: object) -> None:
            if event in {"os.rename", "os.remove", "os.mkdir", "os.rmdir"} and next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(die)
        replace_cache(cache, wanted("that"), filled(train_npy="3", test_npy="4"))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL


def test_cache_killed_at_any_change_is_the_old_one_the_new_one_or_not_trusted(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    seen = []
    for change in range(0, 100, 1 if pytestconfig.getoption("soak") else 3):
        cache = tmp_path / str(change)
        replace_cache(cache, wanted(), filled(train_npy="1", validation_npy="2"))
        died = replace_and_die(cache, change)
        known = Manifest.read(cache).files
        assert {name: (cache / name).read_text() for name in known} in (OLD, NEW, {})
        seen.append(set(known))
        if not died:
            break
    assert (seen[0], seen[-1]) == (set(OLD), set(NEW))
    assert set() in seen
    replace_cache(tmp_path / "3", wanted(), filled(train_npy="1"))
    assert files(tmp_path / "3") == {"train.npy": "1"}


KILLED = """
import os, signal, sys, time
from pathlib import Path
from phyagi_assets.formats.standalone_cache import draft_in
with draft_in(Path(sys.argv[1])) as draft:
    (draft / "train.npy").write_text("half")
    print(draft.name, flush=True)
    time.sleep(60)
"""


def test_draft_of_a_killed_process_is_deleted_and_draft_of_a_live_one_is_kept(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        draft = tmp_path / process.stdout.readline().strip()
        replace_cache(tmp_path, wanted(), filled(train_npy="1"))
        assert files(draft) == {"train.npy": "half"}
        os.kill(process.pid, signal.SIGKILL)
    assert draft.is_dir()
    replace_cache(tmp_path, wanted(), filled(train_npy="2"))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["manifest.json", "train.npy"]


def test_concurrent_writers_leave_one_complete_cache(tmp_path: Path) -> None:
    def write(number: int) -> None:
        replace_cache(tmp_path, wanted(str(number)), filled(**{f"split{number}_npy": "x" * number, "train_npy": str(number)}))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(40)))
    manifest = Manifest.read(tmp_path)
    assert not manifest.damage(tmp_path, checksums=True)
    number = int((tmp_path / "train.npy").read_text())
    assert files(tmp_path) == {"train.npy": str(number), f"split{number}.npy": "x" * number}


def test_draft_is_a_separate_folder(tmp_path: Path) -> None:
    with draft_in(tmp_path / "cache") as one, draft_in(tmp_path / "cache") as other:
        assert one != other
        assert one.is_dir()
    assert not list((tmp_path / "cache").iterdir())
