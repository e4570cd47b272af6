"""Helpers of several tests: declare and build small data folders."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.corpus_schema import CorpusConfig, Format
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.sources import csv_reader, readers, rows, table_readers
from phyagi_assets.sources.files import Partition, Span
from phyagi_assets.sources.listing import Sources
from phyagi_assets.sources.local_file import LocalFile
from phyagi_assets.sources.readers import read_blocks
from phyagi_assets.sources.rows import ReadOptions, Rows
from phyagi_assets.steps.cache import build_cache
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.step import Built, Workspace
from phyagi_assets.steps.tokenize import build_tokenized
from phyagi_assets.store.disk import link
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.ownership import LOCKS

REPOSITORY = Path(__file__).parents[1]
DATA = REPOSITORY / "data"
GPT2 = DATA / "tokenizers" / "gpt2"
NOBODY = 65_534
"""A user without files."""
SMALL_EOS = 256 + 1024
"""EOS of the small tokenizer."""
PARTITION_STEPS = ("raw_dataset", "tokenized_arrow", "numpy_cache")
"""Steps that are built per partition, in the order of the flow."""


def declare(data: Path, kind: str, **keys: Any) -> Path:
    """Write ``<kind>/<name>.yaml``."""
    path = data / kind / f"{keys['name']}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(keys, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def declare_corpus(data: Path, name: str, path: str, **keys: Any) -> Corpus:
    """Declare a corpus with the GPT-2 tokenizer; `keys` add keys or replace the default ones."""
    source = {"path": path, **keys.pop("source", {})}
    declared = declare(data, "corpora", **{"name": name, "source": source, "tokenizer": str(GPT2), **keys})
    return load_yaml(declared, CorpusConfig)


def write_text(path: Path, text: str | bytes) -> Path:
    """Write a file without changes to its content, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def make_unreadable(path: Path) -> None:
    """Make a file unreadable, even for root, who can read files without permission but not after an I/O error."""
    if os.geteuid():
        path.chmod(0)
    else:
        path.unlink()
        path.symlink_to("/proc/self/mem")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any] | str | None]) -> Path:
    """Write rows as JSON Lines; a string or None is the text of a row."""
    records = (row if isinstance(row, Mapping) else {"text": row} for row in rows)
    return write_text(path, "".join(json.dumps(record) + "\n" for record in records))


def list_partitions(corpus: Corpus, data: Path) -> dict[str, Partition]:
    """List a local source."""
    return Sources(data, LocalStore(data / "unused")).partitions(corpus)


def local_file(path: Path) -> LocalFile:
    """Return a source file."""
    return LocalFile(name=path.name, origin=str(path), path=path)


def small_blocks(patch: pytest.MonkeyPatch, size: int) -> None:
    """Read sources in blocks of a size, in bytes."""
    for module in (csv_reader, readers, rows, table_readers):
        patch.setattr(module, "BLOCK", size)


def read_rows(span: Span, kind: Format, options: ReadOptions) -> Iterator[Rows]:
    """Stream the rows of a file."""
    return (found for block in read_blocks(span, kind, options) for found in block.rows())


def build(corpus: Corpus, workspace: Workspace) -> dict[str, list[Built]]:
    """Build the chain of every partition: raw, tokenized, cache."""
    return {key: build_partition(corpus, partition, workspace) for key, partition in workspace.sources.partitions(corpus).items()}


def build_partition(corpus: Corpus, partition: Partition, workspace: Workspace) -> list[Built]:
    """Build the chain of one partition."""
    return [step(corpus, partition, workspace) for step in (build_raw, build_tokenized, build_cache)]


def copy_store(store: Path, to: Path) -> Path:
    """Copy a store, or a data folder with its store, without its locks.

    Versions are never edited, so their files are linked if possible. A linked lock file would be one lock of both stores. Dagster's
    databases are copied.
    """
    aside = shutil.ignore_patterns(".dagster", LOCKS)
    shutil.copytree(store, to, symlinks=True, copy_function=lambda source, target: link(Path(source), Path(target)), ignore=aside)
    if (store / ".dagster").exists():
        shutil.copytree(store / ".dagster", to / ".dagster")
    return to


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system in memory on a new folder; the test is skipped if mounting is not permitted."""
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def as_user(user: int, groups: Sequence[int], action: Callable[[], object], umask: int = 0o022) -> str:
    """Call a function as another user in a new process, and return its result or error as text.

    The test is skipped if that is not permitted.
    """
    if os.getuid() != 0:
        pytest.skip("becoming another user needs root")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups(groups)
            os.setgid(user)
            os.setuid(user)
            os.umask(umask)
            said = f"{action()}"
        except BaseException as problem:
            said = f"{type(problem).__name__}: {problem}"
        os.write(writing, said.encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def copy_data(data: Path, to: Path) -> Path:
    """Copy a data folder, of which all may be edited, and the store in it."""
    shutil.copytree(data, to, ignore=lambda folder, _: ["store"] * (Path(folder) == data), dirs_exist_ok=True)
    copy_store(data / "store", to / "store")
    return to


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that the first test process to need it creates for all test processes."""
    base = factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / name
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            draft = shared.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            make(draft)
            draft.rename(shared)
    return shared


def save_small_gpt2(folder: Path) -> Path:
    """Save GPT-2's tokenizer with its first 1,024 merges, which is loaded and saved in a fraction of the time."""
    folder.mkdir(parents=True)
    vocabulary = json.loads((GPT2 / "vocab.json").read_text(encoding="utf-8"))
    fewer = {token: number for token, number in vocabulary.items() if number < SMALL_EOS} | {"<|endoftext|>": SMALL_EOS}
    (folder / "vocab.json").write_text(json.dumps(fewer), encoding="utf-8")
    version, *merges = (GPT2 / "merges.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "merges.txt").write_text(version + "".join(merges[: SMALL_EOS - 256]), encoding="utf-8")
    shutil.copy(GPT2 / "tokenizer_config.json", folder)
    return folder


def sampled_code_points() -> list[int]:
    """Return all code points of the blocks with scripts and symbols, and 64 of every 2,048 elsewhere.

    Elsewhere are ideographs, Hangul syllables, private use and planes without characters, where neighbours have the same properties.
    """
    varied = (range(0x3400), range(0xA000, 0xAC00), range(0xF900, 0x17000), range(0x1AFF0, 0x20000))
    neighbours = (range(0x3400, 0xA000), range(0xAC00, 0xD800), range(0xE000, 0xF900), range(0x17000, 0x1AFF0), range(0x20000, 0x110000))
    sampled = (point for block in neighbours for point in block if point % 2048 < 64 or point in (block[0], block[-1]))
    return [*chain.from_iterable(varied), *sampled]
