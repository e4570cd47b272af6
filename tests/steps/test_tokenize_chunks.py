"""Chunks of a partition encoded by several processes: the same artifacts and errors as with one process."""

import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_from_disk

from phyagi_assets.build.executors import new_executor
from phyagi_assets.build.partitions import build_partitions
from phyagi_assets.build.tasks import Builder
from phyagi_assets.build.work import work_of
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.document_id import document_id
from phyagi_assets.declare.removals import Removal, add_removals
from phyagi_assets.errors import PhyagiAssetsError, SourceError
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.cache import build_cache
from phyagi_assets.steps.flow import FLOW
from phyagi_assets.steps.lengths import row_lengths
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.step import Built, Workspace
from phyagi_assets.steps.text_hashes import text_hashes
from phyagi_assets.steps.tokenize import TOKENIZE, build_tokenized
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from phyagi_assets.tokenizers.engine_pool import GIGATOKEN, EnginePool
from tests.support import copy_store, declare_corpus, write_jsonl, write_text
from tests.tokenizers.faulty_engines import WRONG_ABOUT_BEWARE, give_report, store_contents, trusting

BYTES = "tokenizers/bytes"
TEXTS = [f"document {i}: " + "words and more of them " * (i % 7) if i % 11 else "" for i in range(400)]


@pytest.fixture(scope="module")
def byte_data(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path) -> Path:
    """A data folder and a store in which a tokenizer of bytes is prepared: each process loads its engines, those of GPT-2 in a second."""
    data = tmp_path_factory.mktemp("bytes") / "data"
    save_byte_tokenizer(data / BYTES)
    give_report(declare(data, "c", "c.txt"), GIGATOKEN.name, data, LocalStore(data / "store"), LocalStore(prepared_store))
    shutil.rmtree(data / "corpora")
    return data


@pytest.fixture
def workspace(byte_data: Path, data: Path, engines: EnginePool) -> Workspace:
    """A workspace with chunks of 4 KB: some ten of a file here."""
    copy_store(byte_data / "store", data / "store")
    shutil.copytree(byte_data / BYTES, data / BYTES, dirs_exist_ok=True)
    return Workspace(data=data, store=LocalStore(data / "store"), engines=engines, chunk_bytes=4096)


def declare(data: Path, name: str, path: str, **keys: Any) -> Corpus:
    """Declare a corpus with the tokenizer of bytes."""
    return declare_corpus(data, name, path, tokenizer=BYTES, **keys)


def encode(corpus: Corpus, partition: Partition, workspace: Workspace, processes: int, on_progress: Callable[[int], Any]) -> None:
    """Encode a partition whose raw artifact is built."""
    builder = Builder(corpora={corpus.config.name: corpus}, workspace=workspace)
    work = [work_of(corpus, partition, [TOKENIZE.name], workspace, FLOW)]
    executor = new_executor(builder, work, processes, on_start=id, on_progress=lambda _work, consumed: on_progress(consumed))
    (result,) = build_partitions(work, executor)
    if result.problem:
        raise result.problem


def built(corpus: Corpus, workspace: Workspace, processes: int, on_progress: Callable[[int], None] = id) -> tuple[Built, dict[str, str]]:
    """Return the tokenized artifact and the content of the store, and restore the store."""
    before = workspace.store.root.with_name("before")
    shutil.copytree(workspace.store.root, before, symlinks=True)
    try:
        (partition,) = workspace.sources.partitions(corpus).values()
        build_raw(corpus, partition, workspace)
        encode(corpus, partition, workspace, processes, on_progress)
        tokenized = build_tokenized(corpus, partition, workspace)
        assert tokenized.reused
        build_cache(corpus, partition, workspace)
        found = store_contents(workspace.store.root)
        rows = load_from_disk(str(tokenized.artifact.path))
        assert len(rows) == tokenized.artifact.manifest.counts["documents"]
        assert row_lengths(tokenized.artifact).tolist() == rows["length"][:]
        return tokenized, found
    finally:
        shutil.rmtree(workspace.store.root)
        before.rename(workspace.store.root)


def check_alike(corpus: Corpus, workspace: Workspace, pieces: int) -> Built:
    """Assert that two processes build the same bytes and report the same progress as one."""
    told: tuple[list[int], list[int]] = ([], [])
    _, alone = built(corpus, workspace, 1, told[0].append)
    tokenized, together = built(corpus, workspace, 2, told[1].append)
    assert together == alone
    assert sum(told[0]) == sum(told[1]) > 0
    assert len([name for name in tokenized.artifact.manifest.files if name.endswith(".arrow")]) == pieces
    assert multiprocessing.active_children() == []
    return tokenized


