"""Files that earlier releases read differently: only their partitions get a new fingerprint."""

import gzip
import shutil

import pytest

from phyagi_assets.errors import SourceError
from phyagi_assets.inspection.named import inspect_named
from phyagi_assets.sources import irregular
from phyagi_assets.sources.irregular import MISNAMED, WITH_BOM
from phyagi_assets.sources.local_file import LocalFile
from phyagi_assets.steps.step import Workspace
from tests.support import build, declare_corpus, write_jsonl, write_text

BOM = b"\xef\xbb\xbf"


def test_byte_order_mark_changes_the_fingerprint_of_text_partitions_only(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(irregular, "concurrently")  # local files, of which a partition may have 100,000, are read without threads
    for name, content in {"plain.txt": b"words", "marked.txt": BOM + b"words", "packed.txt.gz": gzip.compress(BOM + b"words")}.items():
        write_text(workspace.data / "raw" / name, content)
    built = build(declare_corpus(workspace.data, "c", "raw/*", partition_by="file"), workspace)
    found = {key: steps[1].artifact.manifest.settings.get("irregular") for key, steps in built.items()}
    assert found == {"plain": None, "marked": {"marked.txt": WITH_BOM}, "packed": {"packed.txt.gz": WITH_BOM}}
    assert len({steps[1].artifact.manifest.details["content"] for steps in built.values()}) == 1
    shutil.rmtree(workspace.store.root / ".irregular")
    assert all(
        step.reused
        for steps in build(declare_corpus(workspace.data, "c", "raw/*", partition_by="file"), workspace).values()
        for step in steps
    )


def test_file_that_cannot_be_read_for_a_moment_is_inspected_again(workspace: Workspace) -> None:
    write_text(workspace.data / "raw" / "marked.txt", BOM + b"words")
    corpus = declare_corpus(workspace.data, "c", "raw/*.txt")
    (partition,) = workspace.sources.partitions(corpus).values()
    cache, path = workspace.store.state("irregular", "c/all"), workspace.data / "raw" / "marked.txt"

    def found() -> dict[str, str]:
        files = [LocalFile(name="marked.txt", origin=str(path), path=path)]
        return irregular.irregular_files(corpus, partition, "0", cache, lambda: files, lambda: None)

    path.rename(path.with_suffix(".away"))
    assert found() == {}
    path.with_suffix(".away").rename(path)
    assert found() == {"marked.txt": WITH_BOM}


def test_marked_json_and_csv_keep_their_fingerprint(workspace: Workspace) -> None:
    write_text(workspace.data / "raw" / "a.jsonl", BOM + b'{"text": "words"}\n')
    write_text(workspace.data / "raw" / "b.csv", BOM + b"text\nwords\n")
    built = build(declare_corpus(workspace.data, "c", "raw/*", partition_by="file"), workspace)
    assert all("irregular" not in steps[1].artifact.manifest.settings for steps in built.values())
    assert len({steps[1].artifact.manifest.details["content"] for steps in built.values()}) == 1


def test_files_skipped_by_earlier_releases_are_read_or_refused(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    plain = write_jsonl(workspace.data / "raw" / "plain.jsonl", ["one", None, "two"]).read_bytes()
    write_text(workspace.data / "raw" / "packed.jsonl", gzip.compress(plain))
    corpus = declare_corpus(workspace.data, "c", "raw/*", partition_by="file", on_invalid="skip")
    built = build(corpus, workspace)
    assert "irregular" not in built["plain"][1].artifact.manifest.settings
    assert built["packed"][1].artifact.manifest.settings["irregular"] == {"packed.jsonl": MISNAMED}
    assert "c/tokenized_arrow/plain: plain.jsonl: 1 of 3 rows left out; row 2: 'text' is null" in caplog.messages
    (row,) = inspect_named("c/numpy_cache/packed", workspace.store).parts
    assert row == {"file": "packed.jsonl", "rows left out": 1, "of rows": 3, "the first": "row 2: 'text' is null"}
    assert inspect_named("c", workspace.store).facts["rows left out"].startswith("2: ")
    for content, why in (
        (plain.decode().encode("utf-16"), "is UTF-16 text, not UTF-8"),
        (b'{\n "text": "one"\n}\n', "is pretty-printed JSON"),
        (b"id,text\n1,one\n", r"none of its rows \(2\) has text; row 1: is not JSON"),
    ):
        write_text(workspace.data / "raw" / "packed.jsonl", content)
        with pytest.raises(SourceError, match=rf"packed\.jsonl: {why}") as refused:
            build(corpus, workspace)
        assert "on_invalid" not in str(refused.value)


@pytest.mark.parametrize(("first", "after"), [("plain", "or declare on_invalid: skip"), ("café", "or leave it out")])
def test_table_in_the_encoding_of_windows_is_to_be_converted(workspace: Workspace, first: str, after: str) -> None:
    write_text(workspace.data / "raw" / "table.csv", f"id,text\n1,{first}\n2,café\n".encode("cp1252"))
    with pytest.raises(SourceError, match=rf"'text' is not UTF-8 at byte 3; convert .* iconv -f WINDOWS-1252 -t UTF-8, {after}"):
        build(declare_corpus(workspace.data, "c", "raw/*.csv"), workspace)
