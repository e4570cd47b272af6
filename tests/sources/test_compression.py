"""Reading compressed files."""

import bz2
import gzip
import io
import lzma
import random
import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from phyagi_assets.declare.corpus_schema import Format
from phyagi_assets.errors import SourceError
from phyagi_assets.sources import compression, readers
from phyagi_assets.sources.documents import read_documents
from phyagi_assets.sources.files import Span
from phyagi_assets.sources.rows import ReadOptions
from phyagi_assets.steps.step import Workspace
from tests.support import build_partition, declare_corpus, local_file, read_rows, write_jsonl, write_text


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return sink.getvalue().to_pybytes()


def zipped(*members: bytes, name: str = "{0}.jsonl") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("folder")
        for i, member in enumerate(members):
            archive.writestr(name.format(i), member)
        archive.writestr("__MACOSX/._0.jsonl", b"no data")
    return content.getvalue()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstd,
    "xz": partial(lzma.compress, preset=0),
    "bz2": bz2.compress,
    "zip": zipped,
}
DOCUMENTS = ["one", "", "café\r\n", "long " * 40_000, "a\nb\n\nc"]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the block size to a twentieth, so that small files have several blocks."""
    for module, name in ((readers, "BLOCK"), (compression, "_BUFFER")):
        monkeypatch.setattr(module, name, 50_000)


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
def test_compressed_file_has_the_documents_of_the_plain_file(tmp_path: Path, suffix: str, kind: Format) -> None:
    documents = DOCUMENTS if kind != "text" else ["café\r\n" * 30_000]
    packed = tmp_path / f"file.{suffix}"
    packed.write_bytes(COMPRESS[suffix](written(tmp_path / "plain", kind, documents)))
    assert texts(packed, kind) == texts(tmp_path / "plain", kind) == documents


@pytest.mark.parametrize("suffix", COMPRESS)
def test_consumed_bytes_add_up_to_the_compressed_size(tmp_path: Path, suffix: str) -> None:
    draw = random.Random(1)
    packed = tmp_path / f"file.jsonl.{suffix}"
    packed.write_bytes(COMPRESS[suffix](written(tmp_path / "plain", "json", [draw.randbytes(2000).hex() for _ in range(140)])))
    options = ReadOptions(columns=("text",), sample_by="document")
    consumed = [rows.consumed for rows in read_rows(Span(file=local_file(packed)), "json", options)]
    assert len(consumed) > 4
    assert 0.99 * packed.stat().st_size < sum(consumed) <= packed.stat().st_size  # the index of a zip archive is not content


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [(suffix, damage) for suffix in COMPRESS for damage in ("cut", "flipped", "none") if (suffix, damage) != ("zst", "flipped")],
)  # zstd keeps a checksum only where its writer asks for one
def test_damaged_archive_is_an_error(tmp_path: Path, suffix: str, damage: str) -> None:
    content = bytearray(COMPRESS[suffix](written(tmp_path / "plain", "json", [str(i) * 50 for i in range(500)])))
    if damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    packed = tmp_path / f"file.jsonl.{suffix}"
    packed.write_bytes({"cut": content[: len(content) // 2], "flipped": content, "none": b"no archive at all"}[damage])
    refusal = r"is named as \w+ and is not: it begins with b'no archi'" if damage == "none" else "cannot be read: "
    with pytest.raises(SourceError, match=rf"file\.jsonl\.{suffix}: {refusal}"):
        texts(packed, "json")


@pytest.mark.parametrize("suffix", ["gz", "zst", "xz", "bz2"])
def test_all_streams_of_a_file_are_read_or_refused(tmp_path: Path, suffix: str) -> None:
    one, two = (COMPRESS[suffix](b'{"text": "%d"}\n' % i) for i in (1, 2))
    padding = b"" if suffix == "zst" else bytes(8)
    assert texts(write_text(tmp_path / f"a.{suffix}", one + padding + two + padding), "json") == ["1", "2"]
    for damaged in (one + b"no data", one + b"?" + two[1:], one + two[:-1], one + two[:3]):
        with pytest.raises(SourceError, match=r"a\.\w+: cannot be read: is not whole \w+ data: .*; fetch it again"):
            texts(write_text(tmp_path / f"a.{suffix}", damaged), "json")


def test_zstd_file_may_begin_with_a_frame_to_skip(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.jsonl.zst", b"\x50\x2a\x4d\x18\x04\x00\x00\x00size" + zstd(b'{"text": "a"}\n'))
    assert texts(path, "json") == ["a"]


def test_zstd_frame_with_a_long_window_is_refused_with_a_remedy(tmp_path: Path) -> None:
    of_2_gib = b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x29\x00\x00hello"
    with pytest.raises(SourceError, match=r"its window has more than 128 MB; compress it again .*--long=27"):
        texts(write_text(tmp_path / "a.txt.zst", of_2_gib), "text")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_archive_with_two_members_of_a_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.jsonl.zip", "w") as archive:
        archive.writestr("a", '{"text": "old"}\n')
        archive.writestr("a", '{"text": "new"}\n')
    with pytest.raises(SourceError, match=r"a\.jsonl\.zip: has several members 'a', of which the last replaces the others"):
        texts(tmp_path / "a.jsonl.zip", "json")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_archive_may_have_a_folder_twice_and_dots_before_names(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.jsonl.zip", "w") as archive:
        for name in ("a/", "a/", "__MACOSX/._a", "__MACOSX/._a"):
            archive.writestr(name, "")
        for name in ("a/a", "./b", "../c"):
            archive.writestr(name, f'{{"text": "{name}"}}\n')
    assert texts(tmp_path / "a.jsonl.zip", "json") == ["a/a", "./b", "../c"]


def test_zip_archives_that_were_joined_are_refused(tmp_path: Path) -> None:
    joined = write_text(tmp_path / "a.jsonl.zip", zipped(b'{"text": "one"}') + zipped(b'{"text": "two"}'))
    with pytest.raises(SourceError, match=r"a\.jsonl\.zip: cannot be read: .* leaves out the first one; keep joined archives apart"):
        texts(joined, "json")


def test_column_that_a_member_of_a_zip_archive_does_not_have_is_named_with_the_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("a", "text\none\n")
        archive.writestr("b", "body\ntwo\n")
    with pytest.raises(SourceError, match=r"a\.csv\.zip: its member 'b': has no column 'text'; it has body"):
        texts(tmp_path / "a.csv.zip", "csv")


@pytest.mark.parametrize("on_invalid", ["skip", "error"])
def test_member_of_a_zip_archive_without_text_is_an_error(tmp_path: Path, on_invalid: str) -> None:
    path = tmp_path / "a.jsonl.zip"
    corpus = declare_corpus(tmp_path, "c", "a.jsonl.zip", on_invalid=on_invalid)
    for members in (["good", "notes"], ["notes", "good"], ["good", "notes", "good"]):
        with zipfile.ZipFile(path, "w") as archive:
            for i, member in enumerate(members):
                archive.writestr(f"{i}_{member}", {"good": '{"text": "a"}\n', "notes": "Read me.\n"}[member])
            for left_behind in ("Thumbs.db", "folder/a.jsonl~", ".hidden/a.jsonl"):
                archive.writestr(left_behind, b"no data")
        with pytest.raises(SourceError, match=r"a\.jsonl\.zip: its member '\d_notes': .*row \d: is not JSON"):
            list(read_documents(corpus, [local_file(path)]))


def test_members_of_a_zip_archive_are_read_in_order(tmp_path: Path) -> None:
    for kind, members, expected in (
        ("json", [b'{"text": "one"}\n{"text": "two"}', b"", b'{"text": "three"}\n'], ["one", "two", "three"]),
        ("csv", [b"id,text\n1,one\n", b"text,id\ntwo,2\nthree,3\n"], ["one", "two", "three"]),
        ("text", [b"one\n", b"two"], ["one\n", "two"]),
    ):
        path = write_text(tmp_path / f"{kind}.zip", zipped(*members))
        options = ReadOptions(columns=("text",), sample_by="document")
        read = list(read_rows(Span(file=local_file(path)), kind, options))  # type: ignore[arg-type]
        assert [text for rows in read for text in rows.columns[0].to_pylist()] == expected
        assert [number for rows in read for number in rows.numbers.tolist()] == list(range(len(expected)))


@pytest.mark.parametrize("suffix", sorted(COMPRESS.keys() - {"zip"}))
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_compression_is_detected_from_the_content(tmp_path: Path, suffix: str, name: str) -> None:
    (tmp_path / name).write_bytes(COMPRESS[suffix](written(tmp_path / "plain", "json", DOCUMENTS)))
    assert texts(tmp_path / name, "json") == DOCUMENTS


@pytest.mark.parametrize("suffix", [None, *COMPRESS])
@pytest.mark.parametrize(("kind", "content"), [("text", b"text"), ("json", b'{"text": "text"}'), ("csv", b"text\ntext\n")])
def test_byte_order_mark_is_not_part_of_the_text(tmp_path: Path, suffix: str | None, kind: Format, content: bytes) -> None:
    marked = b"\xef\xbb\xbf" + content
    path = write_text(tmp_path / f"a.{suffix}", COMPRESS[suffix](marked)) if suffix else write_text(tmp_path / "a", marked)
    assert texts(path, kind) == ["text"]
    if kind != "text":
        assert texts(write_text(tmp_path / "empty", b"\xef\xbb\xbf"), kind) == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("text in \u03b1".encode("utf-16"), "is UTF-16 text, not UTF-8; convert .* iconv -f UTF-16 -t UTF-8"),
        ("text without a mark".encode("utf-16-le"), "is UTF-16LE text"),
        ("text without a mark".encode("utf-16-be"), "is UTF-16BE text"),
        ("text".encode("utf-32"), "is UTF-32 text"),
        ("text without a mark".encode("utf-32-le"), "is UTF-32LE text"),
        ("text without a mark".encode("utf-32-be"), "is UTF-32BE text"),
        (bytes(5000), "begins with NUL bytes only, as an interrupted transfer"),
        (zipped(b"text"), "is a zip archive and not named as one"),
        (gzip.compress(gzip.compress(b"text", mtime=0), mtime=0), "holds gzip data inside its compression"),
        (b"PAR1 and so on", r"is a Parquet file, not text; declare source\.format: parquet"),
        (b"ARROW1\0\0 and so on", "is an Arrow file, not text"),
        (b"\x04\x22\x4d\x18", "is an lz4 archive, not text; unpack it"),
        (b"a.txt".ljust(257, b"\0") + b"ustar\x00", "is a tar archive"),
        (b"%PDF-1.7", "is a PDF document"),
    ],
)
@pytest.mark.parametrize("kind", ["text", "json", "csv"])
def test_non_text_content_is_refused_with_its_format(tmp_path: Path, kind: Format, content: bytes, why: str) -> None:
    with pytest.raises(SourceError, match=f"a.txt: {why}"):
        texts(write_text(tmp_path / "a.txt", content), kind)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, f"a.{kind}") for kind in ("text", "json", "csv", "parquet", "arrow")] + [("json", "a.gz")]
)
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "is a pointer of Git LFS .* with git lfs pull"),
        (b"/annex/objects/SHA256E-s5--4d7a.txt\n", "is a pointer of git-annex .* with git annex get"),
    ],
)
def test_pointer_to_a_file_that_was_not_fetched_is_refused(tmp_path: Path, kind: Format, name: str, content: bytes, why: str) -> None:
    with pytest.raises(SourceError, match=f"{name}: {why}"):
        texts(write_text(tmp_path / name, content), kind)


@pytest.mark.parametrize("begin", ["version https://git-lfs.github.com/spec/v1\n", "/annex/objects/SHA256E-s5--4d7a.txt\n"])
def test_text_about_pointers_is_a_document(tmp_path: Path, begin: str) -> None:
    text = f"{begin}oid sha256:4d7a\nsize 12345\nis such a pointer.\n"
    assert texts(write_text(tmp_path / "a.txt", text.encode()), "text") == [text]


@pytest.mark.parametrize("sample_by", ["document", "line", "paragraph"])
@pytest.mark.parametrize("kind", ["text", "csv", "json"])
@pytest.mark.parametrize("end", [b"", b"\nmore\n"])
def test_part_that_was_not_written_is_refused(tmp_path: Path, kind: Format, sample_by: str, end: bytes) -> None:
    path = write_text(tmp_path / "a", (b'{"text": "a"}\n' if kind == "json" else b"text\n") * 100 + bytes(4096) + end)
    with pytest.raises(SourceError, match="a: contains a run of NUL bytes"):
        list(read_rows(Span(file=local_file(path)), kind, ReadOptions(columns=("text",), sample_by=sample_by)))


@pytest.mark.parametrize(("content", "found"), [(b'{"text": "a"}', "begins with b'{"), (gzip.compress(b"text", mtime=0), "is gzip data")])
def test_non_parquet_content_is_refused_with_its_format(tmp_path: Path, content: bytes, found: str) -> None:
    with pytest.raises(SourceError, match=f"a.parquet: is not a Parquet file: it {found}"):
        texts(write_text(tmp_path / "a.parquet", content), "parquet")


@pytest.mark.parametrize("damage", ["encrypted", "index", "empty"])
def test_unreadable_zip_archive_is_refused(tmp_path: Path, damage: str) -> None:
    content = bytearray(zipped(b'{"text": "a"}'))
    if damage == "encrypted":
        in_member, _, in_index, _ = (found.start() for found in re.finditer(b"0.jsonl", content))
        for flags in (in_member - 30 + 6, in_index - 46 + 8):
            content[flags] |= 1
    elif damage == "index":
        content[-6] ^= 0xFF
    else:
        del content[-30:]
    with pytest.raises(SourceError, match=r"a\.zip: cannot be read: (its member|is not a whole zip)"):
        texts(write_text(tmp_path / "a.zip", bytes(content)), "json")


def test_compressed_parquet_and_arrow_files_are_refused(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"text": ["a"]}), tmp_path / "plain.parquet")
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress((tmp_path / "plain.parquet").read_bytes()))
    with pytest.raises(SourceError, match=r"a\.parquet\.gz: is a compressed parquet file; .*decompress it"):
        texts(tmp_path / "a.parquet.gz", "parquet")


def test_compressed_partition_has_the_name_and_ids_of_a_plain_one(workspace: Workspace) -> None:
    plain = written(workspace.data / "plain" / "part.jsonl", "json", DOCUMENTS)
    write_text(workspace.data / "packed" / "part.jsonl.gz", gzip.compress(plain))
    arrays = []
    for name, path in (("one", "plain/*.jsonl"), ("two", "packed/*.gz")):
        corpus = declare_corpus(workspace.data, name, path, partition_by="file")
        partitions = workspace.sources.partitions(corpus)
        assert list(partitions) == ["part"]
        arrays.append((build_partition(corpus, partitions["part"], workspace)[-1].artifact.path / "train.npy").read_bytes())
    assert arrays[0] == arrays[1]