def test_chunks_of_json_lines_give_the_rows_of_one_process(workspace: Workspace) -> None:
    rows: list[str | None] = [*TEXTS[:200], None, *TEXTS[200:]]
    size = write_jsonl(workspace.data / "c.jsonl", rows).stat().st_size
    corpus = declare(workspace.data, "c", "c.jsonl", on_invalid="skip", splits={"validation": 0.2})
    tokenized = check_alike(corpus, workspace, size // 4096)
    counts = tokenized.artifact.manifest.counts
    assert (counts["documents"], counts["invalid"], counts["empty"]) == (len(TEXTS), 1, TEXTS.count(""))


def test_chunks_of_parquet_give_the_rows_of_one_process(workspace: Workspace) -> None:
    pq.write_table(pa.table({"text": TEXTS}), workspace.data / "c.parquet", row_group_size=10, compression="none", use_dictionary=False)
    tokenized = check_alike(declare(workspace.data, "c", "c.parquet"), workspace, 10)
    assert tokenized.artifact.manifest.counts["documents"] == len(TEXTS)


def test_chunks_of_many_files_give_the_rows_of_one_process(workspace: Workspace) -> None:
    for i in range(100):
        write_text(workspace.data / "raw" / f"{i:02}.txt", f"document {i} " * 15)
    check_alike(declare(workspace.data, "c", "raw/*.txt"), workspace, 5)


def test_chunks_without_documents_are_written(workspace: Workspace) -> None:
    write_jsonl(workspace.data / "c.jsonl", [*TEXTS[1:3], *[None] * 1000, *TEXTS[1:3]])
    tokenized = check_alike(declare(workspace.data, "c", "c.jsonl", on_invalid="skip"), workspace, 3)
    assert tokenized.artifact.manifest.counts["documents"] == 4


def test_excluded_documents_are_left_out_of_every_chunk(workspace: Workspace) -> None:
    write_jsonl(workspace.data / "c.jsonl", TEXTS)
    corpus = declare(workspace.data, "c", "c.jsonl")
    gone = map(document_id, text_hashes(pa.array([TEXTS[1], TEXTS[399]])).tolist())
    add_removals(corpus, [Removal(id=one) for one in gone])
    tokenized = check_alike(corpus, workspace, 8)
    assert tokenized.artifact.manifest.counts["removed"] == 2


def test_mismatch_in_one_chunk_encodes_all_chunks_with_the_reference(workspace: Workspace) -> None:
    write_jsonl(workspace.data / "c.jsonl", [*TEXTS[:300], "beware", *TEXTS[300:]])
    corpus = declare(workspace.data, "c", "c.jsonl", verify="full")
    _, wanted = built(corpus, workspace, 1)
    doubted = trusting(workspace, corpus, WRONG_ABOUT_BEWARE)
    tokenized, found = built(corpus, doubted, 2)
    assert tokenized.artifact.manifest.produced_with["engine"].startswith("tokenizers ")
    rows = {name: digest for name, digest in found.items() if name.endswith((".arrow", ".npy"))}
    assert rows
    assert rows.items() <= wanted.items()


def test_verified_sample_does_not_depend_on_the_number_of_processes(workspace: Workspace) -> None:
    write_jsonl(workspace.data / "c.jsonl", [*["well"] * 500, *["beware"] * 300, *["well"] * 500])
    corpus = declare(workspace.data, "c", "c.jsonl")
    doubted = trusting(workspace, corpus, WRONG_ABOUT_BEWARE)
    (alone, found), (together, found_together) = built(corpus, doubted, 1), built(corpus, doubted, 2)
    engines = [tokenized.artifact.manifest.produced_with["engine"].split()[0] for tokenized in (alone, together)]
    assert engines == ["tokenizers", "tokenizers"]
    assert found == found_together


def failing(corpus: Corpus, workspace: Workspace, refusal: str, on_progress: Callable[[int], Any] = id) -> None:
    (partition,) = workspace.sources.partitions(corpus).values()
    build_raw(corpus, partition, workspace)
    before = store_contents(workspace.store.root)
    with pytest.raises(PhyagiAssetsError, match=refusal) as refused:
        encode(corpus, partition, workspace, 2, on_progress)
    assert isinstance(refused.value, SourceError) or "process" in refusal
    assert store_contents(workspace.store.root) == before
    assert list((workspace.store.root / "c" / "tokenized_arrow" / ".staging").glob("*")) == []
    assert multiprocessing.active_children() == []


def test_invalid_row_is_named_and_no_files_are_left(workspace: Workspace) -> None:
    write_jsonl(workspace.data / "c.jsonl", [*TEXTS, None])
    failing(declare(workspace.data, "c", "c.jsonl"), workspace, r"c\.jsonl: row 401: 'text' is null; correct the row")


def test_first_error_in_file_order_is_raised(workspace: Workspace) -> None:
    write_jsonl(workspace.data / "c.jsonl", [{"words": text} for text in TEXTS])
    failing(declare(workspace.data, "c", "c.jsonl"), workspace, r"c\.jsonl: has no column 'text'; its rows have words")


def test_chunk_of_a_killed_process_is_encoded_again(workspace: Workspace) -> None:
    killed: list[int] = []

    def kill_one(_consumed: int) -> None:
        if not killed:
            killed.append(multiprocessing.active_children()[0].pid or 0)
            multiprocessing.active_children()[0].kill()

    write_jsonl(workspace.data / "c.jsonl", TEXTS * 20)
    corpus = declare(workspace.data, "c", "c.jsonl")
    assert built(corpus, workspace, 2, kill_one)[0].artifact.manifest.counts["documents"] == 20 * len(TEXTS)
    assert killed


@pytest.mark.parametrize(("documents", "has_others"), [(20, False), (400, True)])
def test_single_chunk_is_encoded_by_the_calling_process(workspace: Workspace, documents: int, has_others: bool) -> None:
    others: list[int] = []
    write_jsonl(workspace.data / "c.jsonl", TEXTS[:documents])
    corpus = declare(workspace.data, "c", "c.jsonl")
    found = built(corpus, workspace, 2, lambda _bytes: others.append(len(multiprocessing.active_children())))
    assert found[0].artifact.manifest.counts["documents"] == documents
    assert any(others) is has_others
