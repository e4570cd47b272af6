"""Objects that are read in their bucket: the same arrays as from copies, every byte fetched once, and changes noticed."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import pickle
import shutil
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phyagi_assets.build.examine import examine_partitions
from phyagi_assets.build.outcome import PartitionResult
from phyagi_assets.build.scan import scan_source
from phyagi_assets.build.staleness import partition_artifacts
from phyagi_assets.build.tasks import Builder, PartitionTask
from phyagi_assets.build.work import CHECK_FAILED, stale_partitions
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.removals import Removal, add_removals
from phyagi_assets.errors import SourceDownError, SourceError
from phyagi_assets.inspection.documents import matching
from phyagi_assets.objects.retries import RetryPolicy
from phyagi_assets.steps.flow import FLOW
from phyagi_assets.steps.pins import has_pins, pins_of
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.step import Built, Workspace
from phyagi_assets.steps.tokenize import build_tokenized, token_chunks
from phyagi_assets.store.bucket_store import BucketStore
from phyagi_assets.store.copying import copy_versions, version_copies
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from phyagi_assets.tokenizers.engine_pool import GIGATOKEN, EnginePool
from phyagi_assets.tokenizers.prepare import tokenizer_store
from tests.bucket_stores import store_in_bucket
from tests.s3 import SECRET, S3Server
from tests.support import build, build_partition, copy_store, declare_corpus
from tests.tokenizers.faulty_engines import give_report

BYTES = "tokenizers/bytes"
ENGINES = EnginePool()
TEXTS = [f"Document {i}: " + "words and more of them " * (i % 9) if i % 11 else "" for i in range(200)]
SOME = TEXTS[:100]
"""Texts of several chunks."""
RETRIES = RetryPolicy(attempts=3, pause=0.0)
SMALLEST = 1 << 14
"""Number of bytes that are read at once to find where a chunk begins."""


@pytest.fixture
def workspace(data: Path, s3: S3Server, prepared_store: Path, tmp_path: Path) -> Workspace:
    """A workspace with chunks of 4 KB, and a store in a bucket in which the tokenizer is prepared."""
    assert s3
    save_byte_tokenizer(data / BYTES)
    prepared = LocalStore(data / "prepared")
    give_report(declare_corpus(data, "corpus", "raw/none.txt", tokenizer=BYTES), GIGATOKEN.name, data, prepared, LocalStore(prepared_store))
    store = store_in_bucket("s3://raw/store", scratch=tmp_path / "scratch", retry_policy=RETRIES)
    for version in tokenizer_store(prepared).versions():
        tokenizer_store(store).put(version)
    return Workspace(data=data, store=store, engines=ENGINES, retry_policy=RETRIES, chunk_bytes=4096)


def declared(data: Path, path: str, **keys: Any) -> Corpus:
    return declare_corpus(data, "corpus", path, tokenizer=BYTES, **{"splits": {"validation": 0.2}, **keys})


def store_root(workspace: Workspace) -> Path:
    assert isinstance(workspace.store, BucketStore)
    return workspace.store.local.root


def again_on(workspace: Workspace) -> Workspace:
    """Return the workspace as the next command sees it."""
    workspace.store.refresh()
    return replace(workspace)


def on_disk(workspace: Workspace) -> Workspace:
    """Return a workspace with a store on a disk, which holds copies."""
    store = LocalStore(workspace.data / "store")
    copy_store(workspace.data / "prepared", store.root)
    return replace(workspace, store=store)


def stale(corpus: Corpus, workspace: Workspace) -> dict[str, list[str]]:
    """Return the stale steps of each partition with any."""
    listed = workspace.sources.partitions(corpus)
    found = {key: [of.step for of in partition_artifacts(corpus, part, workspace) if not of.is_current] for key, part in listed.items()}
    return {key: steps for key, steps in found.items() if steps}


def published(s3: S3Server) -> list[str]:
    return [key for key in s3.listed() if key.startswith("store/corpus/")]


def arrays(chain: list[Built]) -> dict[str, bytes]:
    """Return the token arrays of a partition, with the ends, hashes and origins of the documents."""
    folder = chain[-1].artifact.folder()
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def lines(texts: list[str] = TEXTS, end: str = "\n") -> bytes:
    return "".join(json.dumps({"text": text}) + end for text in texts).encode()


def parquet(rows_per_group: int = 40) -> bytes:
    made = io.BytesIO()
    columns = {"id": list(range(len(TEXTS))), "text": TEXTS, "noise": np.random.default_rng(0).bytes(len(TEXTS) * 40).hex()}
    columns["noise"] = [columns["noise"][80 * i : 80 * i + 80] for i in range(len(TEXTS))]  # type: ignore[index]
    pq.write_table(pa.table(columns), made, row_group_size=rows_per_group)
    return made.getvalue()


def arrow(kind: str) -> bytes:
    made, table = io.BytesIO(), pa.table({"text": SOME})
    writer = (pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file)(made, table.schema)
    writer.write_table(table, max_chunksize=25)
    writer.close()
    return made.getvalue()


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one.jsonl", lines(SOME[:50]))
        archive.writestr("two.jsonl", lines(SOME[50:]))
    return made.getvalue()


def csv(delimiter: str = ",") -> bytes:
    return (f"id{delimiter}text\n" + "".join(f'{i}{delimiter}"{text}"\n' for i, text in enumerate(SOME))).encode()


CHATS = "".join(
    json.dumps({"messages": [{"role": "user", "content": f"Say {i}."}, {"role": "assistant", "content": text or "No."}]}) + "\n"
    for i, text in enumerate(TEXTS)
).encode()
TEMPLATE = "{% for message in messages %}{{ message.role }}: {% generation %}{{ message.content }}{% endgeneration %}\n{% endfor %}"
INVALID = lines()[:9000] + b'{"text": null}\n' + lines(TEXTS[50:]) + b"no json\n"

FORMATS: dict[str, bytes] = {
    "a.jsonl": lines(SOME),
    "crlf.jsonl": b"\xef\xbb\xbf" + lines(SOME, end="\r\n")[:-2],
    "a.jsonl.gz": gzip.compress(lines(SOME)),
    "misnamed.jsonl": gzip.compress(lines(SOME)),
    "a.jsonl.zst": pa.compress(lines(SOME), "zstd", asbytes=True),
    "a.jsonl.xz": lzma.compress(lines(SOME)),
    "a.jsonl.bz2": bz2.compress(lines(SOME)),
    "a.jsonl.zip": zipped(),
    "whole.txt": b"\xef\xbb\xbf" + "\n".join(SOME).encode(),
    "a.csv": csv(),
    "b.tsv": csv("\t"),
    "a.parquet": parquet(),
    "a.arrow": arrow("file"),
    "stream.arrow": arrow("stream"),
    "empty.jsonl": b"",
}
CORPORA: dict[str, tuple[dict[str, bytes], dict[str, Any]]] = {
    "formats": (FORMATS, {"partition_by": "(.+)"}),
    "invalid": ({"a.jsonl": INVALID, "b.jsonl": lines()}, {"on_invalid": "skip"}),
    "chats": ({"a.jsonl": CHATS}, {"messages": "messages", "chat_template": "chat.jinja"}),
    "lines": ({"a.txt": "\n".join(TEXTS).encode()}, {"source": {"sample_by": "line"}}),
    "paragraphs": ({f"{i}.txt": "\n\n".join(TEXTS[i:50]).encode() for i in range(20)}, {"source": {"sample_by": "paragraph"}}),
}


@pytest.mark.parametrize("name", CORPORA)
def test_arrays_are_those_of_copies_and_every_byte_is_fetched_once(name: str, s3: S3Server, workspace: Workspace) -> None:
    files, keys = CORPORA[name]
    for file, content in files.items():
        s3.put(f"source/{file}", content)
    (workspace.data / "chat.jinja").write_text(TEMPLATE)
    corpus = declared(workspace.data, "s3://raw/source/*", **keys)
    placed = build(corpus, workspace)
    sent = {file: s3.faults.sent[f"source/{file}"] for file in files}
    requests = Counter(s3.faults.contents)
    copied = build(corpus, on_disk(workspace))
    for key, chain in placed.items():
        assert arrays(chain) == arrays(copied[key]), key
        counts, details = (chain[1].artifact.manifest.counts, chain[1].artifact.manifest.details)
        assert (counts, details) == (copied[key][1].artifact.manifest.counts, copied[key][1].artifact.manifest.details), key
    for file, content in files.items():
        cuts = len(content) // 4096
        if not file.endswith(".parquet"):  # its footer is larger than a chunk here
            assert sent[file] <= len(content) + 8192 + cuts * 4096, file  # the beginnings of chunks are found by reads of up to their size
        assert requests[f"source/{file}"] <= (1 if name == "paragraphs" else 4 + 4 * cuts), file  # small files, read in one request
    assert not any(path.name in files for path in store_root(workspace).rglob("*") if path.is_file())


def test_snapshot_keeps_copies_in_the_store(s3: S3Server, workspace: Workspace) -> None:
    s3.put("source/a.jsonl", lines())
    placed = build(declared(workspace.data, "s3://raw/source/*"), workspace)["all"]
    assert has_pins(placed[0].artifact)
    copied = build(declared(workspace.data, "s3://raw/source/*", snapshot=True), workspace)["all"]
    assert "files/a.jsonl" in copied[0].artifact.manifest.files
    assert arrays(copied) == arrays(placed)
    # What is published decides as long as it is what the source lists.
    without_key = declared(workspace.data, "s3://raw/source/*")
    assert stale(without_key, workspace) == {}
    shutil.rmtree(store_root(workspace) / ".digests")  # another machine has to read the objects to know that they are the same
    again = build(without_key, again_on(workspace))["all"]
    assert [built.reused for built in again] == [True] * 3
    assert again[0].artifact.fingerprint == copied[0].artifact.fingerprint
    s3.put("source/a.jsonl", lines(TEXTS[:9]))
    changed = build(without_key, again_on(workspace))["all"]
    assert pins_of(changed[0].artifact)["a.jsonl"].origin == "s3://raw/source/a.jsonl"
    assert "files/a.jsonl" not in changed[0].artifact.manifest.files


def test_object_that_changed_after_it_was_pinned_is_an_error_that_names_it(s3: S3Server, workspace: Workspace) -> None:
    s3.put("source/a.jsonl", lines())
    s3.put("source/late/b.jsonl", lines())
    corpus = declared(workspace.data, "s3://raw/source/**/*.jsonl")
    (partition,) = workspace.sources.partitions(corpus).values()
    build_raw(corpus, partition, workspace)
    s3.put("source/late/b.jsonl", lines(TEXTS[:50]))
    before = published(s3)
    pinned, now = (hashlib.md5(lines(texts)).hexdigest() for texts in (TEXTS, TEXTS[:50]))
    with pytest.raises(SourceError) as told:
        build_tokenized(corpus, partition, workspace)
    assert str(told.value).startswith(
        f"s3://raw/source/late/b.jsonl: has changed: it was pinned as ETag {pinned}, {len(lines()):,} bytes, and it is ETag {now}, "
    )
    assert str(told.value).endswith("materialize again to pin what is there now")
    assert published(s3) == before
    s3.delete("source/late")
    with pytest.raises(SourceError, match=r"s3://raw/source/late/b\.jsonl: has changed: .* and it is gone now; materialize again"):
        build_tokenized(corpus, partition, workspace)
    assert published(s3) == before
    assert build(corpus, again_on(workspace))["all"][-1].artifact.manifest.counts["train"]["documents"] > 0


def test_change_after_publication_makes_its_partition_stale_alone(s3: S3Server, workspace: Workspace) -> None:
    for name in "abc":
        s3.put(f"source/{name}.jsonl", lines())
    corpus = declared(workspace.data, "s3://raw/source/*", partition_by="file")
    build(corpus, workspace)
    s3.put("source/a.jsonl", lines())  # the same again
    requests = s3.faults.listings, len(s3.faults.contents)
    assert stale(corpus, again_on(workspace)) == {}
    assert s3.faults.listings - requests[0] <= 1 + 6  # of the source, and of the folders of the three steps
    assert len(s3.faults.contents) == requests[1]
    s3.put("source/b.jsonl", lines(TEXTS[::-1]))
    assert stale(corpus, again_on(workspace)) == {"b": ["raw_dataset", "tokenized_arrow", "numpy_cache"]}
    assert scan_source(corpus, again_on(workspace)).due[0].key == "b"


def test_published_versions_are_recorded_without_being_fetched_unless_a_check_failed(
    s3: S3Server, workspace: Workspace, tmp_path: Path
) -> None:
    s3.put("source/a.jsonl", lines())
    corpus = declared(workspace.data, "s3://raw/source/*")
    build(corpus, workspace)
    elsewhere = replace(workspace, store=store_in_bucket("s3://raw/store", scratch=tmp_path / "elsewhere", retry_policy=RETRIES))
    examined = examine_partitions(corpus, elsewhere.sources.partitions(corpus), elsewhere, FLOW, among=None)
    (unknown,) = stale_partitions(examined, {}, elsewhere, FLOW)
    (failed,) = stale_partitions(examined, {"numpy_cache": {"all": CHECK_FAILED}}, elsewhere, FLOW)
    builder = Builder(corpora={"corpus": corpus}, workspace=elsewhere)
    s3.faults.contents.clear()
    for work, read in ((unknown, 0), (failed, 1)):
        result = builder.run(PartitionTask(work=work), id)
        assert isinstance(result, PartitionResult)
        assert [done.reused for done in result.done] == [True] * 3
        assert result.tokens > 0
        assert [bool(done.checks) for done in result.done] == [False, False, read == 1]
        assert any(key.endswith(".npy") for key in s3.faults.contents) == read


def test_objects_that_were_moved_are_pinned_again_and_not_encoded_again(s3: S3Server, workspace: Workspace) -> None:
    for folder in ("old", "new"):
        s3.put(f"{folder}/a.jsonl", lines())
    build(declared(workspace.data, "s3://raw/old/*"), workspace)
    moved = declared(workspace.data, "s3://raw/new/*")
    assert stale(moved, workspace) == {"all": ["raw_dataset"]}
    built = build(moved, workspace)["all"]
    assert [of.reused for of in built] == [False, True, True]
    assert pins_of(built[0].artifact)["a.jsonl"].origin == "s3://raw/new/a.jsonl"
    assert [found for found in again_on(workspace).store.survey().foreign if "raw_dataset" in str(found.path)] == []


def test_message_about_a_row_in_a_later_chunk_counts_the_lines_before_it(s3: S3Server, workspace: Workspace) -> None:
    content = lines() + b'{"text": 5}\n' + lines()
    s3.put("source/a.jsonl", content)
    corpus = declared(workspace.data, "s3://raw/source/*")
    message = r"s3://raw/source/a\.jsonl: row 201: 'text' is not a string but 5"
    for each in (workspace, on_disk(workspace)):
        with pytest.raises(SourceError, match=message):
            build(corpus, each)


def test_chunks_of_other_processes_are_put_together(s3: S3Server, workspace: Workspace) -> None:
    content = INVALID * 60
    s3.put("source/a.jsonl", content)
    workspace = replace(workspace, chunk_bytes=1 << 18)
    corpus = declared(workspace.data, "s3://raw/source/*", on_invalid="skip")
    (partition,) = workspace.sources.partitions(corpus).values()
    build_raw(corpus, partition, workspace)
    chunks = token_chunks(corpus, partition, workspace)
    assert len(chunks) > 4
    assert sum(not span.is_numbered for chunk in chunks for span in chunk.spans) == len(chunks) - 1
    found = s3.faults.sent["source/a.jsonl"]
    for chunk in pickle.loads(pickle.dumps(chunks)):
        chunk.run(workspace, id)
    fetched = s3.faults.sent["source/a.jsonl"]
    assert fetched - found == len(content)
    built = build_partition(corpus, partition, workspace)
    assert s3.faults.sent["source/a.jsonl"] - fetched <= SMALLEST * len(chunks) + 8192  # the beginnings of the chunks alone
    assert arrays(built) == arrays(build(corpus, on_disk(workspace))["all"])
    assert len(pickle.dumps(chunks[1])) < 20_000


def test_outage_and_broken_connections_are_retried_and_keep_the_chunks(s3: S3Server, workspace: Workspace) -> None:
    s3.put("source/a.jsonl", lines(TEXTS * 100))  # not a small object, which is fetched whole
    workspace = replace(workspace, chunk_bytes=1 << 19)
    corpus = declared(workspace.data, "s3://raw/source/*")
    (partition,) = workspace.sources.partitions(corpus).values()
    build_raw(corpus, partition, workspace)
    chunks = token_chunks(corpus, partition, workspace)
    s3.faults.cut, s3.faults.unavailable = [100], 1
    chunks[0].run(workspace, id)
    s3.faults.cut = [100] * 3
    with pytest.raises(SourceDownError, match=r"s3://raw/source/a\.jsonl: .* cannot be reached, or broke off"):
        chunks[1].run(workspace, id)
    assert [chunk.number for chunk in token_chunks(corpus, partition, workspace)] == [chunk.number for chunk in chunks[1:]]
    assert arrays(build_partition(corpus, partition, workspace)) == arrays(build(corpus, on_disk(workspace))["all"])


def test_copy_on_a_disk_is_complete_and_nothing_in_it_is_stale(s3: S3Server, workspace: Workspace, tmp_path: Path) -> None:
    s3.put("source/a.jsonl", lines())
    corpus = declared(workspace.data, "s3://raw/source/*")
    build(corpus, workspace)
    copy = replace(workspace, store=LocalStore(tmp_path / "copy"))
    list(copy_versions(version_copies(workspace.store, copy.store)))
    assert stale(corpus, copy) == {}
    assert [found.file for found in matching(corpus, "Document 7:", copy)] == ["a.jsonl"]
    s3.put("source/a.jsonl", lines(TEXTS[:9]))
    assert "files/a.jsonl" in build(corpus, copy)["all"][0].artifact.manifest.files  # a store on a disk copies what changed


def test_documents_are_found_and_removed_in_objects(s3: S3Server, workspace: Workspace) -> None:
    s3.put("source/a.jsonl", lines())
    corpus = declared(workspace.data, "s3://raw/source/*")
    (found,) = matching(corpus, "Document 7:", workspace)
    add_removals(corpus, [Removal(id=found.id)])
    built = build(corpus, workspace)["all"]
    assert built[1].artifact.manifest.counts["removed"] == 1


def test_credentials_are_not_in_the_store(s3: S3Server, workspace: Workspace) -> None:
    s3.put("source/a.jsonl", lines())
    build(declared(workspace.data, "s3://raw/source/*"), workspace)
    for path in [path for path in store_root(workspace).rglob("*") if path.is_file()]:
        assert SECRET.encode() not in path.read_bytes()
