"""Compressed files are read as what they hold."""

import gzip
import lzma
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from phyagi_assets.config import Format
from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.sources.files import Span
from phyagi_assets.pipeline.sources.rows import ReadOptions, read_rows
from phyagi_assets.pipeline.step import Workspace
from tests.support import build_partition, declare_corpus, local_file, write_jsonl, write_text


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return sink.getvalue().to_pybytes()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstd, "xz": partial(lzma.compress, preset=0)}
DOCUMENTS = ["one", "", "café\r\n", "long " * 400_000, "a\nb\n\nc"]


def texts(path: Path, kind: Format) -> list[str | None]:
    options = ReadOptions(columns=("text",), sample_by="document")
    return [text for rows in read_rows(Span(file=local_file(path)), kind, options) for text in rows.columns[0].to_pylist()]


def written(path: Path, kind: Format, documents: list[str]) -> bytes:
    if kind == "json":
        write_jsonl(path, documents)
    elif kind == "csv":
        pa.csv.write_csv(pa.table({"id": range(len(documents)), "text": documents}), path)
    else:
        write_text(path, documents[0])
    return path.read_bytes()


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("kind", ["json", "csv", "text"])
def test_a_compressed_file_holds_the_documents_that_it_was_made_of(tmp_path: Path, suffix: str, kind: Format) -> None:
    documents = DOCUMENTS if kind != "text" else ["café\r\n" * 300_000]
    packed = tmp_path / f"file.{suffix}"
    packed.write_bytes(COMPRESS[suffix](written(tmp_path / "plain", kind, documents)))
    assert texts(packed, kind) == texts(tmp_path / "plain", kind) == documents


@pytest.mark.parametrize("suffix", COMPRESS)
def test_what_was_consumed_adds_up_to_the_file_as_it_lies_on_disk(tmp_path: Path, suffix: str) -> None:
    draw = random.Random(1)
    packed = tmp_path / f"file.jsonl.{suffix}"
    packed.write_bytes(COMPRESS[suffix](written(tmp_path / "plain", "json", [draw.randbytes(2000).hex() for _ in range(2000)])))
    options = ReadOptions(columns=("text",), sample_by="document")
    consumed = [rows.consumed for rows in read_rows(Span(file=local_file(packed)), "json", options)]
    assert len(consumed) > 4
    assert sum(consumed) == packed.stat().st_size


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [(suffix, damage) for suffix in COMPRESS for damage in ("cut", "flipped", "none") if (suffix, damage) != ("zst", "flipped")],
)  # zstd keeps a checksum only where its writer asks for one
def test_a_damaged_archive_is_an_error_and_no_shorter_file(tmp_path: Path, suffix: str, damage: str) -> None:
    content = bytearray(COMPRESS[suffix](written(tmp_path / "plain", "json", [str(i) * 50 for i in range(5000)])))
    if damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    packed = tmp_path / f"file.jsonl.{suffix}"
    packed.write_bytes({"cut": content[: len(content) // 2], "flipped": content, "none": b"no archive at all"}[damage])
    with pytest.raises(SourceError, match=rf"file\.jsonl\.{suffix}: cannot be read: "):
        texts(packed, "json")


def test_formats_that_are_compressed_inside_are_not_read_compressed_once_more(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"text": ["a"]}), tmp_path / "plain.parquet")
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress((tmp_path / "plain.parquet").read_bytes()))
    with pytest.raises(SourceError, match=r"a\.parquet\.gz: is a compressed parquet file; .*decompress it"):
        texts(tmp_path / "a.parquet.gz", "parquet")


def test_a_compressed_partition_has_the_name_and_the_ids_of_a_plain_one(workspace: Workspace) -> None:
    plain = written(workspace.data / "plain" / "part.jsonl", "json", DOCUMENTS)
    write_text(workspace.data / "packed" / "part.jsonl.gz", gzip.compress(plain))
    arrays = []
    for name, path in (("one", "plain/*.jsonl"), ("two", "packed/*.gz")):
        corpus = declare_corpus(workspace.data, name, path, partition_by="file")
        partitions = workspace.sources.partitions(corpus)
        assert list(partitions) == ["part"]
        arrays.append((build_partition(corpus, partitions["part"], workspace)[-1].artifact.path / "train.npy").read_bytes())
    assert arrays[0] == arrays[1]
